# services.nixstatic-push: whatever this machine builds is sent to a cache. No build waits for
# it, and a cache that is away costs nothing.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.nixstatic-push;
  common = import ./common.nix { inherit lib pkgs; };
  queue = "/var/lib/nixstatic-push/queue";
  flags =
    [ "--queue" queue ]
    ++ lib.optional (!cfg.hook) "--store"
    ++ lib.optionals (cfg.root != null) [ "--root" cfg.root ]
    ++ lib.concatMap (regex: [ "--exclude" regex ]) cfg.exclude
    ++ lib.concatMap (url: [ "--upstream" url ]) cfg.upstreams
    ++ cfg.extraFlags;
  # It is root's, as all that the Nix daemon runs; the queue is the service's.
  hook = pkgs.writeShellScript "nixstatic-hook" ''
    [ -x ${cfg.package}/bin/nixstatic ] || exit 0
    exec ${cfg.package}/bin/nixstatic watch send --queue=${queue}
  '';
in
{
  options.services.nixstatic-push = {
    enable = lib.mkEnableOption "sending what this machine builds to a cache";
    package = common.package;
    to = lib.mkOption {
      type = lib.types.str;
      example = "https://cache.example.org/upload";
      description = "The cache, as nixstatic push takes it.";
    };
    netrcFile = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "/etc/nixstatic/netrc";
      description = "The file with the token for the cache. It is root's, and never in the store.";
    };
    hook = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether Nix says what it built, by its post-build-hook. Otherwise the service looks at the store.";
    };
    root = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "builders/alpha";
      description = "The root whose generation the paths are.";
    };
    exclude = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      description = "Regular expressions of names that are not sent.";
    };
    upstreams = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      description = "Caches whose paths are not sent.";
    };
    extraFlags = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      description = "More flags of nixstatic watch.";
    };
  };

  config = lib.mkIf cfg.enable {
    nix.settings = lib.mkIf cfg.hook { post-build-hook = "${hook}"; };
    systemd.services.nixstatic-push = {
      description = "Send builds to the Nix binary cache (nixstatic)";
      documentation = [ "https://github.com/nixstatic/nixstatic" ];
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" "nix-daemon.socket" ];
      environment.NIX_REMOTE = "daemon";
      serviceConfig = common.confined // {
        Type = "notify";
        ExecStart = lib.concatStringsSep " " (
          common.words ([ "${cfg.package}/bin/nixstatic" "watch" cfg.to ] ++ flags)
          ++ lib.optional (cfg.netrcFile != null) "--netrc-file %d/netrc"
        );
        LoadCredential = lib.optional (cfg.netrcFile != null) "netrc:${cfg.netrcFile}";
        Restart = "always";
        RestartSec = 5;
        StateDirectory = "nixstatic-push";
        Nice = 10;
        IOSchedulingClass = "idle";
        CapabilityBoundingSet = [ "" ];
      };
    };
    environment.systemPackages = [ cfg.package ];
  };
}
