package treetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path"
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
// Its spool is one of temporary files, and it takes a batch as what a batch may be at
// worst: none of the objects of one group may rely on another of that group.
type Mem struct {
	tb testing.TB

	// Provided tells which references need not be in the tree (I3). Nil is none.
	Provided func(layout.StorePath) bool

	// Like are the traits that it declares, so that a tree with other costs can be
	// tested. The zero value declares none.
	Like layout.Traits

	mu       sync.Mutex
	objects  map[layout.Key]object
	hasty    map[layout.Key]bool // there, and gone after a power cut, see Unflush
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

// Unflush makes what is there look as a process leaves it in a directory that was
// killed between giving a file its name and flushing the directory. The tree then
// fails the test of a caller that has a narinfo rest on such an object before it
// is flushed: by Flush, or by a Put into the same directory.
func (m *Mem) Unflush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hasty = map[layout.Key]bool{}
	for key := range m.objects {
		m.hasty[key] = true
	}
}

// Flush makes objects outlast a power cut, see Unflush.
func (m *Mem) Flush(_ context.Context, keys ...layout.Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(keys) == 0 {
		m.hasty = nil
	}
	for _, key := range keys {
		delete(m.hasty, key)
	}
	return nil
}

// flushFolder is what a Put does to the directory of its key.
func (m *Mem) flushFolder(key layout.Key) {
	maps.DeleteFunc(m.hasty, func(other layout.Key, _ bool) bool { return path.Dir(string(other)) == path.Dir(string(key)) })
}

// Clone returns a tree with the same objects, reporting to tb.
func (m *Mem) Clone(tb testing.TB) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Mem{tb: tb, Provided: m.Provided, Like: m.Like, objects: maps.Clone(m.objects), hasty: maps.Clone(m.hasty), versions: m.versions}
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

// Traits are those of Like.
func (m *Mem) Traits() layout.Traits { return m.Like }

// Create makes a temporary file.
func (m *Mem) Create() (layout.SpoolFile, error) { return layout.TempSpool("").Create() }

// Put stores an object.
func (m *Mem) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	taken, err := m.PutBatch(ctx, []layout.Object{{Key: key, Body: body, Opts: opts}})
	if err == nil && len(taken) > 0 {
		err = fmt.Errorf("put %s: %w", key, fs.ErrExist)
	}
	return err
}

// PutBatch stores groups of objects. Each object counts as a Put, and is policed
// by what there was before its group.
func (m *Mem) PutBatch(ctx context.Context, groups ...[]layout.Object) (taken []layout.Key, err error) {
	for _, group := range groups {
		bodies := make([][]byte, len(group))
		for i, o := range group {
			bodies[i] = make([]byte, o.Body.Size())
			if _, err = io.ReadFull(io.NewSectionReader(o.Body, 0, o.Body.Size()), bodies[i]); err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				group = group[:i+1]
				break
			}
		}
		more, failed := m.putGroup(ctx, group, bodies, err)
		if taken = append(taken, more...); failed != nil {
			return taken, failed
		}
	}
	return taken, nil
}

// putGroup stores the objects of a group up to the first that fails. The error
// broken is that of the last body.
func (m *Mem) putGroup(ctx context.Context, group []layout.Object, bodies [][]byte, broken error) (taken []layout.Key, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stored := map[layout.Key][]byte{}
	for i, o := range group {
		m.counts.Put++
		have, there := m.objects[o.Key]
		_, again := stored[o.Key]
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case broken != nil && i == len(group)-1:
			err = broken
		case o.Key.Kind() == layout.KindForeign:
			err = fmt.Errorf("not a key of a binary cache")
		case o.Opts.IfAbsent && (there || again):
			taken = append(taken, o.Key)
			continue
		case o.Opts.IfMatch != "" && (!there || again || have.info.ETag != o.Opts.IfMatch):
			err = layout.ErrChanged
		}
		if err != nil {
			err = fmt.Errorf("put %s: %w", o.Key, err)
			break
		}
		m.policePut(o.Key, bodies[i], have.data, there)
		stored[o.Key] = bodies[i]
	}
	for key, data := range stored {
		m.store(key, data)
		m.flushFolder(key)
	}
	for _, key := range taken {
		m.flushFolder(key)
	}
	return taken, err
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
