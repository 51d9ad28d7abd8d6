package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

func gcPolicyCommand() *cli.Command {
	return &cli.Command{
		Name:      "policy",
		Usage:     "show or set the rules by which paths stay",
		ArgsUsage: "CACHE",
		Description: "The policy is text in the cache itself, a rule on each line; gc, serve --gc and du go by\n" +
			"it, and sync carries it along. A path stays if one keep rule keeps it:\n\n" +
			"   keep pins                              nixstatic pin\n" +
			"   keep roots  */main/*  last 5, daily 7  runs of a root (export --root)\n" +
			"   keep young  14d                        what was pushed within that time\n" +
			"   keep used   30d                        what was read within it, see uses\n" +
			"   expire roots *        unrenewed 30d    roots without a new run for so long\n" +
			"   life logs   90d                        how long build logs stay\n" +
			"   life debug  210d                       how long debug links stay\n" +
			"   max-size    500GB warn 85%             beyond it, the longest unused go\n" +
			"   undo        30d                        gc undo brings back for so long\n\n" +
			"last, daily, weekly, monthly, yearly N and within AGE mean what the options --keep-… of\n" +
			"restic mean, for each name; all keeps all. In a pattern * stands for any characters, and\n" +
			"is compared with NAME and NAME/RUN. Ages: 30d, 2w, 12h, 6m (months), 1y. # begins a\n" +
			"comment. A cache without a policy has this one:\n\n" +
			indented(gc.DefaultPolicy().String()) + "\n" +
			"Examples:\n" +
			"   nixstatic gc policy ./cache > policy\n" +
			"   nixstatic gc policy ./cache --check policy\n" +
			"   nixstatic gc policy ./cache --set policy\n" +
			"   nixstatic gc policy ./cache --explain",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "check", Usage: "read the policy in `FILE`, or - for standard input, and change nothing"},
			&cli.StringFlag{Name: "set", Usage: "give the cache the policy in `FILE`, or - for standard input"},
			&cli.BoolFlag{Name: "explain", Usage: "say in words what the policy does to this cache"},
			&cli.BoolFlag{Name: "reset", Usage: "give the cache the default again"},
			jsonFlag(), quietFlag(),
		},
		Action: runGCPolicy,
	}
}

func indented(text string) string {
	return "   " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n   ") + "\n"
}

// policyResult is what gc policy --json prints.
type policyResult struct {
	Version int    `json:"version"`
	Tree    string `json:"tree"`
	Default bool   `json:"default"` // the tree has none of its own
	Text    string `json:"text"`
}

func runGCPolicy(c *cli.Context) error {
	location, err := oneTree(c)
	if err != nil {
		return err
	}
	asked := 0
	for _, name := range []string{"check", "set", "reset", "explain"} {
		if c.IsSet(name) {
			asked++
		}
	}
	if asked > 1 {
		return usage("--check, --set, --reset and --explain exclude each other")
	}
	var text []byte
	if name := c.String("check") + c.String("set"); name != "" {
		if text, err = policyFile(c, name); err != nil {
			return err
		}
		if _, err := gc.ParsePolicy(text); err != nil {
			if name == "-" {
				name = "standard input"
			}
			return withHint(fmt.Errorf("%s: %w", name, err), "nixstatic gc policy --help lists the rules; nothing was changed")
		}
	} else if c.IsSet("check") || c.IsSet("set") {
		return usage("want the name of a file, or - for standard input")
	}
	tree, _, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	switch {
	case c.IsSet("check"):
		if !c.Bool("quiet") {
			say(c, "the policy can be set")
		}
		return nil
	case c.IsSet("set"):
		err = gc.SetPolicy(c.Context, tree, text)
	case c.Bool("reset"):
		err = gc.SetPolicy(c.Context, tree, []byte(gc.DefaultPolicy().String()))
	case c.Bool("explain"):
		return explainPolicy(c, tree, location)
	default:
		return showPolicy(c, tree, location)
	}
	if err == nil && !c.Bool("quiet") {
		say(c, "the policy is set; nixstatic gc -n %s tells what would go", location)
	}
	return err
}

func policyFile(c *cli.Context, name string) ([]byte, error) {
	from := c.App.Reader
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, layout.MaxNarInfo))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return text, nil
}

// showPolicy prints the policy of a tree as it is, even if it makes no sense.
func showPolicy(c *cli.Context, tree layout.Tree, location string) error {
	p, text, err := gc.ReadPolicy(c.Context, tree)
	if err != nil && text == nil {
		return err
	}
	r := policyResult{Version: 1, Tree: location, Default: text == nil, Text: string(text)}
	if r.Default {
		r.Text = p.String()
	}
	if c.Bool("json") {
		if err != nil {
			return aboutPolicy(err)
		}
		return printJSON(c.App.Writer, r)
	}
	if r.Default && !c.Bool("quiet") {
		say(c, "%s has no policy of its own: this is the default", location)
	}
	fmt.Fprint(c.App.Writer, printable(r.Text))
	return aboutPolicy(err)
}

// aboutPolicy tells what to do about a policy that makes no sense.
func aboutPolicy(err error) error {
	if err == nil || errors.Is(err, fs.ErrPermission) {
		return err
	}
	return withHint(err, "nixstatic gc policy --help lists the rules; until that is corrected, gc removes nothing from a cache with this policy")
}
