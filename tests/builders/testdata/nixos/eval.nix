# What the modules and the flake of a checkout become, without nixpkgs.
{ source }:
let
  lib = import ./lib.nix;
  pkgs = {
    nixstatic = "/opt/nixstatic";
    writeShellScript = name: text: "/opt/${name}";
    buildGoModule = args: args // { outPath = "/opt/built"; };
    runCommand = name: args: text: { inherit name text; };
  };
  modules = [ (import (source + "/examples/nixos/nixstatic.nix")) (import (source + "/examples/nixos/nixstatic-push.nix")) ];
  config = lib.eval {
    inherit modules pkgs;
    settings = {
      nixstatic = {
        enable = true;
        secretKeyFiles = [ "/etc/nixstatic/a.key" "/etc/nixstatic/b.key" ];
        oidc = [ "issuer=https://forge.example.org/api/actions,audience=a,claim:repository=acme/*,scope=upload" ];
        tree = "s3://bucket?x=100%";
        gc = "03:30";
        environmentFile = "/etc/nixstatic/s3";
      };
      nixstatic-push = { enable = true; to = "https://cache.example.org/upload"; netrcFile = "/etc/nixstatic/netrc"; exclude = [ "it's" ]; };
    };
  };
  # Every option has a value that is not its default.
  all = lib.eval {
    inherit modules pkgs;
    settings = {
      nixstatic = {
        enable = true; package = "/opt/other"; tree = "/var/lib/nixstatic/b"; listen = [ ":1" "unix:/run/nixstatic/socket" ]; secretKeyFiles = [ "/k" ];
        tokensFile = null; oidc = [ "issuer=https://a" ]; upstreams = [ "https://cache.nixos.org" ]; private = true; gc = "6h"; environmentFile = "/e";
        extraFlags = [ "--metrics-listen" "127.0.0.1:9180" ];
      };
      nixstatic-push = {
        enable = true; package = "/opt/other"; to = "s3://b?region=$HOME"; netrcFile = null; hook = false; root = "builders/alpha"; exclude = [ "a" "b" ];
        upstreams = [ "https://cache.nixos.org" ]; extraFlags = [ "--jobs" "2" ];
      };
    };
  };
  # These a user gets wrong, and is told of.
  wrong = [
    { nixstatic-push = { enable = true; }; }
    { nixstatic-push = { enable = true; to = 1; }; }
    { nixstatic-push = { enable = true; to = "x"; exclude = "a"; }; }
    { nixstatic = { enable = "yes"; }; }
    { nixstatic = { enable = true; secretKeyFile = "/k"; }; }
    { nixstatic = { enable = true; listen = ":8080"; }; }
    { nixstatic = { enable = true; gc = 3; }; }
  ];
  evaluates = settings:
    let c = lib.eval { inherit modules pkgs settings; }; in
    (builtins.tryEval (builtins.deepSeq c true)).success;
  off = lib.eval { inherit modules pkgs; settings = { nixstatic-push = { to = "x"; }; }; };
  flake = (import (source + "/flake.nix")).outputs { self = flake // { outPath = source; }; nixpkgs = { inherit lib; legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ] (_: pkgs); }; };
in
{
  serve = lib.unit config.systemd.services.nixstatic;
  push = lib.unit config.systemd.services.nixstatic-push;
  hook = config.nix.settings.post-build-hook;
  allServe = lib.unit all.systemd.services.nixstatic;
  allPush = lib.unit all.systemd.services.nixstatic-push;
  allHook = all.nix or { };
  wrong = map evaluates wrong;
  off = off;
  package = { inherit (flake.packages.x86_64-linux.default) pname vendorHash subPackages; };
  overlay = (flake.overlays.default pkgs pkgs).nixstatic.pname;
  check = flake.checks.aarch64-linux.default.text;
  systems = builtins.attrNames flake.packages;
  nixosModules = builtins.attrNames flake.nixosModules;
}
