# Three derivations, of which the last keeps nothing of the first two in its output.
let
  shell = name: script: attrs: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
  } // attrs);
in rec {
  tool = shell "tool" "echo tool > $out; echo doc > $doc" { outputs = [ "out" "doc" ]; };
  lib = shell "lib" "echo ${tool} > $out" { source = ./chain.nix; };
  top = shell "top" "read x < ${lib}; echo top > $out" { };
}
