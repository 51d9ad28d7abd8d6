package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

// manCommand writes the manual pages, one for each command: make install puts them
// where man looks.
func manCommand() *cli.Command {
	return &cli.Command{
		Name:        "man",
		Hidden:      true,
		Usage:       "write the manual pages",
		ArgsUsage:   "DIRECTORY",
		Description: "Example:\n   nixstatic man ./man1",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("man takes one argument, the directory")
			}
			dir := c.Args().First()
			if err := os.MkdirAll(dir, 0o777); err != nil {
				return err
			}
			pages := map[string]string{"nixstatic": manPage("nixstatic", c.App.Usage, appHelp(c.App))}
			for _, command := range visible(c.App.Commands) {
				addManPages(pages, command)
			}
			for name, text := range pages {
				if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(text), 0o666); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func addManPages(pages map[string]string, c *cli.Command) {
	name := strings.ReplaceAll(fullName(c), " ", "-")
	pages[name] = manPage(name, c.Usage, commandHelp(c))
	for _, sub := range visible(c.Subcommands) {
		addManPages(pages, sub)
	}
}

// manPage makes a manual page of a help, whose lines stay as they are: they fit every
// terminal already.
func manPage(name, what, help string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"nixstatic %s\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(roff(name)), roff(version()), roff(name), roff(what))
	fmt.Fprint(&b, ".SH DESCRIPTION\n.nf\n")
	_, text, _ := strings.Cut(help, "\n\n")
	for line := range strings.Lines(text) {
		line = roff(strings.TrimRight(line, "\n"))
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		fmt.Fprintln(&b, line)
	}
	fmt.Fprint(&b, ".fi\n")
	return b.String()
}

// roff escapes a text: a hyphen is a minus, as commands are typed.
func roff(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...").Replace(s)
}
