package treetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A Mem is a tree in memory. It holds what the layout package promises against
// its callers: a Put or Delete that breaks an invariant goes through, as it
// would in a real tree, and fails the test.
//
// It has neither a spool nor batches of its own, so that every object is one
// Put and a [Faulty] around it can fail each of them.
type Mem struct {
	tb testing.TB

	// Provided tells which references need not be in the tree (I3). Nil is none.
	Provided func(layout.StorePath) bool

	mu       sync.Mutex
	objects  map[layout.Key]object
	versions int
	counts   Counts
	broken   []string
}

type object struct {
	data []byte
	info layout.Info
}

// Counts is how many operations a tree was asked for, the failed ones included.
type Counts struct{ Get, Stat, Put, Delete, List int }

// NewMem returns an empty tree that reports to tb. With a nil tb it only
// remembers, see Violations.
func NewMem(tb testing.TB) *Mem {
	return &Mem{tb: tb, objects: map[layout.Key]object{}}
}

// Counts returns the number of operations since the last call.
func (m *Mem) Counts() Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.counts
	m.counts = Counts{}
	return c
}

// Keys returns all keys in order, the private ones too: the golden listing.
func (m *Mem) Keys() []layout.Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.objects))
}

// Violations returns what was done against the invariants so far.
func (m *Mem) Violations() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.broken)
}

// Damage changes the tree behind everyone's back, without a check or a count:
// to the bytes that edit makes of the present ones (nil if the key is absent),
// or to no object if those are nil.
func (m *Mem) Damage(key layout.Key, edit func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data := edit(slices.Clone(m.objects[key].data))
	if data == nil {
		delete(m.objects, key)
		return
	}
	m.store(key, data)
}

// Rot changes the bytes of an object as a disk does that loses some: its
// description stays as it is.
func (m *Mem) Rot(key layout.Key, edit func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.objects[key]
	m.objects[key] = object{edit(slices.Clone(o.data)), o.info}
}

// Clone returns a tree with the same objects, reporting to tb.
func (m *Mem) Clone(tb testing.TB) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Mem{tb: tb, Provided: m.Provided, objects: maps.Clone(m.objects), versions: m.versions}
}

// Get opens the version that is there now: it is read to its end whatever
// happens to the key meanwhile.
func (m *Mem) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	o, err := m.look(ctx, "get", key, &m.counts.Get)
	if err != nil {
		return nil, layout.Info{}, err
	}
	return io.NopCloser(bytes.NewReader(o.data)), o.info, nil
}

// Stat describes an object.
func (m *Mem) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	o, err := m.look(ctx, "stat", key, &m.counts.Stat)
	return o.info, err
}

func (m *Mem) look(ctx context.Context, verb string, key layout.Key, count *int) (object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*count++
	if err := ctx.Err(); err != nil {
		return object{}, err
	}
	o, ok := m.objects[key]
	if !ok {
		return object{}, fmt.Errorf("%s %s: %w", verb, key, fs.ErrNotExist)
	}
	return o, nil
}

// Put stores an object.
func (m *Mem) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	var data bytes.Buffer
	n, err := io.Copy(&data, io.NewSectionReader(body, 0, body.Size()))
	if err == nil && n != body.Size() {
		err = io.ErrUnexpectedEOF
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts.Put++
	have, taken := m.objects[key]
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err != nil:
	case key.Kind() == layout.KindForeign:
		err = fmt.Errorf("not a key of a binary cache")
	case opts.IfAbsent && taken:
		err = fs.ErrExist
	case opts.IfMatch != "" && (!taken || have.info.ETag != opts.IfMatch):
		err = layout.ErrChanged
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	m.policePut(key, data.Bytes(), have.data, taken)
	m.store(key, slices.Clip(data.Bytes()))
	return nil
}

func (m *Mem) store(key layout.Key, data []byte) {
	m.versions++
	m.objects[key] = object{data, layout.Info{Key: key, Size: int64(len(data)),
		ModTime: time.Now(), ETag: fmt.Sprintf("v%d", m.versions)}}
}

// Delete removes an object.
func (m *Mem) Delete(ctx context.Context, key layout.Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts.Delete++
	if err := ctx.Err(); err != nil {
		return err
	}
	if have, ok := m.objects[key]; ok {
		m.policeDelete(key, have.data)
		delete(m.objects, key)
	}
	return nil
}

// List yields the objects that are there when it begins.
func (m *Mem) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		m.mu.Lock()
		m.counts.List++
		var found []layout.Info
		for key, o := range m.objects {
			private := key.Kind() == layout.KindPrivate && !strings.HasPrefix(prefix, layout.PrivatePrefix)
			if strings.HasPrefix(string(key), prefix) && !private {
				found = append(found, o.info)
			}
		}
		m.mu.Unlock()
		slices.SortFunc(found, func(a, b layout.Info) int { return strings.Compare(string(a.Key), string(b.Key)) })
		for _, info := range found {
			if err := ctx.Err(); err != nil {
				yield(layout.Info{}, err)
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

var _ layout.Tree = (*Mem)(nil)
