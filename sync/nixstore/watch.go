package nixstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/layout"
)

// A Fact says how a path came into the store.
type Fact struct {
	Path  layout.StorePath
	Valid bool
	Built bool // here, and not substituted or copied from elsewhere
	Since time.Time
}

// Facts returns a fact for each path, in their order. It holds none of them.
func (s *Store) Facts(ctx context.Context, paths []layout.StorePath) ([]Fact, error) {
	facts := make([]Fact, len(paths))
	err := s.query.use(ctx, func(ctx context.Context, c *conn) error {
		valid, err := c.validPaths(s.storeDir, paths)
		if err != nil {
			return err
		}
		// A daemon remembers for an hour that a path is not valid that it was asked to
		// describe: the paths that are valid are asked for alone.
		var ask []layout.StorePath
		var at []int
		for i, p := range paths {
			facts[i] = Fact{Path: p}
			if valid[p] {
				ask, at = append(ask, p), append(at, i)
			}
		}
		request := func(p layout.StorePath) { c.request(opQueryPathInfo, p.Abs(s.storeDir)) }
		return c.pipeline(ctx, ask, request, func(i int) error {
			info, reg, err := c.readInfo(s.storeDir, ask[i])
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed meanwhile
			}
			if err != nil {
				return err
			}
			facts[at[i]] = Fact{Path: ask[i], Valid: true, Built: isBuilt(&info, reg), Since: reg.at}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", s.name, err)
	}
	return facts, nil
}

// isBuilt reports whether a path was made here. Outputs that a remote builder made are
// copied, and lack the signatures that those of a cache have. So do sources that an
// evaluation fetched: they cost as much to get again as outputs do.
func isBuilt(info *layout.PathInfo, reg registration) bool {
	if reg.built {
		return true
	}
	isSource := info.Path.Name() == "source" || strings.HasSuffix(info.Path.Name(), "-source")
	return len(info.Sigs) == 0 && (info.Deriver != "" && info.CA == "" || isSource)
}

// validPaths returns which of some paths are valid.
func (c *conn) validPaths(storeDir string, paths []layout.StorePath) (map[layout.StorePath]bool, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	c.out.num(opQueryValidPaths)
	c.out.num(uint64(len(paths)))
	for _, p := range paths {
		c.out.text(p.Abs(storeDir))
	}
	if c.minor >= 27 {
		c.out.num(0) // nothing is to be substituted
	}
	if err := c.out.to.Flush(); err != nil {
		c.in.fail(err)
		return nil, err
	}
	if err := c.settle(); err != nil {
		return nil, err
	}
	valid := map[layout.StorePath]bool{}
	for _, text := range c.in.texts(maxPaths, "valid paths") {
		p, err := layout.ParseAbsStorePath(storeDir, text)
		if err != nil {
			return nil, err
		}
		valid[p] = true
	}
	return valid, c.in.err
}

// Outputs returns the outputs of a derivation that are in the store.
func (s *Store) Outputs(ctx context.Context, drv layout.StorePath) ([]layout.StorePath, error) {
	outputs, err := s.outputs(ctx, drv)
	if err != nil {
		return nil, err
	}
	var paths []layout.StorePath
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		if outputs[name] == "" {
			continue
		}
		p, err := layout.ParseAbsStorePath(s.storeDir, outputs[name])
		if err != nil {
			return nil, err
		}
		paths = append(paths, p)
	}
	facts, err := s.Facts(ctx, paths)
	if err != nil {
		return nil, err
	}
	paths = nil
	for _, f := range facts {
		if f.Valid {
			paths = append(paths, f.Path)
		}
	}
	return paths, nil
}

// Keep makes symbolic links into the store, each named in full, roots of the garbage
// collector for as long as they are there.
func (s *Store) Keep(ctx context.Context, links []string) error {
	for _, link := range links {
		link, err := filepath.Abs(link)
		if err != nil {
			return err
		}
		err = s.query.use(ctx, func(_ context.Context, c *conn) error {
			if err := c.ask(opAddIndirectRoot, link); err != nil {
				return err
			}
			c.in.num() // always 1
			return c.in.err
		})
		if err != nil {
			return fmt.Errorf("keep what %s leads to: %w", link, err)
		}
	}
	return nil
}

// A Newcomers tells which paths came into a store. It looks at the names in the store's
// directory, which cost the daemon nothing.
type Newcomers struct {
	store *Store
	known map[layout.StorePath]bool
	open  map[layout.StorePath]time.Time // there and not valid, and since when: they are being made
	stamp time.Time                      // time of modification of the directory when it was read
	read  time.Time                      // when that was
	next  time.Time                      // not to be read before
}

// Watch begins to look: what is valid already is not new.
func (s *Store) Watch(ctx context.Context) (*Newcomers, error) {
	n := &Newcomers{store: s, known: map[layout.StorePath]bool{}, open: map[layout.StorePath]time.Time{}}
	names, err := n.list()
	if err != nil {
		return nil, err
	}
	facts, err := s.Facts(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, f := range facts {
		if f.Valid {
			n.known[f.Path] = true
		} else {
			n.open[f.Path] = time.Now()
		}
	}
	return n, nil
}

// making is how long a path may be in the directory before it is valid: after that it
// is a leftover.
const making = 24 * time.Hour

// Next returns the paths that became valid since the last call and were built here.
func (n *Newcomers) Next(ctx context.Context) ([]layout.StorePath, error) {
	st, err := os.Stat(n.store.realDir)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	// Times of files are not finer than some milliseconds: a directory that was read a
	// moment after it changed may have changed since.
	if changed := !st.ModTime().Equal(n.stamp) || n.read.Sub(n.stamp) < time.Second; changed && now.After(n.next) {
		names, err := n.list()
		if err != nil {
			return nil, err
		}
		n.next = now.Add(20 * time.Since(now)) // a large store is not to keep a processor busy
		here := map[layout.StorePath]bool{}
		for _, p := range names {
			here[p] = true
			if _, waits := n.open[p]; !waits && !n.known[p] {
				n.open[p] = now
			}
		}
		gone := func(p layout.StorePath) bool { return !here[p] }
		maps.DeleteFunc(n.known, func(p layout.StorePath, _ bool) bool { return gone(p) })
		maps.DeleteFunc(n.open, func(p layout.StorePath, _ time.Time) bool { return gone(p) })
	}
	var ask []layout.StorePath
	for p, since := range n.open {
		if now.Sub(since) < making {
			ask = append(ask, p)
		}
	}
	if len(ask) == 0 {
		return nil, nil
	}
	facts, err := n.store.Facts(ctx, ask)
	if err != nil {
		return nil, err
	}
	var built []layout.StorePath
	for _, f := range facts {
		if !f.Valid {
			continue
		}
		if f.Built {
			built = append(built, f.Path)
		}
		delete(n.open, f.Path)
		n.known[f.Path] = true
	}
	slices.Sort(built)
	return built, nil
}

// list returns the names in the store's directory that are those of store paths.
func (n *Newcomers) list() ([]layout.StorePath, error) {
	dir, err := os.Open(n.store.realDir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	st, err := dir.Stat()
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	n.stamp, n.read = st.ModTime(), time.Now()
	return pathsOf(names), nil
}

func pathsOf(names []string) (paths []layout.StorePath) {
	for _, name := range names {
		p, err := layout.ParseStorePath(name)
		if err == nil && !p.IsDerivation() && !strings.HasSuffix(name, ".lock") && !strings.HasSuffix(name, ".chroot") {
			paths = append(paths, p)
		}
	}
	return paths
}

// BuiltSince returns the paths that were built here and became valid since a moment.
func (s *Store) BuiltSince(ctx context.Context, since time.Time) ([]layout.StorePath, error) {
	dir, err := os.Open(s.realDir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	// The times of modification in a store are all the same; those of change are not. A
	// path is valid some time after it is there.
	var recent []layout.StorePath
	for _, p := range pathsOf(names) {
		var st unix.Stat_t
		err := unix.Fstatat(int(dir.Fd()), string(p), &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && !time.Unix(st.Ctim.Unix()).Before(since.Add(-making)) {
			recent = append(recent, p)
		}
	}
	facts, err := s.Facts(ctx, recent)
	if err != nil {
		return nil, err
	}
	var built []layout.StorePath
	for _, f := range facts {
		if f.Valid && f.Built && !f.Since.Before(since.Truncate(time.Second)) {
			built = append(built, f.Path)
		}
	}
	return built, nil
}
