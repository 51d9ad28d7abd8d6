{
  description = "A Nix binary cache that is nothing but files";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ];
      forAll = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      build = pkgs: pkgs.buildGoModule {
        pname = "nixstatic";
        version = self.shortRev or "dirty";
        src = self;
        # The hash of what go mod vendor makes: tests/builders tells the new one.
        vendorHash = "sha256-ePT+fVJho3foLcPK2FZu1tr2Z5Tz978olir+nFol3sE=";
        subPackages = [ "cmd/nixstatic" ];
        env.CGO_ENABLED = "0";
        ldflags = [ "-s" "-w" "-X main.release=${self.shortRev or "dirty"}" ];
        # They need the real Nix, nginx and MinIO: make test.
        doCheck = false;
        meta = {
          description = "A Nix binary cache that is nothing but files";
          homepage = "https://github.com/nixstatic/nixstatic";
          mainProgram = "nixstatic";
        };
      };
    in
    {
      packages = forAll (pkgs: rec {
        nixstatic = build pkgs;
        default = nixstatic;
      });

      overlays.default = final: prev: { nixstatic = build final; };

      nixosModules = rec {
        nixstatic = import ./examples/nixos/nixstatic.nix;
        nixstatic-push = import ./examples/nixos/nixstatic-push.nix;
        default = { imports = [ nixstatic nixstatic-push ]; nixpkgs.overlays = [ self.overlays.default ]; };
      };

      # The program builds, and makes a tree that it finds nothing wrong with.
      checks = forAll (pkgs: {
        default = pkgs.runCommand "nixstatic-check" { nativeBuildInputs = [ (build pkgs) ]; } ''
          nixstatic init tree
          nixstatic verify --deep tree
          touch $out
        '';
      });
    };
}
