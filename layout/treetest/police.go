package treetest

import (
	"bytes"
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
	if taken && key.Kind().Immutable() && !bytes.Equal(data, have) {
		// Writing the right bytes over damaged ones mends the tree.
		if sum, err := key.FileHash(); err != nil || sum == sha256.Sum256(have) {
			m.violation("I4: put %s with other bytes than it has", key)
		}
	}
	switch key.Kind() {
	case layout.KindNAR:
		if sum, err := key.FileHash(); err != nil {
			m.violation("I1: put %s: %v", key, err)
		} else if got := layout.Hash(sha256.Sum256(data)); got != sum {
			m.violation("I1: put %s with bytes that hash to %s", key, got.Nix32())
		}
	case layout.KindNarInfo:
		m.policeNarInfo(key, data)
	case layout.KindCacheInfo:
		if _, err := layout.ParseCacheInfo(data); err != nil {
			m.violation("I1: put %s: %v", key, err)
		}
	}
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
	nar, err := n.NARKey()
	if err != nil {
		m.violation("I2: put %s: %v", key, err)
	} else if o, ok := m.objects[nar]; !ok {
		m.violation("I2: put %s before its %s", key, nar)
	} else if !n.FileHash.IsZero() && o.info.Size != n.FileSize {
		m.violation("I1: put %s with FileSize %d, its %s has %d bytes", key, n.FileSize, nar, o.info.Size)
	}
	if _, ok := m.objects[layout.ListingKey(n.Path)]; !ok {
		m.violation("I2: put %s before its listing", key)
	}
	if m.hasty[nar] {
		m.violation("I2: put %s on top of %s, which the next power cut may take", key, nar)
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
		m.leaning(key, func(n *layout.NarInfo) bool { return n.URL == string(key) })
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
