package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// An Info describes an object of a tree.
type Info struct {
	Key     Key
	Size    int64 // -1 where it is not known
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
	// Get opens an object. The Info describes the version that is read; its Size
	// is -1 if it is not known beforehand. Anything that an object is kept with
	// besides its bytes, such as a Content-Encoding, is taken off.
	Get(ctx context.Context, key Key) (io.ReadCloser, Info, error)
	Stat(ctx context.Context, key Key) (Info, error)
}

// A Lister is a tree that is only read.
type Lister interface {
	Reader
	// List yields every object whose key begins with prefix, in ascending byte
	// order of whole keys. The caller may stop at any point. Objects that come or
	// go meanwhile may be missed or seen. Private keys are listed only if the
	// prefix asks for them. A tree that cannot be listed yields ErrNotListable.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
}

// ErrAdminOnly says that a tree takes other objects from this client, but not one that
// people see or that keeps others.
var ErrAdminOnly = errors.New("only an administrator may put it")

// ErrNotListable says that a tree does not tell what it has.
var ErrNotListable = fmt.Errorf("it cannot be listed: %w", errors.ErrUnsupported)

// A Tree stores objects. The interface is shaped after what an object store
// can do; a directory can do it too. All methods are safe for concurrent use,
// by several processes as well.
type Tree interface {
	Lister
	// Put stores a whole object: all of it or none, durable on return.
	Put(ctx context.Context, key Key, body Body, opts PutOptions) error
	// Delete removes an object. An absent one is not an error.
	Delete(ctx context.Context, key Key) error
}

// An Object is a key with the bytes it is to have.
type Object struct {
	Key  Key
	Body Body
	Opts PutOptions
}

// A Summed is a Body whose SHA-256 is known already.
type Summed interface {
	Body
	Sum() Hash
}

// Bytes returns a Body in memory.
func Bytes(b []byte) Body { return bytes.NewReader(b) }

// keyError tells what was tried with which key.
func keyError(verb string, key Key, err error) error {
	return fmt.Errorf("%s %s: %w", verb, key, err)
}
