package inbox

import (
	"context"
	"errors"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// A record is a narinfo on its way into the tree.
type record struct {
	*layout.NarInfo
	key     layout.Key
	nar     layout.Key
	text    []byte // as it was sent
	trusted bool   // by a signature

	compared bool // with its NAR, and found right
}

// A need is an object that has to be there before a narinfo may appear.
type need struct {
	key     layout.Key
	path    layout.StorePath // "" for the NAR
	damaged bool             // the NAR is there, with other bytes
}

// refusal says so to a client that cannot wait.
func (n need) refusal(of *record) error {
	switch {
	case n.damaged:
		return refuse(MissingNAR, "missing NAR: %s is damaged in this cache; send it again", n.key)
	case n.path == "":
		return refuse(MissingNAR, "missing NAR: %s is not in this cache; send it before the narinfo", n.key)
	}
	return refuse(MissingReference, "missing reference: %.80s needs %.80s, which is not in this cache; copy that first, with --refresh if Nix says it is there",
		of.Path, n.path)
}

// putNarInfo takes a narinfo, which is published, merged, held or refused.
func (b *Inbox) putNarInfo(ctx context.Context, key layout.Key, u *upload, o Options) (Outcome, error) {
	text, err := u.readAll()
	if err != nil {
		return 0, err
	}
	if len(text) == 0 {
		return 0, errEmpty
	}
	r, err := b.read(key, text)
	if err != nil {
		return 0, err
	}
	outcome, err := b.putRecord(ctx, r, o)
	if err != nil {
		return 0, err
	}
	b.drain(ctx)
	return outcome, nil
}

func (b *Inbox) putRecord(ctx context.Context, r *record, o Options) (Outcome, error) {
	unlock, err := b.locks.lock(ctx, r.key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	outcome, needs, err := b.place(ctx, r, true, !o.Strict)
	switch {
	case err != nil:
		return 0, err
	case len(needs) == 0:
		b.unhold(r.key.PathHash())
		return outcome, nil
	case o.Strict:
		return 0, needs[0].refusal(r)
	}
	if outcome, err = b.hold(ctx, r, needs); err != nil {
		return 0, err
	}
	// Another process may have published the path since we looked, and be about to
	// drop what was held without having read ours.
	there, err := b.exists(ctx, r.key)
	if err != nil || !there {
		return outcome, err
	}
	if merged, needs, err := b.place(ctx, r, true, true); err != nil || len(needs) == 0 {
		b.unhold(r.key.PathHash())
		return merged, err
	}
	return outcome, nil
}

// read parses a narinfo and refuses what can be told from it alone.
func (b *Inbox) read(key layout.Key, text []byte) (*record, error) {
	storeDir := b.writer.StoreDir
	n, err := layout.ParseNarInfo(text, storeDir)
	if err != nil {
		if other, err := layout.ParseNarInfo(text, ""); err == nil {
			return nil, refuse(WrongStoreDir, "wrong store directory: this cache is for %.60s, and %.80s is not in it", storeDir, other.Path)
		}
		return nil, refuse(BadNarInfo, "bad narinfo: %v", err).because(err)
	}
	r := &record{NarInfo: n, key: key, text: text}
	if n.Path.Hash() != key.PathHash() {
		return nil, refuse(WrongName, "wrong name: %s was sent with the record of %.100s", key, n.Path)
	}
	if r.nar, err = n.NARKey(); err != nil {
		return nil, refuse(BadURL, "bad URL: %v", err).because(err)
	}
	if sum, err := r.nar.FileHash(); err != nil || !n.FileHash.IsZero() && sum != n.FileHash {
		return nil, refuse(BadURL, "bad URL: %s is not named by the FileHash %s", r.nar, n.FileHash)
	}
	if n.NarSize > b.cfg.MaxNarSize {
		return nil, refuse(NARTooLarge, "too large: the NAR has %d bytes, this cache allows %d", n.NarSize, b.cfg.MaxNarSize)
	}
	if err := b.checkAddress(n); err != nil {
		return nil, err
	}
	for _, line := range n.Extra {
		if sig, ok := strings.CutPrefix(line, "Sig: "); ok {
			// Nix since 2.34 could not read the record.
			return nil, refuse(BadSignature, "bad signature: %.100q is not name:base64 of 64 bytes", sig)
		}
	}
	if r.trusted, err = b.checkSigs(n.Sigs, n.Fingerprint(storeDir)); err != nil {
		return nil, err
	}
	if b.cfg.RequireSignature && !r.trusted && !provable(n) {
		return nil, untrusted(r)
	}
	return r, nil
}

func untrusted(r *record) error {
	return refuse(Untrusted, "untrusted: %.100s is not signed by a key that this cache trusts; sign it (nix store sign) and copy it again", r.Path)
}

// place publishes a record if it is right and nothing is missing; otherwise it
// changes nothing and returns what is missing. The narinfo's lock is held.
//
// A record that is waiting anyway has its NAR looked at only if that is asked
// for: at its arrival, so that whoever sent it learns of errors.
func (b *Inbox) place(ctx context.Context, r *record, eager, echoed bool) (Outcome, []need, error) {
	have, err := b.recordAt(ctx, r.key)
	if err != nil {
		return 0, nil, err
	}
	present := false
	if have != nil {
		// A record whose NAR is gone leads nowhere, and is no reason to refuse one
		// that leads somewhere.
		if present, err = b.leads(ctx, have); err != nil {
			return 0, nil, err
		}
		if present && !have.SameContent(&r.PathInfo) {
			return 0, nil, conflict(r)
		}
	}
	if present {
		outcome, err := b.merge(ctx, r, have, echoed)
		return outcome, nil, err
	}
	needs, err := b.missingReferences(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	if len(needs) > 0 && !eager {
		return 0, needs, nil
	}
	unlock, err := b.locks.lock(ctx, r.nar)
	if err != nil {
		return 0, nil, err
	}
	defer unlock()
	known, proof, err := b.facts(ctx, r.nar, &r.PathInfo)
	if errors.Is(err, errNoNAR) {
		return 0, append([]need{{key: r.nar, damaged: errors.Is(err, errDamaged)}}, needs...), nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer known.release()
	if err := r.compare(known); err != nil {
		return 0, nil, err
	}
	if proof == layout.Refuted {
		return 0, nil, refuse(WrongCA, "wrong CA: %.100s is not what the bytes of %.100s hash to", r.CA, r.Path)
	}
	if b.cfg.RequireSignature && !r.trusted && proof != layout.Proved {
		return 0, nil, untrusted(r)
	}
	if len(needs) > 0 {
		return 0, needs, nil
	}
	outcome, err := b.publish(ctx, r, known, have != nil, echoed)
	return outcome, nil, err
}

// compare refuses a narinfo that says something else than is true of its NAR,
// and completes one that says less: Nix from 2.35 may leave out the file's hash
// and size, and Nix up to 2.34 cannot do without.
func (r *record) compare(known *receipt) error {
	differs := func(field string, says, is any) error {
		return refuse(NARDiffers, "NAR differs: the narinfo of %.80s says %s %v, and it is %v", r.Path, field, says, is)
	}
	switch {
	case r.NarHash != known.narHash:
		return differs("NarHash", r.NarHash, known.narHash)
	case r.NarSize != known.narSize:
		return differs("NarSize", r.NarSize, known.narSize)
	case r.FileSize != 0 && r.FileSize != known.object.Size:
		return differs("FileSize", r.FileSize, known.object.Size)
	case r.Compression != known.method:
		return differs("Compression", r.Compression, known.method)
	}
	r.compared = true
	r.FileSize = known.object.Size
	r.FileHash, _ = r.nar.FileHash() // read before
	return nil
}
