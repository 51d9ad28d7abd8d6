package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/cmd/nixstatic/terminal"
	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/seek"
)

func catCommand() *cli.Command {
	return &cli.Command{
		Name:      "cat",
		Usage:     "print one file of a store path in a cache",
		ArgsUsage: "CACHE PATH[/FILE]",
		Description: "CACHE is a directory, s3://… or https://…, ours or another. PATH is a store path, its\n" +
			"<hash>-<name>, the hash alone, or a name that only one path has. Symbolic links are\n" +
			"followed, also into other paths of the cache.\n\n" +
			"Only the part of the NAR that holds the file is read, if its listing tells where that\n" +
			"is and the server gives parts (docs/listings.md). Otherwise the NAR is read from its\n" +
			"start. Nothing but the hash of a whole NAR is signed, so what is printed is what the\n" +
			"cache gives: --verify reads the whole NAR and compares its hash before the first\n" +
			"byte is printed, and --trusted-public-key asks for a signature too.\n\n" +
			"On a terminal, bytes that could steer it are shown as escapes, such as \\x1b. A file\n" +
			"or a pipe gets every byte as it is.\n\n" +
			"Examples:\n" +
			"   nixstatic cat ./cache /nix/store/…-hello-2.12/share/info/hello.info\n" +
			"   nixstatic cat https://cache.nixos.org 63l345l7dgcfz789w1y93j1540czafqh-hello-2.12/bin/hello >hello\n" +
			"   nixstatic cat --trusted-public-key \"$(cat key.pub)\" s3://cache ./result/etc/os-release",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "verify", Usage: "read the whole NAR, and print nothing unless it has the hash of its narinfo"},
			trustedKeysFlag("demand a signature by `KEY` (name:base64), and the hash; may be repeated"),
			&cli.StringFlag{Name: "netrc-file", Usage: "user names and passwords are in `FILE` instead of ~/.netrc"},
			quietFlag(),
		},
		Action: runCat,
	}
}

func runCat(c *cli.Context) error {
	trusted, err := trustedKeys(c)
	if err != nil {
		return err
	}
	cache, n, inside, err := lookAt(c)
	if err != nil {
		return err
	}
	defer cache.Close()
	verify := c.Bool("verify") || len(trusted) > 0
	for range maxLinks {
		if len(trusted) > 0 {
			if _, ok := trusted.Verify(n.Fingerprint(cache.storeDir), n.Sigs); !ok {
				return withHint(fmt.Errorf("%s is not signed by a key that is trusted here", n.Path.Abs(cache.storeDir)),
					"nixstatic info %s %s shows who signed it", cache.text, n.Path.Hash())
			}
		}
		err := catFile(c, cache, n, inside, verify)
		link := (*seek.LinkError)(nil)
		if !errors.As(err, &link) {
			return fileHint(err, cache, n)
		}
		var base layout.StorePath
		if base, inside, err = cache.follow(n.Path, link); err != nil {
			return err
		}
		if base != n.Path {
			if n, err = cache.recordOf(c.Context, base); err != nil {
				return fmt.Errorf("follow a symbolic link: %w", err)
			}
		}
	}
	return fmt.Errorf("more than %d symbolic links lead to one another", maxLinks)
}

// catFile prints one file. To be sure of its hash first it waits in a temporary file.
func catFile(c *cli.Context, cache *looked, n *layout.NarInfo, inside string, verify bool) error {
	a, err := openArchive(c.Context, cache, n)
	if err != nil {
		return err
	}
	out := c.App.Writer
	if isTerminal(out) {
		escaped := &terminal.Escaper{W: out}
		defer escaped.Flush()
		out = escaped
	}
	if !verify {
		read, err := a.WriteFile(c.Context, out, inside)
		if read.Doubt != nil && !c.Bool("quiet") {
			say(c, "note: the NAR was read from its start: %v", read.Doubt)
		}
		return err
	}
	a.Whole = true
	spool, err := layout.TempSpool("").Create()
	if err != nil {
		return err
	}
	defer spool.Discard()
	if _, err := a.WriteFile(c.Context, spool, inside); err != nil {
		return err
	}
	_, err = io.Copy(out, io.NewSectionReader(spool, 0, spool.Size()))
	return err
}

// openArchive opens a NAR to read single files of.
func openArchive(ctx context.Context, cache *looked, n *layout.NarInfo) (*seek.Archive, error) {
	a, err := seek.Open(ctx, cache.openedReader, n)
	if err != nil {
		return nil, fmt.Errorf("read the listing of %s: %w", n.Path, err)
	}
	return a, nil
}

// fileHint words what keeps a file from being had.
func fileHint(err error, cache *looked, n *layout.NarInfo) error {
	at := (*seek.PathError)(nil)
	if !errors.As(err, &at) {
		if mismatch := (*layout.HashMismatch)(nil); errors.As(err, &mismatch) {
			return withHint(err, "the NAR is damaged in %s, or is another: nothing of it was printed", cache.text)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return withHint(fmt.Errorf("the NAR of %s is gone: %w", n.Path, err), "nixstatic verify tells what else is wrong with a cache")
		}
		return err
	}
	abs := n.Path.Abs(cache.storeDir)
	name := abs
	if at.Path != "" {
		name += "/" + shown(at.Path)
	}
	switch {
	case errors.Is(at.Err, fs.ErrNotExist):
		return withHint(fmt.Errorf("%s does not exist", name), "nixstatic ls -R %s %s shows what is in the path", cache.text, n.Path.Hash())
	case errors.Is(at.Err, seek.ErrDirectory):
		return withHint(fmt.Errorf("%s is a directory", name), "nixstatic ls %s %s shows what is in it", cache.text, inPath(n.Path.Hash(), at.Path))
	}
	return fmt.Errorf("%s is not a directory", name)
}

// inPath joins a hash and a path inside.
func inPath(hash, inside string) string {
	if inside == "" {
		return hash
	}
	return hash + "/" + shown(inside)
}
