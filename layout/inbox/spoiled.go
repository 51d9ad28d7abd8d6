package inbox

import "github.com/nixstatic/nixstatic/layout"

// A disk may have changed a byte of a record. The record can be read then, and a client
// that is told of it sends nothing; but readers refuse it, and it is not to keep the
// client's own from taking its place.

// spoiled reports whether a record in the tree cannot be what was published: it names a
// known key that has not signed what it says, or it says something else than is known of
// its NAR.
//
// A record that one known key did sign is sound, whatever else stands in it: anybody may add
// a signature that claims to be by a key which the operator trusts only later.
func (b *Inbox) spoiled(n *layout.NarInfo, nar layout.Info) bool {
	if good, bad := b.known.Check(n.Sigs, n.Fingerprint(b.writer.StoreDir)); bad != "" && !good {
		return true
	}
	if _, err := nar.Key.FileHash(); err != nil {
		return false // another program named it
	}
	if method, ok := extensions[extension(nar.Key)]; ok && method != n.Compression {
		return true
	}
	known := b.receiptOf(nar)
	if known == nil {
		return false
	}
	defer known.release()
	return known.narHash != n.NarHash || known.narSize != n.NarSize || known.method != n.Compression
}

// spoiledRealisation reports whether a realisation names known keys, none of which has
// signed it.
func (b *Inbox) spoiledRealisation(r *layout.Realisation) bool {
	good, bad := b.known.Check(r.Sigs, r.Fingerprints()...)
	goodTrace, badTrace := b.known.Check(r.TraceSigs, r.TraceFingerprint())
	return (bad != "" || badTrace != "") && !good && !goodTrace
}

// sound returns the signatures of a record without those that claim to be by a known key
// and are not.
func (b *Inbox) sound(n *layout.NarInfo) []string {
	fingerprint := n.Fingerprint(b.writer.StoreDir)
	var sigs []string
	for _, sig := range n.Sigs {
		if _, bad := b.known.Check([]string{sig}, fingerprint); bad == "" {
			sigs = append(sigs, sig)
		}
	}
	return sigs
}
