package treetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
)

// violation records that a step broke an invariant. The mutex is held.
func (m *Mem) violation(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	m.broken = append(m.broken, text)
	if m.tb != nil {
		m.tb.Helper()
		m.tb.Errorf("tree: %s", text)
	}
}

// policePut checks a Put against what the tree holds before it. The mutex is
// held.
func (m *Mem) policePut(key layout.Key, data, have []byte, taken bool) {
	if taken && key.Immutable() && !bytes.Equal(data, have) {
		// Writing the right bytes over damaged ones mends the tree.
		if sum, err := key.FileHash(); err != nil || sum == sha256.Sum256(have) {
			m.violation("I4: put %s with other bytes than it has", key)
		}
	}
	switch key.Kind() {
	case layout.KindNAR:
		if sum, err := key.FileHash(); err == nil && sum != sha256.Sum256(data) && !holdsNAR(key, data, sum) {
			m.violation("I1: put %s with bytes that hash to %s", key, layout.Hash(sha256.Sum256(data)).Nix32())
		}
	case layout.KindNarInfo:
		m.policeNarInfo(key, data)
	case layout.KindCacheInfo:
		if _, err := layout.ParseCacheInfo(data); err != nil {
			m.violation("I1: put %s: %v", key, err)
		}
	}
}

// holdsNAR reports whether a file is called by the hash of the NAR in it.
func holdsNAR(key layout.Key, data []byte, sum layout.Hash) bool {
	ok, err := layout.HoldsNAR(context.Background(), key, bytes.NewReader(data), int64(len(data)), sum)
	return ok && err == nil
}

func (m *Mem) policeNarInfo(key layout.Key, data []byte) {
	n, err := layout.ParseNarInfo(data, "")
	if err != nil {
		m.violation("I1: put %s: %v", key, err)
		return
	}
	if layout.NarInfoKey(n.Path) != key {
		m.violation("I1: put %s as the record of %s", key, n.Path)
	}
	nars, err := n.NARKeys()
	if err != nil {
		m.violation("I2: put %s: %v", key, err)
	} else if i := slices.IndexFunc(nars, func(k layout.Key) bool { _, there := m.objects[k]; return there }); i < 0 {
		m.violation("I2: put %s before its %s", key, nars)
	} else if o := m.objects[nars[i]]; !n.FileHash.IsZero() && o.info.Size != n.FileSize {
		m.violation("I1: put %s with FileSize %d, its %s has %d bytes", key, n.FileSize, nars[i], o.info.Size)
	} else if m.hasty[nars[i]] {
		m.violation("I2: put %s on top of %s, which the next power cut may take", key, nars[i])
	}
	if _, ok := m.objects[layout.ListingKey(n.Path)]; !ok {
		m.violation("I2: put %s before its listing", key)
	}
	for _, ref := range n.References {
		_, published := m.objects[layout.NarInfoKey(ref)] // in the same directory: flushed with this one
		if proof := layout.ProvisionKey(ref); !published && m.hasty[proof] {
			m.violation("I3: put %s on top of %s, which the next power cut may take", key, proof)
		}
		if _, ok := m.objects[layout.NarInfoKey(ref)]; !ok && ref != n.Path && !m.provided(ref) {
			m.violation("I3: put %s before its reference %s", key, ref)
		}
	}
}

// provided reports whether a reference need not be in the tree. The mutex is
// held.
func (m *Mem) provided(p layout.StorePath) bool {
	_, recorded := m.objects[layout.ProvisionKey(p)]
	return recorded || m.Provided != nil && m.Provided(p)
}

// policeDelete checks that what leans on an object went before it. The mutex
// is held.
func (m *Mem) policeDelete(key layout.Key, data []byte) {
	switch key.Kind() {
	case layout.KindNAR:
		m.leaning(key, func(n *layout.NarInfo) bool {
			nars, err := n.NARKeys()
			return err == nil && slices.Contains(nars, key)
		})
	case layout.KindListing:
		m.leaning(key, func(n *layout.NarInfo) bool { return layout.ListingKey(n.Path) == key })
	case layout.KindNarInfo:
		gone, err := layout.ParseNarInfo(data, "")
		if err == nil && !m.provided(gone.Path) { // on a damaged record no one can lean
			m.leaning(key, refersTo(gone.Path))
		}
	case layout.KindPrivate:
		gone, err := layout.ParseNarInfo(data, "")
		if err != nil || key != layout.ProvisionKey(gone.Path) {
			return
		}
		if _, published := m.objects[layout.NarInfoKey(gone.Path)]; !published {
			m.leaning(key, refersTo(gone.Path))
		}
	}
}

func refersTo(p layout.StorePath) func(*layout.NarInfo) bool {
	return func(n *layout.NarInfo) bool { return n.Path != p && slices.Contains(n.References, p) }
}

func (m *Mem) leaning(key layout.Key, on func(*layout.NarInfo) bool) {
	for other, o := range m.objects {
		if other.Kind() != layout.KindNarInfo || other == key {
			continue
		}
		if n, err := layout.ParseNarInfo(o.data, ""); err == nil && on(n) {
			rule := "I2"
			if key.Kind() != layout.KindNAR && key.Kind() != layout.KindListing {
				rule = "I3"
			}
			m.violation("%s: delete %s while %s still needs it", rule, key, other)
			return
		}
	}
}
