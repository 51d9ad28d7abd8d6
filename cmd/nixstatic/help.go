package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// helpWidth is how wide a help is at most: that of the terminals which are never
// wider, in characters.
const helpWidth = 80

// The groups of commands and of flags, in the order of a help. A name that is in
// none of them comes last.
var (
	commandGroups = []group{
		{"Fill a cache", []string{"init", "export", "add", "push", "sync", "adopt", "bundle", "watch"}},
		{"Serve a cache, and use it", []string{"quickstart", "serve", "token", "key", "sign", "use", "doctor", "page"}},
		{"Look into a cache", []string{"verify", "find", "ls", "cat", "info", "du"}},
		{"Keep a cache small", []string{"gc", "pin", "rm", "uses"}},
		{"About this program", []string{"completion", "help"}},
	}
	flagGroups = []group{
		{"Where", []string{"to", "from", "store", "store-dir", "output", "stdin", "netrc-file", "file", "dir", "listen", "tls-cert", "tls-key", "redirect", "upload-prefix", "read-only", "write"}},
		{"What", []string{"name", "have", "no-closure", "build-deps", "exclude", "include", "root", "pin", "force", "debug-info", "logs", "delete", "compare", "watch", "rescan", "deep", "repair", "public",
			"upstream", "upstream-key", "title", "url", "public-key", "unlisted", "replace"}},
		{"Who may", []string{"tokens", "private", "anonymous-upload", "trusted-proxy", "token-file", "scope", "netrc", "expires", "key"}},
		{"Signatures", []string{"secret-key-file", "trusted-public-key", "require-signature", "no-check-sigs"}},
		{"Compression", []string{"compression", "level"}},
		{"Limits", []string{"jobs", "bandwidth", "max-size", "max-nar-size", "max-body", "min-free", "max-uploads", "shutdown-timeout"}},
		{"Pruning", []string{"gc", "keep-young", "undo", "grace", "max-removal", "no-pins", "open", "no-reclaim", "reclaim-only", "keep-last", "keep-within", "until",
			"with-referrers", "purge", "purge-hook", "purge-url"}},
		{"What is told", []string{"dry-run", "yes", "json", "quiet", "verbose", "metrics-listen", "log-format", "log-level", "help"}},
	}
)

type group struct {
	title string
	names []string
}

// environment is what every command reads beside its flags.
var environment = [][2]string{
	{"NIXSTATIC_TO", "the cache that --to would name, and push's TO"},
	{"NIXSTATIC_SECRET_KEY", "the secret key itself, where no -k is given"},
	{"NETRC", "a file with user names and passwords, instead of ~/.netrc"},
	{"NIX_SSL_CERT_FILE", "authorities that are believed"},
	{"AWS_…", "credentials, profile and region for s3://, as for the AWS tools"},
	{"TMPDIR", "where unfinished files of uploads and of buckets lie"},
}

func init() {
	cli.VersionFlag = &cli.BoolFlag{Name: "version", Aliases: []string{"V"}, Usage: "print the version"}
	cli.HelpPrinter = func(w io.Writer, _ string, data any) {
		switch d := data.(type) {
		case *cli.App:
			io.WriteString(w, appHelp(d))
		case *cli.Command:
			io.WriteString(w, commandHelp(d))
		}
	}
}

// appHelp is what "nixstatic" says by itself.
func appHelp(app *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, "nixstatic: %s\n\nUsage: nixstatic COMMAND [flags] …\n\n%s", app.Usage, wrapText(app.Description))
	rows := map[string]row{}
	var order []string
	for _, c := range app.Commands {
		if !c.Hidden {
			order = append(order, c.Name)
			rows[c.Name] = row{c.Name, c.Usage}
		}
	}
	writeGroups(&b, commandGroups, "More", order, rows)
	fmt.Fprint(&b, "\nFlags\n")
	writeRows(&b, []row{{"-h, --help", "show this, or the help of a command"}, {"-V, --version", "print the version"}})
	fmt.Fprint(&b, "\nEnvironment\n")
	for _, e := range environment {
		writeRows(&b, []row{{e[0], e[1]}})
	}
	fmt.Fprint(&b, "\nnixstatic help COMMAND explains a command, with examples.\n")
	return b.String()
}

// commandHelp is the help of a command.
func commandHelp(c *cli.Command) string {
	var b strings.Builder
	name := fullName(c)
	for _, line := range wrap(name+": "+c.Usage, helpWidth) {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintf(&b, "\nUsage: %s\n\n%s", usageLine(c), wrapText(c.Description))
	if subs := visible(c.Subcommands); len(subs) > 0 {
		fmt.Fprint(&b, "\nCommands\n")
		var rows []row
		for _, sub := range subs {
			rows = append(rows, row{sub.Name, sub.Usage})
		}
		writeRows(&b, rows)
	}
	rows := map[string]row{}
	var order []string
	for _, f := range c.VisibleFlags() {
		order = append(order, f.Names()[0])
		rows[f.Names()[0]] = flagRow(f)
	}
	if len(order) > 8 {
		writeGroups(&b, flagGroups, "More", order, rows)
	} else if len(order) > 0 {
		fmt.Fprint(&b, "\nFlags\n")
		for _, name := range order {
			writeRows(&b, []row{rows[name]})
		}
	}
	return b.String()
}

func visible(commands []*cli.Command) []*cli.Command {
	return slices.DeleteFunc(slices.Clone(commands), func(c *cli.Command) bool { return c.Hidden })
}

// fullName is a command with those it belongs to: "nixstatic gc why".
func fullName(c *cli.Command) string {
	if c.HelpName == "" {
		return "nixstatic " + c.Name
	}
	return c.HelpName
}

func usageLine(c *cli.Command) string {
	line := fullName(c)
	if len(visible(c.Subcommands)) > 0 && strings.TrimSpace(c.ArgsUsage) == "" {
		line += " COMMAND"
	}
	if len(c.Flags) > 0 {
		line += " [flags]"
	}
	if args := strings.TrimSpace(c.ArgsUsage); args != "" {
		line += " " + args
	}
	return line
}

// A row is a name, and what it is.
type row struct{ name, what string }

// flagRow words a flag: "-t, --to TREE".
func flagRow(f cli.Flag) row {
	doc := f.(cli.DocGenerationFlag)
	value, what := unquote(doc.GetUsage())
	var short, long []string
	for _, name := range f.Names() {
		if len(name) == 1 {
			short = append(short, "-"+name)
		} else {
			long = append(long, "--"+name)
		}
	}
	text := strings.Join(append(short, long[0]), ", ")
	if len(short) == 0 {
		text = "    " + text
	}
	if value == "" && doc.TakesValue() {
		value = "VALUE"
	}
	if value != "" {
		text += " " + value
	}
	if len(long) > 1 {
		what += "; also " + strings.Join(long[1:], ", ")
	}
	if doc.TakesValue() && !strings.Contains(what, "(default") {
		if text := doc.GetDefaultText(); text != "" && text != "0" && text != `""` {
			what += " (default: " + strings.Trim(text, `"`) + ")"
		}
	}
	if env := doc.GetEnvVars(); len(env) > 0 {
		what += " [$" + strings.Join(env, ", $") + "]"
	}
	return row{text, what}
}

// unquote takes the name of the value out of a flag's usage, where it stands
// between backquotes.
func unquote(usage string) (value, what string) {
	before, rest, ok := strings.Cut(usage, "`")
	if !ok {
		return "", usage
	}
	value, after, _ := strings.Cut(rest, "`")
	return value, before + value + after
}

// writeGroups writes rows by groups.
func writeGroups(b *strings.Builder, groups []group, other string, order []string, rows map[string]row) {
	left := slices.Clone(order)
	for _, g := range groups {
		var members []row
		for _, name := range g.names {
			if i := slices.Index(left, name); i >= 0 {
				members = append(members, rows[name])
				left = slices.Delete(left, i, i+1)
			}
		}
		if len(members) > 0 {
			fmt.Fprintf(b, "\n%s\n", g.title)
			writeRows(b, members)
		}
	}
	if len(left) > 0 {
		fmt.Fprintf(b, "\n%s\n", other)
		for _, name := range left {
			writeRows(b, []row{rows[name]})
		}
	}
}

// helpColumn is where the explanations of a help begin.
const helpColumn = 30

func writeRows(b *strings.Builder, rows []row) {
	for _, r := range rows {
		line := "  " + r.name
		if utf8.RuneCountInString(line)+2 > helpColumn {
			b.WriteString(line + "\n")
			line = ""
		}
		for _, words := range wrap(r.what, helpWidth-helpColumn) {
			b.WriteString(line + strings.Repeat(" ", helpColumn-utf8.RuneCountInString(line)) + words + "\n")
			line = ""
		}
	}
}

const descriptionIndent = "   "

var (
	lastGap      = regexp.MustCompile(`^.*\S {2,}`)
	beginsIndent = regexp.MustCompile(`^ *`)
	isCommand    = regexp.MustCompile(`^ +(sudo |[A-Z_]+=\S+ )*(nixstatic|nix|nix-store|aws|--[a-z-]+|curl) |\| nixstatic`)
)

// helpCommand explains the others.
func helpCommand() *cli.Command {
	return &cli.Command{
		Name:      "help",
		Usage:     "explain a command, with examples",
		ArgsUsage: "[COMMAND]",
		Description: "Without COMMAND it lists the commands.\n\n" +
			"Examples:\n" +
			"   nixstatic help export\n" +
			"   nixstatic help gc why",
		Action: func(c *cli.Context) error {
			commands, parent := c.App.Commands, "nixstatic"
			var command *cli.Command
			for _, word := range c.Args().Slice() {
				command = nil
				for _, candidate := range commands {
					if candidate.HasName(word) {
						command = candidate
					}
				}
				if command == nil {
					return noCommand(parent, commands, word)
				}
				commands, parent = command.Subcommands, command.HelpName
			}
			text := appHelp(c.App)
			if command != nil {
				text = commandHelp(command)
			}
			_, err := io.WriteString(c.App.Writer, text)
			return err
		},
	}
}
