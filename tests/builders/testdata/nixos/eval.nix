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
  off = lib.eval { inherit modules pkgs; settings = { nixstatic-push = { to = "x"; }; }; };
  flake = (import (source + "/flake.nix")).outputs { self = flake // { outPath = source; }; nixpkgs = { inherit lib; legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ] (_: pkgs); }; };
in
{
  serve = lib.unit config.systemd.services.nixstatic;
  push = lib.unit config.systemd.services.nixstatic-push;
  hook = config.nix.settings.post-build-hook;
  off = off;
  package = { inherit (flake.packages.x86_64-linux.default) pname vendorHash subPackages; };
  overlay = (flake.overlays.default pkgs pkgs).nixstatic.pname;
  check = flake.checks.aarch64-linux.default.text;
  systems = builtins.attrNames flake.packages;
  nixosModules = builtins.attrNames flake.nixosModules;
}
