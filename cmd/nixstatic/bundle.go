package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/bundle"
)

func bundleCommand() *cli.Command {
	return &cli.Command{
		Name:  "bundle",
		Usage: "carry store paths to a cache that no network reaches",
		Description: "The other side tells what its cache has (state). Here what it lacks is written into\n" +
			"a file, or into several for small media (create). There they are checked, and what\n" +
			"they hold goes into the cache (apply). docs/air-gap.md tells more.\n\n" +
			"Examples:\n" +
			"   nixstatic bundle state /srv/cache -o have\n" +
			"   nixstatic bundle create --have have -o /media/stick/b.tar ./cache /nix/store/…-app-1.0\n" +
			"   nixstatic bundle apply /media/stick/b.tar /srv/cache",
		Subcommands: []*cli.Command{bundleStateCommand(), bundleCreateCommand(), bundleApplyCommand()},
	}
}

func bundleStateCommand() *cli.Command {
	return &cli.Command{
		Name:      "state",
		Usage:     "tell which store paths a cache has",
		ArgsUsage: "CACHE",
		Description: "Prints the hashes of the store paths that are whole in a cache: 33 bytes for each. A\n" +
			"path whose narinfo or NAR is damaged or gone is not among them, and comes with the next\n" +
			"bundle. CACHE may be a bundle, too: what it was to bring is what the other side will\n" +
			"have.\n\n" +
			"Examples:\n" +
			"   nixstatic bundle state /srv/cache -o have\n" +
			"   nixstatic bundle state 's3://bucket?endpoint=https://minio.example.org' > have",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write into `FILE` instead of standard output"},
			&cli.StringFlag{Name: "netrc-file", Usage: "user names and passwords are in `FILE` instead of ~/.netrc"},
			quietFlag(),
		},
		Action: runBundleState,
	}
}

func runBundleState(c *cli.Context) error {
	location, err := oneTree(c)
	if err != nil {
		return err
	}
	if c.IsSet("output") && c.String("output") == "" {
		return usage("--output is empty")
	}
	state, err := stateOf(c, location)
	if err != nil {
		return err
	}
	if name := c.String("output"); name != "" {
		files := &bundle.Files{Name: name, Replace: true}
		defer files.Discard()
		out, err := files.Next()
		if err == nil {
			_, err = state.WriteTo(out)
		}
		if err == nil {
			_, err = files.Done()
		}
		if err != nil {
			return err
		}
	} else if _, err := state.WriteTo(c.App.Writer); err != nil {
		return err
	}
	if !c.Bool("quiet") {
		say(c, "%s", plural(int64(state.Len()), "path"))
	}
	return nil
}

// stateOf looks what a cache or a bundle has.
func stateOf(c *cli.Context, location string) (*bundle.State, error) {
	var seen atomic.Int64
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		return fmt.Sprintf("bundle state: %s", plural(seen.Load(), "narinfo"))
	})
	defer m.end()
	if info, err := os.Stat(location); err == nil && info.Mode().IsRegular() {
		b, err := openBundle(location)
		if err != nil {
			return nil, err
		}
		defer b.Close()
		return bundle.TakeState(c.Context, b, &seen)
	}
	cache, err := openToList(c, location)
	if errors.Is(err, layout.ErrNotListable) {
		err = withHint(err, "take the state where the cache is: nixstatic bundle state /path/of/the/cache")
	}
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	return bundle.TakeState(c.Context, cache.openedReader, &seen)
}

// openToList opens a cache that tells what it has. A server does that by WebDAV.
func openToList(c *cli.Context, location string) (*looked, error) {
	cache, err := openToLook(c, location)
	if err != nil {
		return nil, err
	}
	if loc, err := parseLocation(location); err != nil || loc.scheme != onWeb {
		return cache, nil
	}
	cache.Close() // nothing was read that has to be kept
	origin, err := openOrigin(c, location)
	if errors.Is(err, layout.ErrNotListable) {
		err = fmt.Errorf("%s: %w", cache.text, layout.ErrNotListable)
	}
	if err != nil {
		return nil, err
	}
	cache.openedReader = origin
	return cache, nil
}

// An openedBundle is a bundle whose files the command closes.
type openedBundle struct {
	*bundle.Bundle
	files []io.Closer
}

func (b *openedBundle) Close() error {
	var errs []error
	for _, f := range b.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// openBundle opens the parts of a bundle.
func openBundle(names ...string) (_ *openedBundle, err error) {
	b := &openedBundle{}
	defer func() {
		if err != nil {
			b.Close() // err says more
		}
	}()
	var files []bundle.File
	for _, name := range names {
		// To open a named pipe would wait for another process.
		info, err := os.Stat(name)
		if err != nil {
			return nil, aboutBundle(err, name)
		}
		if !info.Mode().IsRegular() {
			return nil, usage("%s is not a regular file: a bundle is read more than once", name)
		}
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		b.files = append(b.files, f)
		if info, err = f.Stat(); err != nil {
			return nil, err
		}
		files = append(files, bundle.File{Name: name, ReaderAt: f, Size: info.Size()})
	}
	b.Bundle, err = bundle.Open(files...)
	return b, err
}

// aboutBundle tells of the parts of a bundle that was named as a whole.
func aboutBundle(err error, name string) error {
	if _, missing := os.Stat(name + ".1"); errors.Is(err, os.ErrNotExist) && missing == nil {
		return withHint(err, "the bundle is in parts: name them, as in %s.*", quoted(name))
	}
	return err
}
