package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/doctor"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/nixconf"
	"github.com/nixstatic/nixstatic/sync/nixstore"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "find out why Nix builds what is in a cache",
		ArgsUsage: "[URL | CACHE] [PATH]",
		Description: "Looks at the settings of this machine, at the cache as Nix meets it, and at what\n" +
			"Nix remembers of it, in the order in which things go wrong. Each finding says what\n" +
			"is wrong, why that matters, and the command that cures it. It changes nothing.\n\n" +
			"Without URL it looks at all caches that Nix uses here. With PATH, a store path or a\n" +
			"link to one, it looks at its narinfo, its signatures, all that it refers to and its\n" +
			"archive as well. With a CACHE, a directory or a bucket, it looks at the serving side.\n\n" +
			"The checks: " + strings.Join(doctor.Names(), ", ") + ".\n\n" +
			"Exit code 1 says that something keeps Nix from using a cache. Root sees more than\n" +
			"others: what the Nix daemon remembers, and its netrc.\n\n" +
			"Examples:\n" +
			"   nixstatic doctor\n" +
			"   nixstatic doctor https://cache.example.org\n" +
			"   nixstatic doctor https://cache.example.org /nix/store/…-hello-2.12 --deep\n" +
			"   nixstatic doctor ./result --json\n" +
			"   nixstatic doctor ./cache",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "deep", Usage: "read the archive of PATH, and compare its hash"},
			jsonFlag(), quietFlag(),
		},
		Action: runDoctor,
	}
}

// doctorResult is what --json prints.
type doctorResult struct {
	Version int      `json:"version"` // of this form: 1
	OK      bool     `json:"ok"`      // no finding is a failure
	Caches  []string `json:"caches"`
	Path    string   `json:"path,omitempty"`
	doctor.Report
}

func runDoctor(c *cli.Context) error {
	base := doctor.Config{Files: nixconf.Here(), Deep: c.Bool("deep"), UserAgent: "nixstatic/" + version(), StoreDir: os.Getenv("NIX_STORE_DIR")}
	if base.StoreDir == "" {
		base.StoreDir = layout.DefaultStoreDir
	}
	args := c.Args().Slice()
	if len(args) > 0 {
		p, ok, err := pathArgument(base.StoreDir, args[len(args)-1])
		if err != nil {
			return err
		}
		if ok {
			base.Path, args = p, args[:len(args)-1]
		} else if len(args) == 2 {
			return usage("%s is not a store path, and leads to none", withoutUser(args[1]))
		}
	}
	if len(args) > 1 {
		return usage("doctor takes a cache and a store path at most")
	}
	if base.Deep && base.Path == "" {
		return usage("--deep needs a path")
	}
	var asked atomic.Int64
	base.Asked = func() { asked.Add(1) }
	base.Open = func(_ context.Context, url, netrc string) (layout.Reader, error) {
		return openSubstituter(c, url, netrc)
	}
	configs, close, err := patients(c, base, args)
	if err != nil {
		return err
	}
	defer close()
	r := doctorResult{Version: 1, Report: doctor.Report{Checked: []string{}, Findings: []doctor.Finding{}, Unchecked: []doctor.Gap{}}, Caches: []string{}}
	if base.Path != "" {
		r.Path = base.Path.Abs(base.StoreDir)
	}
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		return fmt.Sprintf("doctor: %s to caches", plural(asked.Load(), "question"))
	})
	defer m.end()
	for _, config := range configs {
		one, err := doctor.Run(c.Context, config)
		if err != nil {
			return err
		}
		r.add(config.URL, one)
	}
	m.end()
	r.settle()
	if c.Bool("json") {
		if err := printJSON(c.App.Writer, r); err != nil {
			return err
		}
	} else {
		r.print(c)
	}
	if !r.OK {
		return errUnwell
	}
	return nil
}

// pathArgument reads a store path, or a link that leads into the store.
func pathArgument(storeDir, arg string) (layout.StorePath, bool, error) {
	inside, err := nixstore.Follow(arg, storeDir)
	if err != nil {
		return "", false, nil
	}
	name, _, _ := strings.Cut(inside, "/")
	p, err := layout.ParseStorePath(name)
	if err != nil {
		return "", false, usage("%s: %v", arg, err)
	}
	return p, true, nil
}

// patients returns what is to be looked at: one cache or tree, or all caches that
// the settings name.
func patients(c *cli.Context, base doctor.Config, args []string) (_ []doctor.Config, close func(), _ error) {
	if len(args) == 0 {
		var all []doctor.Config
		for _, url := range base.Files.Load().List("substituters") {
			config := base
			config.URL = strings.TrimRight(url, "/")
			all = append(all, config)
		}
		if len(all) == 0 {
			all = append(all, base)
		}
		return all, func() {}, nil
	}
	loc, err := locate(c, args[0], readCache)
	if err != nil {
		return nil, nil, err
	}
	if loc.scheme == onWeb {
		if _, url, err := substituterURL(args[0]); err != nil {
			return nil, nil, err
		} else {
			base.URL = url
		}
		return []doctor.Config{base}, func() {}, nil
	}
	t, err := openLocated(c, loc)
	if err != nil {
		return nil, nil, err
	}
	base.Tree = t
	if info, err := layout.ReadCacheInfo(c.Context, t); err == nil {
		base.StoreDir = info.StoreDir // the client's own does not matter here
	}
	return []doctor.Config{base}, func() { t.Close() }, nil
}

// openSubstituter opens a cache that a list of substituters names, with the
// passwords that Nix has.
func openSubstituter(c *cli.Context, text, netrc string) (layout.Reader, error) {
	loc, err := parseLocation(text)
	if err != nil {
		return nil, err
	}
	if loc.scheme != onWeb {
		return openLocated(c, loc)
	}
	if f, err := os.Open(netrc); err != nil {
		netrc = os.DevNull
	} else {
		f.Close()
	}
	// A fault is to be found, and not to be got past: there is a single retry.
	return httpcache.Open(loc.web, httpcache.Options{Netrc: netrc, UserAgent: "nixstatic/" + version(), Attempts: 2, Stall: 30 * time.Second})
}

// add adds the report on one cache. A finding about the machine is told once.
func (r *doctorResult) add(url string, one *doctor.Report) {
	if url != "" {
		r.Caches = append(r.Caches, url)
	}
	for _, name := range one.Checked {
		if !slices.Contains(r.Checked, name) {
			r.Checked = append(r.Checked, name)
		}
	}
	for _, f := range one.Findings {
		if !slices.ContainsFunc(r.Findings, func(have doctor.Finding) bool { return have.Fault == f.Fault && have.What == f.What }) {
			r.Findings = append(r.Findings, f)
		}
	}
	for _, gap := range one.Unchecked {
		if !slices.ContainsFunc(r.Unchecked, func(have doctor.Gap) bool { return have.Reason == gap.Reason }) {
			r.Unchecked = append(r.Unchecked, gap)
		}
	}
}

// settle judges all caches together: a path has to be at one of them.
func (r *doctorResult) settle() {
	lacking := 0
	for _, f := range r.Findings {
		if f.Fault == "not-there" {
			lacking++
		}
	}
	if lacking < len(r.Caches) {
		r.Findings = slices.DeleteFunc(r.Findings, func(f doctor.Finding) bool { return f.Fault == "not-there" })
	}
	r.OK = !r.Failed()
}

func (r *doctorResult) print(c *cli.Context) {
	failures, warnings := int64(0), int64(0)
	for _, f := range r.Findings {
		if f.Level == doctor.Failure {
			failures++
		} else {
			warnings++
		}
		about := ""
		if f.Cache != "" {
			about = " " + f.Cache
		}
		fmt.Fprintf(c.App.Writer, "%s: %s%s: %s\n   why:  %s\n   cure: %s\n", f.Level, f.Fault, about, printable(f.What), f.Why, printable(f.Cure))
	}
	for _, gap := range r.Unchecked {
		say(c, "not checked (%s): %s", gap.Check, printable(gap.Reason))
	}
	switch {
	case failures > 0:
		say(c, "%s and %s, by %s", plural(failures, "failure"), plural(warnings, "warning"), plural(int64(len(r.Checked)), "check"))
	case warnings > 0:
		say(c, "%s, by %s; nothing keeps Nix from using the cache", plural(warnings, "warning"), plural(int64(len(r.Checked)), "check"))
	default:
		say(c, "nothing wrong was found by %s", plural(int64(len(r.Checked)), "check"))
	}
}
