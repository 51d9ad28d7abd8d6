# Two content-addressed derivations, one made from the other. Their output paths
# are known once they are built, and to others through realisations alone.
let
  floating = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
    __contentAddressed = true;
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
  };
in rec {
  base = floating "base" "echo base > $out";
  top = floating "top" "echo ${base} > $out";
}
