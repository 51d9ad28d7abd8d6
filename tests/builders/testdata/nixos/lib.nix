# As much of the lib of nixpkgs as the modules need, and a small evalModules.
rec {
  inherit (builtins) map concatStringsSep filter length elemAt attrNames replaceStrings isAttrs isList isString isBool isInt isPath;
  concatMap = builtins.concatMap;
  substring = builtins.substring;
  genAttrs = names: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
  imap0 = f: list: builtins.genList (i: f i (elemAt list i)) (length list);
  optional = cond: x: if cond then [ x ] else [ ];
  optionals = cond: list: if cond then list else [ ];
  optionalAttrs = cond: set: if cond then set else { };
  escapeShellArg = text: "'" + replaceStrings [ "'" ] [ "'\\''" ] (toString text) + "'";
  literalExpression = text: { inherit text; };
  mkOption = args: { _type = "option"; } // args;
  mkEnableOption = text: mkOption { type = types.bool; default = false; description = "Whether to enable ${text}."; };
  mkIf = condition: content: { _type = "if"; inherit condition content; };
  types = rec {
    str = { name = "str"; check = isString; };
    bool = { name = "bool"; check = isBool; };
    package = { name = "package"; check = x: isString x || isAttrs x; };
    listOf = t: { name = "listOf ${t.name}"; check = x: isList x && builtins.all t.check x; };
    nullOr = t: { name = "nullOr ${t.name}"; check = x: x == null || t.check x; };
  };

  # unwrap removes the conditions of a configuration.
  unwrap = value:
    if isAttrs value && value ? _type && value._type == "if" then (if value.condition then unwrap value.content else null)
    else if isAttrs value && !(value ? outPath) then
      builtins.listToAttrs (filter (pair: pair.value != null) (map (name: { inherit name; value = unwrap value.${name}; }) (attrNames value)))
    else value;
  merge = a: b:
    if isAttrs a && isAttrs b then a // builtins.mapAttrs (name: value: if a ? ${name} then merge a.${name} value else value) b
    else if isList a && isList b then a ++ b
    else b;
  # values gives each option its value: what the user set, which is a list of one or none, or the
  # default.
  values = path: options: given:
    if options ? _type && options._type == "option" then
      let value = if given != [ ] then elemAt given 0 else options.default or (throw "${path} has no value"); in
      if options.type.check value then value else throw "${path}: not a ${options.type.name}"
    else
      let
        set = if given == [ ] then { } else elemAt given 0;
        unknown = filter (name: !(options ? ${name})) (attrNames set);
      in
      if unknown != [ ] then throw "${path}: there is no option ${elemAt unknown 0}" else
      builtins.mapAttrs (name: option: values "${path}.${name}" option (if set ? ${name} then [ set.${name} ] else [ ])) options;

  # eval evaluates modules with the settings of a user, and returns the configuration.
  eval = { modules, pkgs, settings }:
    let
      call = module: module { inherit lib pkgs; config = { services = values "services" declared [ settings ]; }; };
      lib = import ./lib.nix;
      declared = builtins.foldl' merge { } (map (m: (call m).options.services) modules);
    in
    builtins.foldl' merge { } (map (m: let c = unwrap (call m).config; in if c == null then { } else c) modules);

  # unit writes a service as NixOS does, but for its environment.
  unit = service:
    let
      lines = name: value:
        if isList value then builtins.concatStringsSep "" (map (v: lines name v) value)
        else if isBool value then "${name}=${if value then "true" else "false"}\n"
        else "${name}=${toString value}\n";
      section = set: builtins.concatStringsSep "" (map (name: lines name set.${name}) (attrNames set));
    in
    "[Unit]\nDescription=${service.description}\n${lines "After" (service.after or [ ])}[Service]\n${section service.serviceConfig}[Install]\n${lines "WantedBy" service.wantedBy}";
}
