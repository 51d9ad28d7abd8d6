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
// whose numbers the records use. Then come what listings of the tree said of the paths
// and of the NARs, and a record for each narinfo and for each other object that was
// read. A record holds for one version of its object alone. If the file is lost, all are
// read again.
const (
	memoryMagic = "nixstatic gc memory 3\n"
	// maxLead bounds what a record says: more references than a narinfo has room
	// for are a sign of damage.
	maxLead = layout.MaxNarInfo / 32
	maxNARs = 8 // that a URL may mean
)

// A memory is read beside a listing: both are in the order of keys.
type memory struct {
	r      *bufio.Reader // of the records
	close  func()
	ids    []refgraph.PathID // first those with a record
	paths  int               // how many have one
	nars   int
	others int
	err    error

	pathFacts, narFacts *bufio.Reader
	nextPath            int // whose facts come next
	narID               refgraph.NARID
	narFact             sighting // of narID

	next int // of the paths
	// of the path that was read last:
	tag  uint64
	lead lead  // without references
	at   []int // its references, in ids
}

// The bytes of the facts of a path and of a NAR.
const (
	pathFactBytes = 8 + 8 + 4 + 4
	narFactBytes  = len(refgraph.NARID{}) + 8 + 4 + 8
)

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
	m := openMemory(f, 1<<62)
	m.close = func() { f.Close() }
	if m.err != nil {
		m.close()
		return nothing
	}
	return m
}

// openMemory reads the beginning of a memory. No more than limit bytes of it are there.
func openMemory(r io.ReaderAt, limit int64) *memory {
	m := &memory{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, limit), 256<<10), close: func() {}}
	head := make([]byte, len(memoryMagic))
	if _, err := io.ReadFull(m.r, head); err != nil || string(head) != memoryMagic {
		m.fail(errors.New("not a memory of ours"))
		return m
	}
	ids, paths, nars := m.uint(1<<31), m.uint(1<<31), m.uint(1<<31)
	m.others = m.uint(1 << 31)
	begin := int64(len(memoryMagic))
	for _, n := range []int{ids, paths, nars, m.others} {
		begin += int64(len(binary.AppendUvarint(nil, uint64(n))))
	}
	for i := 0; i < ids && m.err == nil; i++ { // the number may be a lie: memory grows with what is there
		var id refgraph.PathID
		m.read(id[:])
		m.ids = append(m.ids, id)
	}
	begin += int64(ids) * int64(len(refgraph.PathID{}))
	section := func(bytes int64) *bufio.Reader {
		r := bufio.NewReaderSize(io.NewSectionReader(r, begin, bytes), 64<<10)
		begin += bytes
		return r
	}
	m.pathFacts = section(int64(paths) * pathFactBytes)
	m.narFacts = section(int64(nars) * int64(narFactBytes))
	if m.err == nil {
		if _, err := r.ReadAt(head[:1], begin-1); err != nil {
			m.fail(err)
			return m
		}
		m.r.Reset(io.NewSectionReader(r, begin, limit-begin))
		m.nars = nars
	}
	if m.paths = paths; paths > len(m.ids) {
		m.fail(errors.New("it has more narinfos than paths"))
	}
	return m
}

// listing returns what is remembered of the listing of a path, if there was one. It is
// asked in the order of the keys.
func (m *memory) listing(key layout.Key) (sighting, bool) {
	id := refgraph.PackPath(key.PathHash())
	for m.err == nil && m.nextPath < m.paths {
		have := m.ids[m.nextPath]
		if string(have[:]) > string(id[:]) {
			break
		}
		m.nextPath++
		var b [pathFactBytes]byte
		if _, err := io.ReadFull(m.pathFacts, b[:]); err != nil {
			m.fail(err)
			break
		}
		if have == id {
			s := sighting{key: key, named: true, narinfo: binary.LittleEndian.Uint64(b[:]), tag: binary.LittleEndian.Uint64(b[8:]),
				born: binary.LittleEndian.Uint32(b[16:]), size: int64(binary.LittleEndian.Uint32(b[20:]))}
			return s, s.tag != 0 && s.narinfo != 0
		}
	}
	return sighting{}, false
}

// nar returns what is remembered of a NAR that is named by the hash of its file. It is
// asked in the order of the keys.
func (m *memory) nar(key layout.Key) (sighting, bool) {
	id, ok := refgraph.PackNAR(key)
	for ok && m.narFacts != nil && m.err == nil && string(m.narID[:]) < string(id[:]) {
		var b [narFactBytes]byte
		if _, err := io.ReadFull(m.narFacts, b[:]); err != nil {
			return sighting{}, false // there are no more
		}
		rest := b[copy(m.narID[:], b[:]):]
		m.narFact = sighting{named: true, tag: binary.LittleEndian.Uint64(rest), born: binary.LittleEndian.Uint32(rest[8:]),
			size: int64(binary.LittleEndian.Uint64(rest[12:]))}
	}
	if !ok || m.err != nil || m.narID != id || !m.narFact.named || m.narFact.size < 0 {
		return sighting{}, false
	}
	s := m.narFact
	s.key = key
	return s, true
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

// version is that of the narinfo of a path, 0 if it was not there to be read.
func (v *view) version(i int) uint64 {
	if v.gone.has(int32(i)) {
		return 0
	}
	return v.paths[i].tag
}

func (v *view) writeMemory(w *bufio.Writer) {
	others := 0
	for _, o := range v.others {
		if o.lead != "" {
			others++
		}
	}
	b := []byte(memoryMagic)
	nars := len(v.nars) - len(v.called)
	for _, n := range []int{len(v.paths) + len(v.ghosts), len(v.paths), nars, others} {
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
		b = binary.LittleEndian.AppendUint64(b[:0], v.version(i))
		b = binary.LittleEndian.AppendUint64(b, p.listing)
		b = binary.LittleEndian.AppendUint32(b, p.born)
		w.Write(binary.LittleEndian.AppendUint32(b, p.listingSize))
	}
	for i, n := range v.nars {
		if _, called := v.called[n.id]; called {
			continue
		}
		b = append(b[:0], v.nars[i].id[:]...)
		b = binary.LittleEndian.AppendUint64(b, n.tag)
		b = binary.LittleEndian.AppendUint32(b, n.born)
		w.Write(binary.LittleEndian.AppendUint64(b, uint64(n.size)))
	}
	for i := range v.paths {
		b = binary.LittleEndian.AppendUint64(b[:0], v.version(i))
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
