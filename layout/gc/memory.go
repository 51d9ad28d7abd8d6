package gc

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A memory is a file on this machine. It begins with a header and the IDs of paths,
// whose numbers the records use, then has a record for each narinfo and for each
// other object that was read. A record holds for one version of its object
// alone. If the file is lost, all are read again.
const (
	memoryMagic = "nixstatic gc memory 2\n"
	// maxLead bounds what a record says: more references than a narinfo has room
	// for are a sign of damage.
	maxLead = layout.MaxNarInfo / 32
	maxNARs = 8 // that a URL may mean
)

// A memory is read from its beginning to its end, beside a listing: both are in
// the order of keys.
type memory struct {
	r      *bufio.Reader
	close  func()
	ids    []refgraph.PathID // first those with a record
	paths  int               // how many have one
	others int
	err    error

	next int // of the paths
	// of the path that was read last:
	tag  uint64
	lead lead  // without references
	at   []int // its references, in ids
}

// A MemoryError says that an object has changed and kept its version. Nothing that
// is known by versions can be believed then.
type MemoryError struct {
	Key  layout.Key
	File string
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("%s is not what %s remembers of the same version", e.Key, e.File)
}

// recall opens what an earlier run remembered. A memory that cannot be read or makes
// no sense counts as absent.
func recall(name string) *memory {
	nothing := &memory{close: func() {}}
	if name == "" {
		return nothing
	}
	f, err := os.Open(name)
	if err != nil {
		return nothing
	}
	m := openMemory(f)
	m.close = func() { f.Close() }
	if m.err != nil {
		m.close()
		return nothing
	}
	return m
}

func openMemory(r io.Reader) *memory {
	m := &memory{r: bufio.NewReaderSize(r, 256<<10), close: func() {}}
	head := make([]byte, len(memoryMagic))
	if _, err := io.ReadFull(m.r, head); err != nil || string(head) != memoryMagic {
		m.fail(errors.New("not a memory of ours"))
		return m
	}
	ids, paths := m.uint(1<<31), m.uint(1<<31)
	m.others = m.uint(1 << 31)
	for i := 0; i < ids && m.err == nil; i++ { // the number may be a lie: memory grows with what is there
		var id refgraph.PathID
		m.read(id[:])
		m.ids = append(m.ids, id)
	}
	if m.paths = paths; paths > len(m.ids) {
		m.fail(errors.New("it has more narinfos than paths"))
	}
	return m
}

// fail makes the rest of a memory forgotten.
func (m *memory) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

func (m *memory) read(p []byte) {
	if m.err == nil {
		_, err := io.ReadFull(m.r, p)
		if err != nil {
			m.fail(err)
		}
	}
}

func (m *memory) uint(limit uint64) int {
	if m.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(m.r)
	if err != nil || n > limit {
		m.fail(fmt.Errorf("a number out of bounds: %d, %w", n, err))
		return 0
	}
	return int(n)
}

func (m *memory) uint64() uint64 {
	var b [8]byte
	m.read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// path returns what is remembered of a narinfo, if it has the same version still.
// It is asked in the order of the IDs. Then lead and at have it until the next call.
func (m *memory) path(p pathEntry) bool {
	for m.err == nil && m.r != nil && m.next < m.paths {
		id := m.ids[m.next]
		if string(id[:]) > string(p.id[:]) {
			return false
		}
		m.next++
		m.tag = m.uint64()
		m.lead.nars = m.lead.nars[:0]
		for n := m.uint(maxNARs); n > 0 && m.err == nil; n-- {
			var id refgraph.NARID
			m.read(id[:])
			m.lead.nars = append(m.lead.nars, id)
		}
		m.lead.drv = m.uint64()
		m.at = m.at[:0]
		for n := m.uint(maxLead); n > 0 && m.err == nil; n-- {
			if at := m.uint(uint64(max(0, len(m.ids)-1))); m.err == nil {
				m.at = append(m.at, at)
			}
		}
		if id == p.id {
			return m.err == nil && m.tag == p.tag
		}
	}
	return false
}

// known returns what is remembered of the path that was read last.
func (m *memory) known() lead {
	l := lead{nars: slices.Clone(m.lead.nars), drv: m.lead.drv}
	for _, at := range m.at {
		l.refs = append(l.refs, m.ids[at])
	}
	return l
}

// rest yields what is remembered of other objects, after the narinfos.
func (m *memory) rest() iter.Seq[otherEntry] {
	return func(yield func(otherEntry) bool) {
		if m.r == nil {
			return
		}
		m.path(pathEntry{id: refgraph.PathID{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}})
		for range m.others {
			key := make([]byte, m.uint(1024))
			m.read(key)
			tag := m.uint64()
			lead := make([]byte, m.uint(64))
			m.read(lead)
			if m.err != nil || !yield(otherEntry{key: layout.Key(key), tag: tag, lead: string(lead)}) {
				return
			}
		}
	}
}

// remember keeps what a view knows for the next run. If it cannot, the next run
// only takes longer.
func (v *view) remember(name string) {
	if name == "" || os.MkdirAll(filepath.Dir(name), 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".new-")
	if err != nil {
		return
	}
	w := bufio.NewWriterSize(f, 256<<10)
	v.writeMemory(w)
	err = errors.Join(w.Flush(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
}

func (v *view) writeMemory(w *bufio.Writer) {
	others := 0
	for _, o := range v.others {
		if o.lead != "" {
			others++
		}
	}
	b := []byte(memoryMagic)
	for _, n := range []int{len(v.paths) + len(v.ghosts), len(v.paths), others} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	w.Write(b)
	for _, p := range v.paths {
		w.Write(p.id[:])
	}
	for _, id := range v.ghosts {
		w.Write(id[:])
	}
	for i, p := range v.paths {
		tag := p.tag
		if v.gone.has(int32(i)) {
			tag = 0 // of no version
		}
		b = binary.LittleEndian.AppendUint64(b[:0], tag)
		nars := v.narIDs(int32(i))
		b = binary.AppendUvarint(b, uint64(len(nars)))
		for _, nar := range nars {
			b = append(b, nar[:]...)
		}
		b = binary.LittleEndian.AppendUint64(b, v.drv[i])
		refs := v.references(int32(i))
		b = binary.AppendUvarint(b, uint64(len(refs)))
		for _, ref := range refs {
			b = binary.AppendUvarint(b, uint64(ref))
		}
		w.Write(b)
	}
	for _, o := range v.others {
		if o.lead == "" {
			continue
		}
		b = binary.AppendUvarint(b[:0], uint64(len(o.key)))
		b = append(b, o.key...)
		b = binary.LittleEndian.AppendUint64(b, o.tag)
		b = binary.AppendUvarint(b, uint64(len(o.lead)))
		b = append(b, o.lead...)
		w.Write(b)
	}
}
