package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/pages"
	"github.com/nixstatic/nixstatic/signer"
)

func pageCommand() *cli.Command {
	return telling(&cli.Command{
		Name:      "page",
		Usage:     "write a page for browsers into a cache",
		ArgsUsage: "CACHE",
		Description: "Writes index.html and what it needs beside the cache: how to use it, its keys, its\n" +
			"size and pins, a search by name and hash, and a page for every path, with its files.\n" +
			"All of it is plain files: any web server, CDN or bucket can host it.\n\n" +
			"From then on export, add, sign, pin, gc, rm and serve keep it current. To run this\n" +
			"again looks for what else changed the cache. What is not said stays as it was.\n\n" +
			"Examples:\n" +
			"   nixstatic page ./cache --title 'Example cache' --url https://cache.example.org\n" +
			"   nixstatic page ./cache --public-key cache.example.org-1:…\n" +
			"   nixstatic page ./cache --unlisted",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "title", Usage: "the cache is called `TITLE`"},
			&cli.StringFlag{Name: "url", Usage: "clients read the cache at `URL` (without it the page takes its own address)"},
			&cli.StringSliceFlag{Name: "public-key", Usage: "show `KEY` (name:base64) and no others as those that sign here; may be repeated"},
			&cli.BoolFlag{Name: "unlisted", Usage: "list no paths: no search, no newest paths (--unlisted=false: list them again)"},
			&cli.BoolFlag{Name: "replace", Usage: "replace an index.html that something else has written"},
			jsonFlag(), quietFlag(),
		},
		Action: runPage,
	})
}

// pageResult is what page --json prints.
type pageResult struct {
	Version  int         `json:"version"`
	Tree     string      `json:"tree"`
	Stats    pages.Stats `json:"stats"`
	Unlisted bool        `json:"unlisted,omitempty"`
	Skipped  int64       `json:"skipped,omitempty"` // narinfos that make no sense
}

func runPage(c *cli.Context) error {
	location, err := oneTree(c)
	if err != nil {
		return err
	}
	change, err := pageSettings(c)
	if err != nil {
		return err
	}
	tree, info, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	layout.Sweep(tree)
	before, err := pages.ReadSettings(c.Context, tree)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	p := newPage(tree, info.StoreDir)
	err = p.keeper.Set(c.Context, c.Bool("replace"), func(s *pages.Settings) error { change(s); return nil })
	if errors.Is(err, pages.ErrForeign) {
		return withHint(fmt.Errorf("%s: %w", location, err), "--replace writes over it")
	}
	if err != nil {
		return err
	}
	if c.IsSet("unlisted") && before.Unlisted != c.Bool("unlisted") {
		if err := p.keeper.Clear(c.Context, before.Unlisted); err != nil {
			return err
		}
	}
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		return fmt.Sprintf("page: %s read", plural(p.read.Load(), "new path"))
	})
	err = p.reconcile(c.Context)
	m.end()
	if err != nil {
		return err
	}
	stats, err := pages.ReadStats(c.Context, tree)
	if err != nil {
		return err
	}
	if skipped := p.skipped.Load(); skipped > 0 {
		say(c, "note: the page leaves out %s that could not be read; nixstatic verify tells more", plural(skipped, "narinfo"))
	}
	if set, err := pages.ReadSettings(c.Context, tree); err == nil && len(set.Keys) == 0 {
		say(c, "note: the page shows no key, which nixstatic use reads there: give --public-key; export and sign with -k add theirs")
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, pageResult{1, treeName(tree, location), stats, c.Bool("unlisted"), p.skipped.Load()})
	}
	if !c.Bool("quiet") {
		say(c, "index.html shows %s, %s to download", plural(stats.Paths, "path"), bytesize(stats.FileBytes))
	}
	return nil
}

// pageSettings reads the flags that say how a page is to be.
func pageSettings(c *cli.Context) (func(*pages.Settings), error) {
	if text := c.String("url"); text != "" {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, usage("--url %s: want the URL of the cache, such as https://cache.example.org", withoutUser(text))
		}
	}
	if title := c.String("title"); len(title) > 200 || strings.ContainsFunc(title, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, usage("--title: want one line of 200 bytes at most")
	}
	for _, key := range c.StringSlice("public-key") {
		if _, err := signer.ParseTrusted(key); err != nil {
			return nil, usage("--public-key: %v", err)
		}
	}
	return func(s *pages.Settings) {
		if c.IsSet("title") {
			s.Title = c.String("title")
		}
		if c.IsSet("url") {
			s.URL = strings.TrimRight(c.String("url"), "/")
		}
		if c.IsSet("public-key") {
			s.Keys = nil
			s.AddKeys(c.StringSlice("public-key")...)
		}
		if c.IsSet("unlisted") {
			s.Unlisted = c.Bool("unlisted")
		}
	}, nil
}
