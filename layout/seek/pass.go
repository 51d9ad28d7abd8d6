package seek

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// pass reads the NAR from its start until the file at path has gone by, or to its end if
// everything is to be checked, and writes the file to w.
func (a *Archive) pass(ctx context.Context, w io.Writer, path string, read *Read) error {
	body, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	source := &source{ctx: ctx, r: &limited{body, fileBound(a.record)}}
	defer func() { read.Bytes += source.n }()
	z, err := compress.NewReader(source, a.record.Compression)
	if err != nil {
		return err
	}
	defer z.Close()
	f := &finder{w: w, names: Split(path), whole: a.Whole}
	check := &checked{parser: nar.NewParser(f), size: a.record.NarSize}
	if a.Whole {
		check.sum = sha256.New()
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{check}, struct{ io.Reader }{z}, make([]byte, 256<<10))
	if err == nil {
		err = check.parser.Close()
	}
	switch {
	case err == errFound, err != nil && err == f.err:
		return f.err
	case source.err != nil:
		return source.err
	case err != nil:
		return fmt.Errorf("read the NAR of %s: %w", a.record.Path, err)
	case a.Whole && check.n != a.record.NarSize:
		return fmt.Errorf("the NAR of %s has %d bytes, its narinfo says %d", a.record.Path, check.n, a.record.NarSize)
	case a.Whole && layout.Hash(check.sum.Sum(nil)) != a.record.NarHash:
		return &layout.HashMismatch{What: "NAR", Got: layout.Hash(check.sum.Sum(nil)), Want: a.record.NarHash}
	}
	return f.outcome()
}

// fileBound returns how many bytes the compressed file may have. No Nix checks
// FileSize, so that a wrong one may be met.
func fileBound(n *layout.NarInfo) int64 {
	const room = 1 << 20 // headers, and what a compressor adds to noise
	most := max(n.FileSize, n.NarSize)
	if most > math.MaxInt64/2 {
		return math.MaxInt64
	}
	return most + most/16 + room
}

// limited is a file that fails when it goes on for too long.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errors.New("the file is far larger than its narinfo says")
	}
	return n, err
}

// checked parses a NAR, counts, and hashes if there is a sum.
type checked struct {
	parser *nar.Parser
	size   int64 // by the record
	n      int64
	sum    hash.Hash
}

func (c *checked) Write(p []byte) (int, error) {
	if c.n += int64(len(p)); c.n > c.size {
		return 0, fmt.Errorf("more than the %d bytes of its narinfo", c.size)
	}
	if c.sum != nil {
		c.sum.Write(p)
	}
	return c.parser.Write(p)
}

// errFound ends a pass when the file has gone by.
var errFound = errors.New("the file was found")

// A finder is a visitor that writes one file, and notes what is at its path instead.
type finder struct {
	w     io.Writer
	names []string
	whole bool // go on to the end of the NAR

	depth   int // open directories
	matched int // of them, how many are on the path
	writing bool
	left    int64
	found   bool
	err     error // what is at the path, if it is not a file
}

// here reports whether the node of that name is on the path, and whether it is what the
// path leads to.
func (f *finder) here(name string) (on, last bool) {
	if f.found || f.err != nil || f.depth != f.matched {
		return false, false
	}
	if f.depth == 0 {
		return true, len(f.names) == 0
	}
	on = nar.Text(name) == f.names[f.depth-1]
	return on, on && f.depth == len(f.names)
}

// settle notes what is at the path.
func (f *finder) settle(err error) error {
	f.err = err
	return f.end(err)
}

// end ends the pass unless the rest is wanted.
func (f *finder) end(err error) error {
	if f.whole {
		return nil
	}
	return err
}

func (f *finder) Enter(name string) error {
	on, last := f.here(name)
	f.depth++
	switch {
	case last:
		return f.settle(pathError(f.names, ErrDirectory))
	case on:
		f.matched++
	}
	return nil
}

func (f *finder) Leave() error {
	if f.depth == f.matched {
		if !f.found && f.err == nil {
			f.depth--
			f.matched--
			return f.settle(pathError(f.names[:f.depth+1], fs.ErrNotExist))
		}
		f.matched--
	}
	f.depth--
	return nil
}

func (f *finder) Regular(name string, _ bool, size, _ int64) error {
	on, last := f.here(name)
	switch {
	case last:
		f.found, f.writing, f.left = true, size > 0, size
		if size == 0 {
			return f.end(errFound)
		}
	case on:
		return f.settle(pathError(f.names[:f.depth], ErrNotDirectory))
	}
	return nil
}

func (f *finder) Content(p []byte) error {
	if !f.writing {
		return nil
	}
	if _, err := f.w.Write(p); err != nil {
		return &writeError{err}
	}
	if f.left -= int64(len(p)); f.left == 0 {
		f.writing = false
		return f.end(errFound)
	}
	return nil
}

func (f *finder) Symlink(name, target string) error {
	if on, _ := f.here(name); on {
		return f.settle(&LinkError{strings.Join(f.names[:f.depth], "/"), nar.Text(target), strings.Join(f.names[f.depth:], "/")})
	}
	return nil
}

// outcome is what was found in a whole NAR.
func (f *finder) outcome() error {
	switch {
	case f.err != nil:
		return f.err
	case !f.found:
		return pathError(f.names, fs.ErrNotExist)
	}
	return nil
}

// A writeError is about where the file goes.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write the file: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }
