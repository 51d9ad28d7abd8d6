package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/pages"
	"github.com/nixstatic/nixstatic/layout/seek"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/nixstore"
)

// A looked is a cache that is only looked into.
type looked struct {
	openedReader
	text     string // for people
	storeDir string
}

// openToLook opens a cache of any kind, also one of others.
func openToLook(c *cli.Context, text string) (*looked, error) {
	reader, name, err := openReader(c, text, httpOptions(c))
	if err != nil {
		return nil, err
	}
	info, err := layout.ReadCacheInfo(c.Context, reader)
	if errors.Is(err, fs.ErrNotExist) {
		err = withHint(fmt.Errorf("%s is not a binary cache: it has no %s", name, layout.CacheInfoKey), "check the path, or the URL")
	}
	if err != nil {
		reader.Close()
		return nil, err
	}
	return &looked{reader, name, info.StoreDir}, nil
}

// openToLookAt opens a cache for a path in it. Only a name has to be searched for.
func openToLookAt(c *cli.Context, text, arg string) (*looked, error) {
	base, _, _ := strings.Cut(arg, "/")
	_, whole := layout.ParseStorePath(base)
	_, hash := layout.ParseStorePath(base + "-x")
	if base == "" || base == "." || base == ".." || whole == nil || hash == nil {
		return openToLook(c, text)
	}
	return openToFind(c, text)
}

// lookAt opens the cache and finds the path that a command is to look at: its arguments.
// It returns the record of the path, and what inside of it was named.
func lookAt(c *cli.Context) (cache *looked, n *layout.NarInfo, inside string, err error) {
	if c.NArg() != 2 {
		return nil, nil, "", usage("%s takes two arguments, the cache and the path", c.Command.Name)
	}
	arg := c.Args().Get(1)
	if cache, err = openToLookAt(c, c.Args().Get(0), arg); err != nil {
		return nil, nil, "", err
	}
	if n, inside, err = cache.record(c.Context, arg); err != nil {
		cache.Close()
		return nil, nil, "", err
	}
	return cache, n, inside, nil
}

// trustedKeys returns the keys that a reader trusts by a flag.
func trustedKeys(c *cli.Context) (signer.Trusted, error) {
	trusted, err := signer.ParseTrusted(c.StringSlice("trusted-public-key")...)
	if err != nil {
		return nil, usage("--trusted-public-key: %v", err)
	}
	return trusted, nil
}

// notSearched is why a cache can be asked for a path by its hash alone.
const notSearched = "the server does not list what it has, and there is no search index"

const pathForms = "want /nix/store/<hash>-<name>, <hash>-<name>, the <hash> alone or a name, and behind a slash what is inside"

// record finds the path that a user means, and returns its record and the path inside
// that was named.
func (l *looked) record(ctx context.Context, arg string) (n *layout.NarInfo, inside string, err error) {
	rest := arg
	if strings.HasPrefix(arg, "./") || strings.HasPrefix(arg, "../") || strings.HasPrefix(arg, "/") {
		switch rest, err = nixstore.Follow(arg, l.storeDir); {
		case errors.Is(err, nixstore.ErrOutside) || strings.HasPrefix(arg, "/") && err != nil:
			return nil, "", usage("%s is not a store path: %s is for the store directory %s", arg, l.text, l.storeDir)
		case err != nil:
			return nil, "", err
		}
		if strings.HasSuffix(arg, "/") {
			rest += "/"
		}
	}
	base, inside, _ := strings.Cut(rest, "/")
	p, err := layout.ParseStorePath(base)
	if err != nil {
		// The hash alone: a key takes no name, and any will do to ask.
		if p, err = layout.ParseStorePath(base + "-x"); err != nil || p.Name() != "x" {
			n, err = l.named(ctx, base)
			return n, inside, err
		}
		p = layout.StorePath(p.Hash())
	}
	n, err = l.recordOf(ctx, p)
	if err == nil && string(p) != p.Hash() && p != n.Path {
		err = withHint(fmt.Errorf("%s has no %s: the path of that hash is called %s", l.text, p.Abs(l.storeDir), n.Path.Name()), "name the hash alone")
	}
	return n, inside, err
}

// absOrHash is a store path for people, or a hash alone.
func absOrHash(p layout.StorePath, storeDir string) string {
	if string(p) == p.Hash() {
		return "a path of the hash " + p.Hash()
	}
	return p.Abs(storeDir)
}

// recordOf reads the record of the path that begins with a hash.
func (l *looked) recordOf(ctx context.Context, p layout.StorePath) (*layout.NarInfo, error) {
	n, err := seek.Record(ctx, l, p.Hash(), l.storeDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(fmt.Errorf("%s is not in %s", absOrHash(p, l.storeDir), l.text), "nixstatic find %s NAME looks for a path by its name", l.text)
	}
	return n, err
}

// named finds the one path of a name.
func (l *looked) named(ctx context.Context, name string) (*layout.NarInfo, error) {
	if layout.CheckName(name) != nil {
		return nil, usage("%s is no path: %s", shown(name), pathForms)
	}
	var found []layout.StorePath
	for p, err := range l.paths(ctx, false, func(_, have string) bool { return have == name }) {
		switch {
		case errors.As(err, new(*seek.BadRecord)):
			// It is not known to be the one, and the hash finds it.
		case errors.Is(err, layout.ErrNotListable):
			return nil, withHint(fmt.Errorf("%s cannot be searched for the name %s: %s", l.text, name, notSearched), "name the path by its hash: %s", pathForms)
		case err != nil:
			return nil, err
		default:
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return nil, withHint(fmt.Errorf("no path called %s is in %s", name, l.text), "nixstatic find %s '*%s*' looks for a part of the name", l.text, name)
	case 1:
		return l.recordOf(ctx, found[0])
	}
	var list strings.Builder
	for i, p := range found {
		if i == 10 {
			fmt.Fprintf(&list, ", and %d more", len(found)-i)
			break
		}
		if i > 0 {
			list.WriteString(", ")
		}
		list.WriteString(p.Abs(l.storeDir))
	}
	return nil, withHint(fmt.Errorf("%d paths are called %s: %s", len(found), name, list.String()), "name one of them by its hash")
}

// maxLinks is how many symbolic links are followed, as in a kernel.
const maxLinks = 40

// follow returns the path that a symbolic link in a NAR leads to: in the same store path,
// or in another.
func (l *looked) follow(from layout.StorePath, link *seek.LinkError) (base layout.StorePath, inside string, err error) {
	to := path.Join(link.Target, link.Rest)
	if !strings.HasPrefix(to, "/") {
		to = path.Join(from.Abs(l.storeDir), path.Dir("/"+link.Path), to)
		if link.Path == "" { // the store path itself is the link
			to = path.Join(l.storeDir, link.Target, link.Rest)
		}
	}
	rest, ok := strings.CutPrefix(to, l.storeDir+"/")
	if !ok {
		return "", "", fmt.Errorf("%s/%s is a symbolic link to %s, which is not in the store", from, shown(link.Path), shown(link.Target))
	}
	first, inside, _ := strings.Cut(rest, "/")
	if base, err = layout.ParseStorePath(first); err != nil {
		return "", "", fmt.Errorf("%s/%s is a symbolic link to %s: %w", from, shown(link.Path), shown(link.Target), err)
	}
	return base, inside, nil
}

// paths yields the store paths of the cache that match. The search index of the page tells
// their names at once. In a directory it is compared with the names of the narinfos, so that
// it may be old; elsewhere it is believed unless the records are to be scanned.
func (l *looked) paths(ctx context.Context, scan bool, match func(hash, name string) bool) iter.Seq2[layout.StorePath, error] {
	const jobs = httpcache.OpenConnections
	if scan {
		return seek.Paths(ctx, l.openedReader, l.storeDir, jobs, match, nil)
	}
	index := pages.Names(ctx, l.openedReader, jobs, match)
	if layout.TraitsOf(l.openedReader).Local {
		return seek.Paths(ctx, l.openedReader, l.storeDir, jobs, match, func(yield func(seek.Part, error) bool) {
			for part, err := range index {
				if !yield(seek.Part(part), err) {
					return
				}
			}
		})
	}
	return func(yield func(layout.StorePath, error) bool) {
		for part, err := range index {
			if errors.Is(err, fs.ErrNotExist) {
				seek.Paths(ctx, l.openedReader, l.storeDir, jobs, match, nil)(yield)
				return
			}
			var damaged *pages.DamagedError
			if errors.As(err, &damaged) {
				err = withHint(err, "--scan reads the narinfos instead; nixstatic page makes the index anew")
			}
			if err != nil {
				yield("", err)
				return
			}
			for _, p := range part.Paths {
				if !yield(p, nil) {
					return
				}
			}
		}
	}
}
