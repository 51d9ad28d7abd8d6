// Command nixstatic writes a Nix binary cache that is nothing but files.
//
// Each command is a file of this package: it reads flags, asks the packages below
// to work, and words the outcome. Errors become an exit code and a hint in fail.go,
// and nowhere else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks for an orderly end, the second one ends at once.
	go func() { <-ctx.Done(); stop() }()
	return runApp(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
}

// runApp is the whole program but for the process around it.
func runApp(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := newApp(stdin, stdout, stderr)
	secrets := secretsIn(args)
	args, err := flagsFirst(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	return fail(ctx, stderr, err, secrets...)
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:      "nixstatic",
		Usage:     "a Nix binary cache that is nothing but files",
		HelpName:  "nixstatic",
		Version:   version(),
		Reader:    stdin,
		Writer:    stdout,
		ErrWriter: stderr,
		Description: "CACHE is a directory, file://…, or a bucket as s3://bucket/prefix?endpoint=…; commands that only read take " +
			"https://… as well. PATH is a store path, or a link to one such as ./result.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 wrong usage, 3 verify or adopt found problems, or nothing keeps a path, " +
			"4 what is pinned is larger than max-size, 130 interrupted.",
		Commands: []*cli.Command{
			exportCommand(), pushCommand(), watchCommand(), addCommand(), initCommand(), signCommand(), verifyCommand(), adoptCommand(), bundleCommand(),
			findCommand(), lsCommand(), catCommand(), infoCommand(),
			keyCommand(), syncCommand(), pinCommand(), gcCommand(), duCommand(), usesCommand(), rmCommand(), serveCommand(), tokenCommand(), useCommand(), doctorCommand(), quickstartCommand(),
			pageCommand(), helpCommand(), completionCommand(), manCommand(),
		},
		Flags:                     []cli.Flag{cli.HelpFlag}, // the library adds none where a command is called help
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return noCommand("nixstatic", c.App.Commands, c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	app.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return mistyped("nixstatic", app.Flags, err) }
	for _, c := range app.Commands {
		prepare(c, "nixstatic")
	}
	return app
}

// prepare gives every command what all commands share.
func prepare(c *cli.Command, parent string) {
	full := parent + " " + c.Name
	if parent != "nixstatic" {
		c.HelpName = full // the library names the others so by itself
	}
	c.HideHelpCommand = true
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return mistyped(full, c.Flags, err) }
	if len(c.Subcommands) > 0 && c.Action == nil {
		c.Action = func(ctx *cli.Context) error {
			if ctx.NArg() > 0 {
				return noCommand(full, c.Subcommands, ctx.Args().First())
			}
			return cli.ShowSubcommandHelp(ctx)
		}
	}
	c.Action = named(full, c.Action)
	for _, f := range c.Flags {
		if f, ok := f.(*cli.IntFlag); ok && f.Action != nil {
			check := f.Action
			f.Action = func(ctx *cli.Context, n int) error {
				return named(full, func(ctx *cli.Context) error { return check(ctx, n) })(ctx)
			}
		}
	}
	for _, sub := range c.Subcommands {
		prepare(sub, full)
	}
}

// named has a mistake in the command line told with the name of the command.
func named(command string, action cli.ActionFunc) cli.ActionFunc {
	return func(ctx *cli.Context) error {
		err := action(ctx)
		if u := (*usageError)(nil); errors.As(err, &u) && u.command == "" {
			u.command = command
		}
		return err
	}
}

// release is set by the linker when a release is built.
var release = ""

func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// say writes a line for people. Results for scripts go to c.App.Writer.
func say(c *cli.Context, format string, args ...any) {
	fmt.Fprint(c.App.ErrWriter, "nixstatic: "+printable(fmt.Sprintf(format, args...))+"\n")
}
