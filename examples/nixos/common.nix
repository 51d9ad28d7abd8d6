# What both modules share.
{ lib, pkgs }:

{
  package = lib.mkOption {
    type = lib.types.package;
    default = pkgs.nixstatic;
    defaultText = lib.literalExpression "pkgs.nixstatic";
    description = "The package of nixstatic.";
  };

  # systemd reads % and $ itself in a command: these words reach the program as they are.
  words = map (word: lib.escapeShellArg (lib.replaceStrings [ "%" "$" ] [ "%%" "$$" ] word));

  # The service needs its state, a network, and nothing else of the machine.
  confined = {
    DynamicUser = true;
    NoNewPrivileges = true;
    ProtectSystem = "strict";
    ProtectHome = true;
    PrivateTmp = true;
    PrivateDevices = true;
    ProtectKernelTunables = true;
    ProtectControlGroups = true;
    RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" ];
    SystemCallArchitectures = "native";
  };
}
