package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
)

func verifyCommand() *cli.Command {
	return telling(&cli.Command{
		Name:      "verify",
		Usage:     "check a cache, and change nothing but with --repair",
		ArgsUsage: "CACHE",
		Description: "Checks that every narinfo is well formed, leads to a NAR, and has its references\n" +
			"and its listing beside it; with --deep also every byte of every NAR. Problems go\n" +
			"to standard output, one a line; so do notes, which are not problems: what an\n" +
			"interrupted run may leave, and files that are nothing of a cache's.\n\n" +
			"A reference may also be provided by an upstream that the cache was served with\n" +
			"(serve --upstream): its signed narinfo is in the cache, and is checked.\n\n" +
			"With --repair listings and debug links are made again from the NARs that are there, and\n" +
			"with --from, paths that are damaged or missing come from a cache or a store; what is left\n" +
			"is told.\n\n" +
			"The exit code is 0 without problems, 3 with, and 1 if something could not be read.\n\n" +
			"Examples:\n" +
			"   nixstatic verify ./cache\n" +
			"   nixstatic verify --deep --trusted-public-key \"$(nixstatic key public secret.key)\" ./cache\n" +
			"   nixstatic verify --deep --repair --from https://cache.nixos.org ./cache\n" +
			"   nixstatic verify --json ./cache | jq '.problems[].kind'",
		Flags: append(repairFlags(),
			&cli.BoolFlag{Name: "deep", Usage: "read every NAR"},
			trustedKeysFlag("demand a signature by `KEY` (name:base64) of every path; may be repeated"),
			jobsFlag("NARs"), jsonFlag(), quietFlag(), verboseFlag()),
		Action: runVerify,
	})
}

// verifyResult is what --json prints.
type verifyResult struct {
	Tree     string         `json:"tree"`
	Deep     bool           `json:"deep"`
	Paths    int64          `json:"paths"`
	NARs     int64          `json:"nars"`     // read
	NARBytes int64          `json:"narBytes"` // of the files read
	Unsigned int64          `json:"unsigned"` // paths without any signature that need one
	Problems []fsck.Problem `json:"problems"`
	Notes    []fsck.Problem `json:"notes"`
	Unknown  []string       `json:"unknown"` // what could not be told
	// Upstreams are the caches that the tree leans on for references.
	Upstreams []string `json:"upstreams,omitempty"`
}

func runVerify(c *cli.Context) error {
	location, err := oneTree(c)
	if err != nil {
		return err
	}
	trusted, err := trustedKeys(c)
	if err != nil {
		return err
	}
	tree, err := openTree(c, location, checkTree)
	if err != nil {
		return err
	}
	defer tree.Close()
	if !anythingIn(c, tree) {
		// A mistyped path is a usage error, not a damaged tree.
		return withHint(fmt.Errorf("%s is not a binary cache: there is nothing of one in it", location), "check the path")
	}
	if c.IsSet("from") && !c.Bool("repair") {
		return usage("--from goes with --repair")
	}
	if c.Bool("repair") {
		if err := checkAndRepair(c, tree, trusted); err != nil {
			return err
		}
	}
	progress := &fsck.Progress{}
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(elapsed time.Duration) string {
		if total := progress.TotalBytes.Load(); total > 0 {
			return fmt.Sprintf("verify: %d of %s, %s", progress.NARs.Load(), plural(progress.TotalNARs.Load(), "NAR"),
				amount(progress.Bytes.Load(), total, elapsed))
		}
		return fmt.Sprintf("verify: %d of %s", progress.Paths.Load(), plural(progress.TotalPaths.Load(), "path"))
	})
	defer m.end()
	r := verifyResult{Tree: location, Deep: c.Bool("deep"), Problems: []fsck.Problem{}, Notes: []fsck.Problem{}, Unknown: []string{}}
	var errs []error
	unsigned := int64(0)
	provision, err := readProvision(c.Context, tree)
	if err != nil {
		return err
	}
	for _, u := range provision.Upstreams() {
		r.Upstreams = append(r.Upstreams, u.URL)
	}
	options := fsck.Options{Deep: r.Deep, Jobs: c.Int("jobs"), Trusted: trusted, Provided: provision.Provides, Progress: progress}
	if c.Bool("verbose") {
		options.Working = func(key layout.Key) { m.above(func() { say(c, "verify: %s", key) }) }
	}
	for p, err := range fsck.Check(c.Context, tree, options) {
		if err == nil && p.Kind == fsck.Untrusted {
			unsigned++
		}
		switch {
		case err != nil:
			errs = append(errs, err)
			r.Unknown = append(r.Unknown, err.Error())
			continue
		case c.Bool("json") && p.Kind.Note():
			r.Notes = append(r.Notes, p)
		case c.Bool("json"):
			r.Problems = append(r.Problems, p)
		case p.Kind.Note():
			if !c.Bool("quiet") {
				m.above(func() { fmt.Fprintf(c.App.Writer, "note: %s\n", printable(p.String())) })
			}
		default:
			m.above(func() { fmt.Fprintln(c.App.Writer, printable(p.String())) })
		}
	}
	m.end()
	return verifyOutcome(c, r, progress, unsigned, errs)
}

// readProvision reads which upstreams a tree depends on. A tree whose description
// cannot be read is taken to be for the usual store directory; the check reports
// what is wrong with the description.
func readProvision(ctx context.Context, tree layout.Reader) (*layout.Provision, error) {
	storeDir := layout.DefaultStoreDir
	if info, err := layout.ReadCacheInfo(ctx, tree); err == nil {
		storeDir = info.StoreDir
	}
	provision, err := layout.ReadProvision(ctx, tree, storeDir)
	if err != nil {
		return nil, withHint(err, "the file says which upstreams may provide references; put it right by hand, or start serve without it and with --upstream")
	}
	return provision, nil
}

func verifyOutcome(c *cli.Context, r verifyResult, progress *fsck.Progress, unsigned int64, errs []error) error {
	r.Unsigned = progress.Unsigned.Load()
	r.Paths, r.NARs, r.NARBytes = progress.Paths.Load(), progress.NARs.Load(), progress.Bytes.Load()
	problems := progress.Problems.Load()
	if c.Bool("json") {
		if err := printJSON(c.App.Writer, r); err != nil {
			return err
		}
	} else if !c.Bool("quiet") {
		what := plural(r.Paths, "path")
		if r.Deep {
			what += fmt.Sprintf(" and every byte of %s (%s)", plural(r.NARs, "NAR"), bytesize(r.NARBytes))
		}
		var found []string
		if len(errs) > 0 {
			found = append(found, plural(int64(len(errs)), "thing")+" could not be read")
		}
		if problems > 0 || len(errs) == 0 { // what was not read may have some
			found = append(found, plural(problems, "problem"))
		}
		found = append(found, plural(progress.Notes.Load(), "note"))
		say(c, "checked %s: %s", what, strings.Join(found, ", "))
	}
	if r.Unsigned > 0 && unsigned == 0 && !c.Bool("quiet") {
		say(c, "warning: %s", unsignedNote(r.Unsigned, r.Paths, "nothing in this cache is signed", r.Tree))
	}
	if len(errs) > 0 {
		return withHint(fmt.Errorf("%s could not be read: %w", plural(int64(len(errs)), "thing"), errors.Join(errs[:min(len(errs), 10)]...)),
			"what could not be read may be right or wrong; see to it that it can be read, and run verify again")
	}
	if problems > 0 {
		if !c.Bool("quiet") && unsigned > 0 {
			say(c, "hint: nixstatic sign '%s' -k FILE adds the signature of a key; to sign is to vouch, so run nixstatic verify --deep first", r.Tree)
		}
		if !c.Bool("quiet") && problems > unsigned {
			say(c, "hint: nixstatic export --force writes a path again from its source; a lone narinfo can be removed by hand, and its path then counts as absent")
		}
		return errProblems
	}
	return nil
}

// anythingIn reports whether there is anything of a cache in the tree, or
// something that keeps us from looking.
func anythingIn(c *cli.Context, tree layout.Tree) bool {
	for info, err := range tree.List(c.Context, "") {
		if err != nil || info.Key.Kind().Public() {
			return true
		}
	}
	return false
}
