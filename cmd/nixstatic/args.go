package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst moves the flags of a command line before its arguments, where the
// library alone looks for them: it would take "export PATH --to DIR" for three
// paths. Everything after "--" is an argument, even if it looks like a flag.
func flagsFirst(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	head := args[:1:1]
	rest := args[1:]
	flags := app.Flags
	commands := app.Commands
	own := false // the command takes arguments, beside those that have its subcommands' names
	for len(commands) > 0 && len(rest) > 0 {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(rest[0]) })
		if i < 0 && own {
			break
		}
		if strings.HasPrefix(rest[0], "-") {
			return args, nil // a flag of the program itself, or a mistake that the library explains
		}
		if i < 0 {
			return args, nil
		}
		own = commands[i].ArgsUsage != "" && len(commands[i].Subcommands) > 0
		head = append(head, rest[0])
		rest = rest[1:]
		flags, commands = commands[i].Flags, commands[i].Subcommands
	}
	var before, after []string
	for len(rest) > 0 {
		arg := rest[0]
		rest = rest[1:]
		if arg == "--" {
			after = append(after, rest...)
			break
		}
		if arg == "-" || !strings.HasPrefix(arg, "-") {
			after = append(after, arg)
			continue
		}
		before = append(before, arg)
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if takesValue(flags, name) && !hasValue {
			if len(rest) == 0 {
				return nil, &usageError{fmt.Sprintf("the flag %s needs a value", arg), strings.Join(append([]string{"nixstatic"}, head[1:]...), " ")}
			}
			before = append(before, rest[0])
			rest = rest[1:]
		}
	}
	if len(after) > 0 {
		before = append(append(before, "--"), after...)
	}
	return append(head, before...), nil
}

func takesValue(flags []cli.Flag, name string) bool {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			_, isBool := f.(*cli.BoolFlag)
			return !isBool
		}
	}
	return false
}
