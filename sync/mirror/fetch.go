package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// inMemory is the size in bytes up to which a body waits in memory.
const inMemory = 1 << 20

// A fetched is a body that was checked.
type fetched struct {
	body layout.Body
	sum  layout.Hash // of the body
	free func()
}

func (f fetched) release() {
	if f.free != nil {
		f.free()
	}
}

// A summed is a body that is not named by its hash.
type summed struct {
	layout.Body
	sum layout.Hash
}

func (s summed) Sum() layout.Hash { return s.sum }

// fetch reads an object of the source and checks it (I1).
func (p *pass) fetch(ctx context.Context, t task) (f fetched, err error) {
	if t.text != nil {
		text, err := t.text(ctx)
		return fetched{body: layout.Bytes(text)}, err
	}
	if p.run.mirror.Busy != nil && p.run.mirror.Busy(t.Key) {
		return f, notYetf("it is being written")
	}
	body, info, err := p.run.mirror.Source.Get(ctx, t.Key)
	if err != nil {
		return f, err
	}
	if most := t.Key.Kind().MaxBytes(); info.Size > most {
		body.Close()
		return f, &contentError{fmt.Errorf("%w: %d bytes, more than %d", layout.ErrTooLarge, info.Size, most)}
	}
	f, err = p.take(ctx, t, body, info)
	if err == nil && t.Key.Kind() == layout.KindListing {
		if f, err = p.takeListing(f); err != nil {
			f.release()
			f = fetched{}
		}
	} else if err == nil {
		if err = p.inspect(ctx, t, f.sum, f.body); err != nil {
			f.release()
			f = fetched{}
		}
	}
	if named, other := t.Key.FileHash(); err == nil && t.Key.Kind() == layout.KindNAR && (other != nil || named != f.sum) {
		switch {
		case p.run.blind: // a server that takes PUT, as ours does
			f.release()
			return fetched{}, &contentError{errors.New("the server takes a NAR by the hash of its file alone: export --from the cache makes one that has such names")}
		case !layout.TraitsOf(p.run.mirror.Dest).Local:
			f.body = summed{f.body, f.sum} // an object store wants to know
		}
	}
	return f, err
}

// take reads a body to where it can be read again.
func (p *pass) take(ctx context.Context, t task, body io.ReadCloser, info layout.Info) (f fetched, err error) {
	keep := false
	defer func() {
		if !keep {
			body.Close()
		}
	}()
	sum := sha256.New()
	in := io.TeeReader(limitReader(ctx, p.run.limit, &countedReader{ctx, body, p.run.progress}), sum)
	if info.Size < 0 {
		info.Size = t.Key.Kind().MaxBytes()
	}
	in = io.LimitReader(in, info.Size+1)
	file, isFile := body.(io.ReaderAt)
	var n int64
	switch {
	case info.Size <= inMemory:
		var text bytes.Buffer
		text.Grow(int(info.Size) + bytes.MinRead)
		n, err = text.ReadFrom(in)
		f.body = layout.Bytes(text.Bytes())
	case isFile && !layout.TraitsOf(p.run.mirror.Dest).Local && t.Key.Kind().Immutable():
		// A local file is read once to check it and once more to send it. NARs are
		// not edited in place, and an object store checks the hash again.
		n, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, in, make([]byte, 256<<10))
		keep = err == nil
		f = fetched{body: limitBody(ctx, p.run.limit, &openFile{file, n}), free: func() { body.Close() }}
	default:
		f, n, err = p.spool(in)
	}
	if err == nil {
		err = p.complete(ctx, t.Key, n, info, sum, body)
		f.sum = layout.Hash(sum.Sum(nil))
	}
	if err != nil {
		f.release()
		return fetched{}, err
	}
	return f, nil
}

// spool copies a body to a file.
func (p *pass) spool(in io.Reader) (f fetched, n int64, err error) {
	file, err := layout.SpoolFor(p.run.mirror.Dest, p.run.mirror.TempDir).Create()
	if err != nil {
		return f, 0, &refgraph.SpoolError{Err: err}
	}
	f = fetched{body: file, free: file.Discard}
	out := &spoolWriter{w: file}
	n, err = io.CopyBuffer(out, struct{ io.Reader }{in}, make([]byte, 256<<10))
	if out.err != nil {
		return f, n, &refgraph.SpoolError{Err: out.err}
	}
	if err == nil {
		if err := file.Done(); err != nil {
			return f, n, &refgraph.SpoolError{Err: err}
		}
	}
	return f, n, err
}

// spoolWriter remembers that it was the writing that failed.
type spoolWriter struct {
	w   io.Writer
	err error
}

func (s *spoolWriter) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	s.err = err
	return n, err
}

// openFile is a body in a file of the source.
type openFile struct {
	io.ReaderAt
	size int64
}

func (f *openFile) Size() int64 { return f.size }

// countedReader counts what is read, and stops when ctx does.
type countedReader struct {
	ctx      context.Context
	r        io.Reader
	progress *Progress
}

func (c *countedReader) Read(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.r.Read(b)
	c.progress.BytesDone.Add(int64(n))
	return n, err
}
