package adopt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// A claim is a record that leads to a NAR.
type claim struct {
	hash string
	n    *layout.NarInfo
	text []byte
	info layout.Info
}

// nars reads the NARs, and completes what belongs to those that are right.
func (a *adoption) nars(ctx context.Context) error {
	if err := a.readLinks(ctx); err != nil {
		return err
	}
	err := parallel.Each(ctx, a.o.Jobs, func(yield func(layout.Key, error) bool) {
		for _, key := range a.scan.order {
			if f := a.scan.nars[key]; (len(f.paths) > 0 || a.promises(key)) && !yield(key, nil) {
				return
			}
		}
	}, func(ctx context.Context, key layout.Key) error {
		err := a.nar(ctx, key, a.scan.nars[key])
		a.o.Progress.NARs.Add(1)
		return err
	})
	if err != nil {
		a.discard()
		return err
	}
	return a.flush(ctx)
}

// nar looks at one NAR.
func (a *adoption) nar(ctx context.Context, key layout.Key, f *narFile) error {
	var claims []claim
	for _, hash := range f.paths {
		n, text, info, err := a.record(ctx, hash)
		if err != nil {
			return err
		}
		if n == nil {
			continue // withdrawn meanwhile, or wrong by now
		}
		if keys, _ := n.NARKeys(); slices.Contains(keys, key) {
			claims = append(claims, claim{hash, n, text, info})
		}
	}
	if len(claims) == 0 {
		return a.lone(ctx, key, f)
	}
	if a.known(claims, f.info) {
		a.o.Progress.Bytes.Add(f.info.Size)
		return a.keep(ctx, claims, f)
	}
	byMethod := map[compress.Method][]claim{}
	for _, c := range claims {
		byMethod[c.n.Compression] = append(byMethod[c.n.Compression], c)
	}
	var last *reading
	for m, claims := range byMethod {
		r, err := a.read(ctx, key, m, claims)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
				return ctx.Err() // it went, and with it the records
			}
			a.unknown(err)
			for _, c := range claims {
				f.good = true // it is not known to be wrong
				a.scan.paths[c.hash].right = true
			}
			continue
		}
		last = r
		err = a.judge(ctx, f, r, claims)
		if err != nil {
			return err
		}
	}
	if last != nil {
		a.judgeFile(f, last)
	}
	return nil
}

// known reports whether an earlier run found all of this right, in the manner that is
// asked for now.
func (a *adoption) known(claims []claim, nar layout.Info) bool {
	for _, c := range claims {
		listing, there := a.scan.listings[c.hash]
		if !there || !a.memory.has(a.memory.sum(c.text, listing, nar)) {
			return false
		}
	}
	return true
}

// keep leaves what is right, but for signatures.
func (a *adoption) keep(ctx context.Context, claims []claim, f *narFile) error {
	f.good = true
	for _, c := range claims {
		next := *c.n
		ch := change{claim: c, next: &next, nar: f.info, listingSize: a.scan.listings[c.hash].Size}
		if err := a.sign(&ch, c.n.CA != "" && c.n.CheckAddress(a.info.StoreDir) == nil); err != nil {
			return err
		}
		a.scan.paths[c.hash].right = true
		if err := a.queue(ctx, ch); err != nil {
			return err
		}
	}
	return nil
}

// judge compares a NAR with the records that lead to it.
func (a *adoption) judge(ctx context.Context, f *narFile, r *reading, claims []claim) error {
	var right []claim
	proved := map[string]bool{}
	for i, c := range claims {
		kind, why := a.fault(c.n, r, i)
		if kind != "" {
			a.tell(wrong{Finding{Kind: kind, Key: c.info.Key, Path: c.n.Path, Detail: why}, c.info})
			continue
		}
		right = append(right, c)
		proved[c.hash] = r.proofs[i] == layout.Proved
	}
	if len(right) == 0 {
		r.done()
		return nil
	}
	f.good = true
	own, err := a.ownName(ctx, f, r)
	if err != nil {
		r.done()
		return err
	}
	if err := a.checkLinks(f.info.Key, r); err != nil {
		r.done()
		return err
	}
	left := new(atomic.Int64)
	left.Store(int64(len(right)))
	for _, c := range right {
		a.scan.paths[c.hash].right = true
		ch := change{claim: c, next: a.completed(c.n, r, own), nar: own, old: f.info.Key, listing: r.listing, listingSize: r.listing.Size(),
			done: func() {
				if left.Add(-1) == 0 {
					r.done()
				}
			}}
		if err := a.sign(&ch, proved[c.hash]); err != nil {
			return err
		}
		if err := a.needsListing(ctx, &ch); err != nil {
			return err
		}
		if err := a.links(ctx, &ch, r.debug); err != nil {
			return err
		}
		if err := a.queue(ctx, ch); err != nil {
			return err
		}
	}
	return nil
}

// fault tells what is wrong with a record, in view of the bytes.
func (a *adoption) fault(n *layout.NarInfo, r *reading, at int) (kind, why string) {
	switch {
	case r.broken != nil:
		return "bad-nar", r.broken.Error()
	case r.tooLong:
		return "nar-size", fmt.Sprintf("the NAR has more than the %d bytes it says", n.NarSize)
	case r.narHash != n.NarHash:
		return "nar-hash", fmt.Sprintf("it says %s, the NAR hashes to %s", n.NarHash, r.narHash)
	case r.narSize != n.NarSize:
		return "nar-size", fmt.Sprintf("it says %d bytes, the NAR has %d", n.NarSize, r.narSize)
	case r.proofs[at] == layout.Refuted:
		return "wrong-ca", fmt.Sprintf("%s is not what the content hashes to", n.CA)
	}
	if err := n.CheckAddress(a.info.StoreDir); err != nil && !errors.Is(err, layout.ErrUnknownAddress) {
		return "wrong-ca", err.Error()
	}
	return "", ""
}

// completed returns the record as it is to be.
func (a *adoption) completed(n *layout.NarInfo, r *reading, own layout.Info) *layout.NarInfo {
	next := *n
	next.Compression, next.FileHash, next.FileSize = r.method, r.fileHash, own.Size
	if r.packed != nil {
		next.FileHash = r.packed.FileHash
	}
	next.URL = string(own.Key)
	return &next
}

// judgeFile decides about a file of which it is known by now whether a record that is
// right leads to it.
func (a *adoption) judgeFile(f *narFile, r *reading) {
	name, promised := f.info.Key.NameHash()
	kept := !promised || name == r.fileHash || r.broken == nil && !r.tooLong && name == r.narHash
	var finding Finding
	switch {
	case !kept && f.good:
		return // it is at its own name as well: clients may remember this one
	case !kept:
		finding = Finding{Kind: "file-hash", Detail: "it hashes to " + r.fileHash.String()}
	case f.good:
		return
	case r.broken != nil:
		finding = Finding{Kind: "bad-nar", Detail: r.broken.Error()}
	default:
		return // a NAR that nothing leads to any more
	}
	finding.Key = f.info.Key
	a.tell(wrong{finding, f.info})
}

// lone looks at a NAR that no record leads to: its name is to be true.
func (a *adoption) lone(ctx context.Context, key layout.Key, f *narFile) error {
	name, promised := key.NameHash()
	if !promised {
		return nil
	}
	r, err := a.inspect(ctx, key, compress.None, nil)
	if err == nil {
		r.done()
	}
	if err == nil && r.fileHash != name && !a.named(r.fileHash) {
		var holds bool
		if holds, err = a.holds(ctx, key, f.info.Size, name); err == nil && !holds {
			a.tell(wrong{Finding{Kind: "file-hash", Key: key, Detail: "it hashes to " + r.fileHash.String()}, f.info})
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
		a.unknown(err)
	}
	return ctx.Err()
}

// named reports whether the file with this hash is at its own name as well: then the other
// name is one that clients may remember.
func (a *adoption) named(file layout.Hash) bool {
	for _, suffix := range layout.NARSuffixes {
		if f := a.scan.nars[layout.NARKey(file, suffix[len(".nar"):])]; f != nil {
			return true
		}
	}
	return false
}

func (a *adoption) holds(ctx context.Context, key layout.Key, size int64, want layout.Hash) (bool, error) {
	body, _, err := a.tree.Get(ctx, key)
	if err != nil {
		return false, err
	}
	defer body.Close()
	return layout.HoldsNAR(ctx, key, body, size, want)
}
