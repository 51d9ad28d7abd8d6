# Many small builds, and one path that all of them refer to.
{ count, from ? 0 }:
let
  derive = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
  };
  base = derive "base" "echo base > $out";
in builtins.genList (i: derive "small-${toString (from + i)}" "echo ${base} ${toString (from + i)} > $out") count
