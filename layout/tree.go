package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"time"
)

// An Info describes an object of a tree.
type Info struct {
	Key     Key
	Size    int64
	ModTime time.Time
	// ETag names this version of the bytes: two equal ETags of one key mean
	// equal bytes. Opaque, without quotes; "" where listing does not tell it.
	ETag string
}

// A Body is re-readable, so that a retry and parallel parts cost nothing.
type Body interface {
	io.ReaderAt
	Size() int64
}

// PutOptions say when a Put may replace what is there. The zero value replaces.
type PutOptions struct {
	IfAbsent bool   // fs.ErrExist if the key is taken
	IfMatch  string // ErrChanged unless the key still has this ETag
}

// ErrChanged is returned by a Put with IfMatch when the key has other bytes by
// now. The caller reads again and decides anew.
var ErrChanged = errors.New("changed by someone else meanwhile")

// A Reader is what can be asked for objects: every tree, and a cache behind
// HTTP. Both methods return fs.ErrNotExist only for what is known to be absent
// (I5), and are safe for concurrent use.
type Reader interface {
	// Get opens an object. The Info describes the version that is read; its
	// Size is -1 if it is not known beforehand.
	Get(ctx context.Context, key Key) (io.ReadCloser, Info, error)
	Stat(ctx context.Context, key Key) (Info, error)
}

// A RangeReader is a Reader that can open an object in its middle, where to read
// up to there costs more than to ask once again.
type RangeReader interface {
	Reader
	// GetRange opens the bytes [from, to) of the version that a Stat described.
	// The error is ErrChanged if another stands there by now.
	GetRange(ctx context.Context, version Info, from, to int64) (io.ReadCloser, error)
}

// A Tree stores objects. The interface is shaped after what an object store
// can do; a directory can do it too. All methods are safe for concurrent use,
// by several processes as well.
type Tree interface {
	Reader
	// Put stores a whole object: all of it or none, durable on return.
	Put(ctx context.Context, key Key, body Body, opts PutOptions) error
	// Delete removes an object. An absent one is not an error.
	Delete(ctx context.Context, key Key) error
	// List yields every object whose key begins with prefix, in ascending byte
	// order of whole keys. It may be stopped at any point. Objects that come or
	// go meanwhile may be missed or seen. Private keys are listed only if the
	// prefix asks for them.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
}

// A TopLister is a Tree that can tell what is at its top without going through
// its folders: whoever does not want them all, or wants them side by side, need
// not wait for them.
type TopLister interface {
	// ListTop yields what is at the top, in the order of List, each folder once.
	// Private keys are left out.
	ListTop(ctx context.Context) iter.Seq2[TopEntry, error]
}

// A TopEntry is an object whose key has no slash, or the folder of those whose
// keys do.
type TopEntry struct {
	Info
	Folder string // such as "nar/"; "" for an object
}

// An Object is a key with the bytes it is to have.
type Object struct {
	Key  Key
	Body Body
	Opts PutOptions
}

// A BatchPutter is a Tree that stores many objects cheaper than one by one.
type BatchPutter interface {
	// PutBatch stores groups of objects. Every body is durable before the first
	// key appears, and every key of a group is durable before the first key of
	// the next appears. An object with IfAbsent whose key is taken is passed
	// over and its key returned.
	PutBatch(ctx context.Context, groups ...[]Object) (taken []Key, err error)
}

// PutBatch stores groups of objects one group after the other, see BatchPutter.
func PutBatch(ctx context.Context, t Tree, groups ...[]Object) (taken []Key, err error) {
	if b, ok := t.(BatchPutter); ok {
		return b.PutBatch(ctx, groups...)
	}
	for _, group := range groups {
		for _, o := range group {
			err := t.Put(ctx, o.Key, o.Body, o.Opts)
			switch {
			case o.Opts.IfAbsent && errors.Is(err, fs.ErrExist):
				taken = append(taken, o.Key)
			case err != nil:
				return taken, err
			}
		}
	}
	return taken, nil
}

// Bytes returns a Body in memory.
func Bytes(b []byte) Body { return bytes.NewReader(b) }

// A Spool lends files for bodies that are not checked yet. A Tree that is also
// a Spool puts its own files without copying them.
type Spool interface {
	Create() (SpoolFile, error)
}

// A SpoolFile is written once, then read as a Body any number of times.
type SpoolFile interface {
	io.Writer
	Body
	// Done tells that all is written. The file keeps no resources open
	// afterwards other than its name.
	Done() error
	// Discard releases the file. After a Put that took it, and a second time,
	// it does nothing.
	Discard()
}

// SpoolFor returns t's own spool, or one in dir ("" for the system's folder of
// temporary files).
func SpoolFor(t Tree, dir string) Spool {
	if s, ok := t.(Spool); ok {
		return s
	}
	return TempSpool(dir)
}

// keyError tells what was tried with which key.
func keyError(verb string, key Key, err error) error {
	return fmt.Errorf("%s %s: %w", verb, key, err)
}
