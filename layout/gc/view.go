package gc

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A view is what one listing of a tree says, and what the narinfos in it lead to.
//
// There may be millions of paths, so they are numbers: those that have a narinfo
// in the order of their keys, and behind them those that others only refer to.
type view struct {
	tree     layout.Tree
	storeDir string
	now      time.Time // when the look began
	clock    func() time.Time

	paths  []pathEntry
	ghosts []refgraph.PathID // referred to, and without a narinfo
	ghost  map[refgraph.PathID]int32
	nars   []narEntry // in the order of their IDs
	// called has the keys of NARs that are called as other caches call theirs.
	called  map[refgraph.NARID]layout.Key
	others  []otherEntry
	stray   []strayEntry // listings without a narinfo
	overdue []otherEntry // narinfos that have waited for too long
	size    int64        // of all objects
	gone    set          // paths that were listed, and not there to be read
	doubts  []doubt      // while the tree is listed
	kinds   [layout.KindForeign + 1]Size

	reads []uint32              // of each path: when it was read last, in seconds; nil if that is not known
	lists map[layout.Key]uint64 // the versions of the lists of runs
	idle  []victim              // the lists of runs that no rule keeps
	runs  int

	from []uint32 // where refs has the references of a path, without itself
	refs lists
	nar  []int32 // of each path: in nars; -1 if the NAR is not there
	// leads has all NARs that the record of a path may mean, where nar does not tell.
	leads map[int32][]refgraph.NARID
	drv   []uint64 // of each path: which log is that of its build; 0 for none
}

type pathEntry struct {
	id      refgraph.PathID
	born    uint32 // when it was put, as far as signing does not matter
	tag     uint64 // the version of its narinfo
	listing uint64 // the version of its listing; 0 if there is none
	// The sizes of both.
	narInfoSize, listingSize uint32
}

// size is that of narinfo and listing.
func (p pathEntry) size() int64 { return int64(p.narInfoSize) + int64(p.listingSize) }

type narEntry struct {
	id refgraph.NARID
	// named: it was not looked at, and the rest is what an earlier run remembers.
	named bool
	born  uint32
	tag   uint64
	size  int64
}

// A strayEntry is a listing whose narinfo is not there.
type strayEntry struct {
	id   refgraph.PathID
	born uint32
	tag  uint64
	size int64
}

// An otherEntry is a log, a debug link, a realisation or an upstream's record.
type otherEntry struct {
	key  layout.Key
	born uint32
	tag  uint64
	size int64
	lead string // the NARID of a debug link's NAR, the PathID of a realisation's path
}

// skew is by how much a clock may be wrong.
const skew = 15 * time.Minute

// A ClockError says that an object was put in the future, by the clock of this
// machine: no age is to be believed then.
type ClockError struct {
	Key layout.Key
	By  time.Duration
}

func (e *ClockError) Error() string {
	return fmt.Sprintf("%s was written %s from now: a clock is wrong", e.Key, e.By.Round(time.Second))
}

// tagOf shortens the name of a version. It is never 0.
func tagOf(etag string) uint64 {
	sum := sha256.Sum256([]byte(etag))
	return binary.LittleEndian.Uint64(sum[:]) | 1
}

// find returns the number of a path with a narinfo, or -1.
func (v *view) find(id refgraph.PathID) int32 {
	i, ok := slices.BinarySearchFunc(v.paths, id, func(p pathEntry, id refgraph.PathID) int { return bytes.Compare(p.id[:], id[:]) })
	if !ok {
		return -1
	}
	return int32(i)
}

// number returns the number of a path, which gets one if it has none.
func (v *view) number(id refgraph.PathID) int32 {
	if i := v.find(id); i >= 0 {
		return i
	}
	i, ok := v.ghost[id]
	if !ok {
		i = int32(len(v.paths) + len(v.ghosts))
		v.ghost[id] = i
		v.ghosts = append(v.ghosts, id)
	}
	return i
}

// known returns the number of a path that has one, or -1.
func (v *view) known(id refgraph.PathID) int32 {
	if i := v.find(id); i >= 0 {
		return i
	}
	if i, ok := v.ghost[id]; ok {
		return i
	}
	return -1
}

func (v *view) isGhost(i int32) bool { return int(i) >= len(v.paths) }

func (v *view) id(i int32) refgraph.PathID {
	if v.isGhost(i) {
		return v.ghosts[int(i)-len(v.paths)]
	}
	return v.paths[i].id
}

func (v *view) findNAR(id refgraph.NARID) int32 {
	i, ok := slices.BinarySearchFunc(v.nars, id, func(n narEntry, id refgraph.NARID) int { return bytes.Compare(n.id[:], id[:]) })
	if !ok {
		return -1
	}
	return int32(i)
}

func (l lead) equal(other lead) bool {
	return l.drv == other.drv && slices.Equal(l.nars, other.nars) && slices.Equal(l.refs, other.refs)
}

// narID names a NAR: by its key, or by a hash of the key if that is not of our form.
func narID(key layout.Key) refgraph.NARID {
	id, ok := refgraph.PackNAR(key)
	if !ok {
		sum := sha256.Sum256([]byte(key))
		copy(id[:], sum[:])
		id[len(sum)] = 0xff // as none of our form has it
	}
	return id
}

// narKey is the key of a NAR.
func (v *view) narKey(i int32) layout.Key {
	if key, ok := v.called[v.nars[i].id]; ok {
		return key
	}
	return v.nars[i].id.Key()
}

// narsOf yields the NARs in the tree that the record of path i may mean.
func (v *view) narsOf(i int32) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		ids, several := v.leads[i]
		if !several && v.nar[i] >= 0 {
			yield(v.nar[i])
		}
		for _, id := range ids {
			if nar := v.findNAR(id); nar >= 0 && !yield(nar) {
				return
			}
		}
	}
}

// narIDs returns the NARs that the record of path i may mean, in the tree or not.
func (v *view) narIDs(i int32) []refgraph.NARID {
	if ids, ok := v.leads[i]; ok {
		return ids
	}
	if at := v.nar[i]; at >= 0 {
		return []refgraph.NARID{v.nars[at].id}
	}
	return nil
}

// references returns what path i refers to. A path without a narinfo refers to
// nothing.
func (v *view) references(i int32) []int32 {
	if v.isGhost(i) {
		return nil
	}
	return v.refs.at(v.from[i])
}

// young reports whether an object was put within a time.
func (v *view) young(born uint32, within time.Duration) bool {
	return within > 0 && v.now.Sub(time.Unix(int64(born), 0)) < within
}

// A lead is what a narinfo leads to.
type lead struct {
	nars []refgraph.NARID  // that it may mean: one, but for URLs with a query
	refs []refgraph.PathID // without itself
	drv  uint64
}

// leadsOf reads where a narinfo leads.
func leadsOf(n *layout.NarInfo) lead {
	var l lead
	keys, _ := n.NARKeys() // a record that leads out of the tree leads to no NAR in it
	for _, key := range keys {
		l.nars = append(l.nars, narID(key))
	}
	for _, ref := range n.References {
		if ref != n.Path {
			l.refs = append(l.refs, refgraph.PackPath(ref.Hash()))
		}
	}
	if n.Deriver != "" {
		l.drv = logTag(string(n.Deriver))
	}
	return l
}

// logTag names the log of a derivation, under either of its keys (see
// layout.LogKeys).
func logTag(drv string) uint64 {
	before, _, _ := strings.Cut(drv, "?")
	return tagOf(before)
}

func parseNarInfo(key layout.Key, text []byte, storeDir string) (*layout.NarInfo, error) {
	n, err := layout.ParseNarInfo(text, storeDir)
	if err == nil && layout.NarInfoKey(n.Path) != key {
		err = fmt.Errorf("it is the narinfo of %s", n.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return n, nil
}
