# Derivations of each kind that realisations know of: floating content-addressed
# ones with one and two outputs, in a chain; one that is input-addressed but cannot
# know its path beforehand; and what they are made from.
let
  shell = name: script: attrs: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
    note = "quoted \"text\", a \\ and a\ttab\nand a line";
  } // attrs);
  floating = {
    __contentAddressed = true;
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
  };
in rec {
  fixed = shell "fixed" "printf hello > $out" {
    outputHashMode = "flat";
    outputHashAlgo = "sha256";
    outputHash = builtins.hashString "sha256" "hello";
  };
  plain = shell "plain" "echo plain > $out" { };
  base = shell "base" "echo base > $out; echo dev > $dev" (floating // { outputs = [ "out" "dev" ]; });
  mid = shell "mid" "echo ${base} ${base.dev} ${fixed} ${plain} > $out" floating;
  top = shell "top" "echo ${mid} $out > $out" (floating // { source = ./derivations.nix; });
  deferred = shell "deferred" "echo ${mid} > $out" { };
}
