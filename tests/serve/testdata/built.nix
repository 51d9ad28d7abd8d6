# What a machine builds and pushes: content-addressed derivations, one made from
# the other, and one whose log has a name that URLs do not like.
let
  derive = name: script: attrs: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
  } // attrs);
  floating = {
    __contentAddressed = true;
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
  };
in rec {
  base = derive "base" "echo base > $out" floating;
  top = derive "top" "echo ${base} > $out" floating;
  logged = derive "we?ird=x+1.0" "echo the log of it; echo logged > $out" { };
  silent = derive "silent" "echo silent > $out" { };
}
