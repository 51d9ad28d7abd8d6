package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
)

// ErrTooLarge says that an object has more bytes than any of its kind.
var ErrTooLarge = errors.New("too large")

// ReadAll returns the bytes at key. The error is ErrTooLarge if there are more
// than an object of its kind can have.
func ReadAll(ctx context.Context, r Reader, key Key) ([]byte, error) {
	text, _, err := ReadVersion(ctx, r, key)
	return text, err
}

// ReadVersion is ReadAll, and describes the version that it read.
func ReadVersion(ctx context.Context, r Reader, key Key) ([]byte, Info, error) {
	return ReadInTurn(ctx, r, key, func(int64) error { return nil })
}

// ReadInTurn is ReadVersion, and calls turn with how many bytes there may be before it
// reads any of them. If turn fails, that is the error.
func ReadInTurn(ctx context.Context, r Reader, key Key, turn func(most int64) error) ([]byte, Info, error) {
	body, info, err := r.Get(ctx, key)
	if err != nil {
		return nil, info, err
	}
	defer body.Close()
	most := key.Kind().MaxBytes()
	var text []byte
	if info.Size <= most {
		expected := info.Size
		if expected < 0 {
			expected = most
		}
		if err := turn(expected); err != nil {
			return nil, info, err
		}
		text, err = readAll(io.LimitReader(&contextReader{ctx, body}, most+1), info.Size)
	}
	switch {
	case err != nil:
		return nil, info, fmt.Errorf("read %s: %w", key, err)
	case info.Size > most || int64(len(text)) > most:
		return nil, info, fmt.Errorf("read %s: %w: more than %d bytes", key, ErrTooLarge, most)
	}
	return text, info, nil
}

// readAll is io.ReadAll for what probably has that many bytes. No more than a little is
// set aside because a server says so.
func readAll(r io.Reader, expected int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(max(expected, 0), 64<<10)) + bytes.MinRead)
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// Lookup describes an object and reports whether it is there. An error means
// that it could not tell (I5).
func Lookup(ctx context.Context, r Reader, key Key) (Info, bool, error) {
	info, err := r.Stat(ctx, key)
	switch {
	case err == nil:
		return info, true, nil
	case errors.Is(err, fs.ErrNotExist):
		return Info{}, false, nil
	}
	return Info{}, false, fmt.Errorf("cannot tell whether %s is there: %w", key, err)
}

// SameBytes reports whether the object at key has the bytes of body. The error is
// fs.ErrNotExist if there is no object.
func SameBytes(ctx context.Context, r Reader, key Key, body Body) (bool, error) {
	have, info, err := r.Get(ctx, key)
	if err != nil {
		return false, err
	}
	defer have.Close()
	if info.Size >= 0 && info.Size != body.Size() {
		return false, nil
	}
	same, err := EqualBytes(&contextReader{ctx, have}, io.NewSectionReader(body, 0, body.Size()))
	if err != nil {
		return false, fmt.Errorf("read %s: %w", key, err)
	}
	return same, nil
}

// EqualBytes reads two bodies side by side, as far as they are equal.
func EqualBytes(a, b io.Reader) (bool, error) {
	x, y := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, errX := io.ReadFull(a, x)
		m, errY := io.ReadFull(b, y)
		for _, err := range []error{errX, errY} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return false, err
			}
		}
		if same := bytes.Equal(x[:n], y[:m]); !same || errX != nil {
			return same, nil
		}
	}
}

// CancelReader returns a reader that fails once ctx has ended, and so ends a copy. It has
// no other method, so that a copy uses the buffer that it is given.
func CancelReader(ctx context.Context, r io.Reader) io.Reader { return &contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// CountReader returns a reader that adds to n the bytes that are read.
func CountReader(r io.Reader, n *atomic.Int64) io.Reader { return &countingReader{r, n} }

type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// CountWriter returns a writer that adds to n the bytes that are written.
func CountWriter(w io.Writer, n *atomic.Int64) io.Writer { return &countingWriter{w, n} }

type countingWriter struct {
	w io.Writer
	n *atomic.Int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n.Add(int64(n))
	return n, err
}
