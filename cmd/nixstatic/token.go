package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/nixconf"
	"github.com/nixstatic/nixstatic/webdav/token"
)

func tokenCommand() *cli.Command {
	return &cli.Command{
		Name:  "token",
		Usage: "say who may upload to a cache that is served",
		Description: "A token is a password that a machine has. nixstatic serve --tokens FILE lets those\n" +
			"in who show one that is in FILE, and notices at the next request that FILE has changed.\n" +
			"FILE holds no secrets, only what is needed to know one again.\n\n" +
			"Examples:\n" +
			"   nixstatic token create --file tokens --name ci --scope upload --netrc cache.example.org > netrc\n" +
			"   nixstatic token list --file tokens\n" +
			"   nixstatic token revoke --file tokens ci\n\n" +
			"The uploading client has it in a netrc, a file of mode 0600, as\n" +
			"   machine cache.example.org login ci password nst_…\n" +
			"and names that where it is not the netrc of Nix itself:\n" +
			"   nix copy --to https://cache.example.org/upload --option netrc-file ~/.netrc ./result\n" +
			"It does not belong into the URL, which Nix prints. A reader of a private cache\n" +
			"takes nixstatic use URL --token-file FILE.",
		Subcommands: []*cli.Command{{
			Name:      "create",
			Usage:     "make a token, and print it",
			ArgsUsage: " ",
			Description: "The token goes to standard output. It is kept nowhere: who loses it gets another.\n\n" +
				"The scopes, each of which includes those before it:\n" +
				"   read     reading, where serve --private asks for it\n" +
				"   upload   adding store paths, logs and signatures\n" +
				"   admin    pages for people, such as index.html, and all else that\n" +
				"            changes the cache\n\n" +
				"Example:\n" +
				"   nixstatic token create --file tokens --name ci --scope upload --for 90d > ci.token\n" +
				"   nixstatic token create --file tokens --name ci --scope upload --netrc cache.example.org > netrc\n" +
				"   nixstatic token create --file tokens --name acme --scope upload --root 'acme/*'",
			Flags: []cli.Flag{
				tokenFileFlag(),
				&cli.StringFlag{Name: "name", Usage: "`NAME` of the client that gets it; the log of serve shows it with each upload"},
				&cli.StringSliceFlag{Name: "scope", Usage: "what it is good for: `SCOPE` read, upload or admin; may be repeated"},
				&cli.StringFlag{Name: "netrc", Usage: "print the line of a netrc for `HOST`, not the token alone"},
				&cli.StringSliceFlag{Name: "root", Usage: "good for uploads to the roots that match `PATTERN`, and for no others, such as 'acme/*'; may be repeated"},
				&cli.StringFlag{Name: "for", Aliases: []string{"expires"}, Usage: "good for `DURATION`, such as 90d or 12h (default: for ever)"},
			},
			Action: runTokenCreate,
		}, {
			Name:      "list",
			Usage:     "show who has a token",
			ArgsUsage: " ",
			Description: "A line for each: the name, the scopes, until when it is good, and when a server\n" +
				"of this machine let it in last, give or take a minute.\n\n" +
				"Example:\n" +
				"   nixstatic token list --file tokens",
			Flags:  []cli.Flag{tokenFileFlag(), jsonFlag()},
			Action: runTokenList,
		}, {
			Name:      "revoke",
			Usage:     "remove a token",
			ArgsUsage: "NAME",
			Description: "A server that runs refuses it from the next request on. All else in the file stays.\n\n" +
				"Example:\n" +
				"   nixstatic token revoke --file tokens ci",
			Flags:  []cli.Flag{tokenFileFlag()},
			Action: runTokenRevoke,
		}},
	}
}

func tokenFileFlag() cli.Flag {
	return &cli.StringFlag{Name: "file", Usage: "the `FILE` that serve --tokens names"}
}

func runTokenCreate(c *cli.Context) error {
	if c.NArg() > 0 {
		return usage("token create takes no arguments, only flags")
	}
	for _, flag := range []string{"file", "name", "scope"} {
		if !c.IsSet(flag) {
			return usage("token create needs --%s", flag)
		}
	}
	scopes, err := token.ParseScopes(strings.Join(c.StringSlice("scope"), ","))
	if err != nil {
		return usage("--scope: %v", err)
	}
	var until time.Time
	if c.IsSet("for") {
		d, err := parseDuration(c.String("for"))
		if err != nil {
			return usage("--for: %v", err)
		}
		until = time.Now().Add(d)
	}
	if host := c.String("netrc"); c.IsSet("netrc") && (host == "" || strings.ContainsAny(host, "/@ \t")) {
		return usage("--netrc %q: want the name of a host, as in https://HOST/, without a port", host)
	}
	var roots []layout.RootPattern
	if c.IsSet("root") {
		if roots, err = token.ParseRoots(strings.Join(c.StringSlice("root"), ",")); err != nil {
			return usage("--root: %v", err)
		}
	}
	made, secret, err := token.New(c.String("name"), scopes, until, roots...)
	if err != nil {
		return usage("--name: %v", err)
	}
	if err := token.Add(c.String("file"), made); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return withHint(fmt.Errorf("%s has a token of the name %s already", c.String("file"), made.Name),
				"choose another name, or revoke that token first: nixstatic token revoke --file %s %s", c.String("file"), made.Name)
		}
		return err
	}
	if host := c.String("netrc"); host != "" {
		secret = nixconf.NetrcLine(host, nixconf.Login{Name: made.Name, Password: secret})
	}
	fmt.Fprintln(c.App.Writer, secret)
	return nil
}

// tokenResult is what --json prints of a token.
type tokenResult struct {
	Name    string               `json:"name"`
	Scopes  []string             `json:"scopes"`
	Until   *time.Time           `json:"until,omitempty"`
	Roots   []layout.RootPattern `json:"roots,omitempty"`
	Expired bool                 `json:"expired"`
	Used    *time.Time           `json:"used,omitempty"` // last
}

func runTokenList(c *cli.Context) error {
	if c.NArg() > 0 {
		return usage("token list takes no arguments, only --file")
	}
	if err := need(c, "file"); err != nil {
		return err
	}
	tokens, err := token.Read(c.String("file"))
	if err != nil {
		return err
	}
	now, used := time.Now(), token.Used(c.String("file"))
	if c.Bool("json") {
		results := []tokenResult{}
		for _, t := range tokens {
			r := tokenResult{Name: t.Name, Scopes: strings.Split(t.ScopeList(), ","), Roots: t.Roots, Expired: t.Expired(now)}
			if !t.Until.IsZero() {
				r.Until = &t.Until
			}
			if at, ok := used[t.Name]; ok {
				r.Used = &at
			}
			results = append(results, r)
		}
		return printJSONList(c.App.Writer, "tokens", results)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, t := range tokens {
		until := "for ever"
		if !t.Until.IsZero() {
			until = "until " + t.Until.Format(time.RFC3339)
		}
		if t.Expired(now) {
			until += " (expired)"
		}
		bound := ""
		if len(t.Roots) > 0 {
			bound = "\troots " + t.RootList()
		}
		if at, ok := used[t.Name]; ok {
			bound += "\tused " + at.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s%s\n", t.Name, t.ScopeList(), until, bound)
	}
	return w.Flush()
}

func runTokenRevoke(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage("token revoke takes one argument, the name")
	}
	if err := need(c, "file"); err != nil {
		return err
	}
	name := c.Args().First()
	err := token.Revoke(c.String("file"), name)
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("%s has no token of the name %s", c.String("file"), name),
			"nixstatic token list --file %s shows which there are", c.String("file"))
	}
	return err
}

// durationFlag reads a flag that has a duration. All have the same units.
func durationFlag(c *cli.Context, name string) (time.Duration, error) {
	d, err := parseDuration(c.String(name))
	if err != nil {
		return 0, usage("--%s: %v", name, err)
	}
	return d, nil
}

// parseDuration reads what time.ParseDuration does, and days and weeks.
func parseDuration(text string) (time.Duration, error) {
	var d time.Duration
	var err error
	switch number, unit := text[:max(len(text)-1, 0)], text[max(len(text)-1, 0):]; unit {
	case "d", "w":
		var n float64
		n, err = strconv.ParseFloat(number, 64)
		if unit == "w" {
			n *= 7
		}
		if n > 36500 {
			err = strconv.ErrRange
		}
		d = time.Duration(n * float64(24*time.Hour))
	default:
		d, err = time.ParseDuration(text)
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a duration such as 90d, 2w or 12h", text)
	}
	return d, nil
}
