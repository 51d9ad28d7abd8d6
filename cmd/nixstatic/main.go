// Command nixstatic writes a Nix binary cache that is nothing but files.
//
// Each command is a file of this package: it reads flags, asks the packages below
// to work, and words the outcome. Errors become an exit code and a hint in fail.go,
// and nowhere else.
package main

import (
	"context"
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
		Version:   version(),
		Reader:    stdin,
		Writer:    stdout,
		ErrWriter: stderr,
		Description: "A tree is a directory that any web server can host as a Nix binary cache.\n" +
			"Every command is explained, with examples, by nixstatic COMMAND --help.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 wrong usage, 3 verify or adopt found problems, or nothing keeps a path, 4 what is pinned is larger than max-size, 130 interrupted.",
		Commands: []*cli.Command{
			exportCommand(), pushCommand(), watchCommand(), addCommand(), initCommand(), signCommand(), verifyCommand(), adoptCommand(),
			findCommand(), lsCommand(), catCommand(), infoCommand(),
			keyCommand(), syncCommand(), pinCommand(), gcCommand(), duCommand(), usesCommand(), rmCommand(), serveCommand(), tokenCommand(), useCommand(), doctorCommand(), quickstartCommand(),
			pageCommand(),
		},
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return usage("%v", err) },
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usage("there is no command %q", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range app.Commands {
		prepare(c)
	}
	return app
}

// prepare gives every command what all commands share.
func prepare(c *cli.Command) {
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usage("%v", err) }
	c.HideHelpCommand = true
	if len(c.Subcommands) > 0 && c.Action == nil {
		c.Action = func(ctx *cli.Context) error {
			if ctx.NArg() > 0 {
				return usage("there is no command %q of %s", ctx.Args().First(), c.Name)
			}
			return cli.ShowSubcommandHelp(ctx)
		}
	}
	for _, sub := range c.Subcommands {
		prepare(sub)
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
	fmt.Fprint(c.App.ErrWriter, "nixstatic: "+discreet(fmt.Sprintf(format, args...))+"\n")
}
