# services.nixstatic: a tree that is served, and takes uploads.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.nixstatic;
  common = import ./common.nix { inherit lib pkgs; };
  credentials = lib.imap0 (i: file: { name = "key-${toString i}"; inherit file; }) cfg.secretKeyFiles;
  flags =
    lib.concatMap (address: [ "--listen" address ]) cfg.listen
    ++ lib.concatMap (rule: [ "--oidc" rule ]) cfg.oidc
    ++ lib.concatMap (url: [ "--upstream" url ]) cfg.upstreams
    ++ lib.optionals (cfg.tokensFile != null) [ "--tokens" cfg.tokensFile ]
    ++ lib.optionals (cfg.gc != null) [ "--gc" cfg.gc ]
    ++ lib.optional cfg.private "--private"
    ++ cfg.extraFlags;
in
{
  options.services.nixstatic = {
    enable = lib.mkEnableOption "nixstatic serve, a Nix binary cache";
    package = common.package;
    tree = lib.mkOption {
      type = lib.types.str;
      default = "/var/lib/nixstatic/cache";
      example = "s3://bucket?region=eu-west-1";
      description = "The tree, a directory below /var/lib/nixstatic or a bucket.";
    };
    listen = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ "127.0.0.1:8080" ];
      example = [ ":8080" "unix:/run/nixstatic/socket" ];
      description = "The addresses to serve on.";
    };
    secretKeyFiles = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "/etc/nixstatic/secret.key" ];
      description = "Files with the keys that sign. They are root's, and never in the store.";
    };
    tokensFile = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = "/var/lib/nixstatic/tokens";
      description = "The file that nixstatic token writes; it holds no secrets.";
    };
    oidc = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "issuer=https://token.actions.githubusercontent.com,audience=https://cache.example.org,claim:repository=acme/*,scope=upload" ];
      description = "Which CI jobs may upload, without a token.";
    };
    upstreams = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "https://cache.nixos.org" ];
      description = "Caches whose paths need not be uploaded.";
    };
    private = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether reading needs a token.";
    };
    gc = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "03:30";
      description = "When to prune, a time of day or a duration.";
    };
    environmentFile = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "/etc/nixstatic/s3";
      description = "A file with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for a bucket.";
    };
    extraFlags = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "--metrics-listen" "127.0.0.1:9180" ];
      description = "More flags of nixstatic serve.";
    };
  };

  config = lib.mkIf cfg.enable {
    systemd.services.nixstatic = {
      description = "Nix binary cache (nixstatic)";
      documentation = [ "https://github.com/nixstatic/nixstatic" ];
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      serviceConfig = common.confined // {
        Type = "notify";
        # A cache that is there stays as it is; that of a bucket is made by hand, once.
        ExecStartPre = lib.optional (lib.substring 0 5 cfg.tree != "s3://") "${cfg.package}/bin/nixstatic init ${lib.escapeShellArg cfg.tree}";
        # %d is where the credentials are.
        ExecStart = lib.concatStringsSep " " (
          common.words ([ "${cfg.package}/bin/nixstatic" "serve" cfg.tree ] ++ flags)
          ++ map (c: "--secret-key-file %d/${c.name}") credentials
        );
        LoadCredential = map (c: "${c.name}:${c.file}") credentials;
        TimeoutStopSec = "90";
        KillMode = "mixed";
        Restart = "on-failure";
        RestartSec = 2;
        WatchdogSec = 60;
        StateDirectory = "nixstatic";
        StateDirectoryMode = "0755";
        RuntimeDirectory = "nixstatic";
        UMask = "0022";
        LimitNOFILE = 65536;
        AmbientCapabilities = [ "CAP_NET_BIND_SERVICE" ];
        CapabilityBoundingSet = [ "CAP_NET_BIND_SERVICE" ];
      } // lib.optionalAttrs (cfg.environmentFile != null) { EnvironmentFile = cfg.environmentFile; };
    };
    environment.systemPackages = [ cfg.package ];
  };
}
