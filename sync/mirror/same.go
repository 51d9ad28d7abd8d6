package mirror

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// A verdict says how a key's two objects compare.
type verdict int

const (
	same   verdict = iota
	absent         // at the destination
	differ
	extra // at the destination
)

// A decision is a pair that was compared.
type decision struct {
	pair
	verdict verdict
	mark    mark // of the two versions, if known
}

func (d decision) change() Change {
	switch d.verdict {
	case absent:
		return Change{ActionCopy, d.key, d.src.Size}
	case differ:
		return Change{ActionReplace, d.key, d.src.Size}
	}
	return Change{ActionDelete, d.key, d.dst.Size}
}

// judged compares pairs, in order, and remembers which are equal.
func (r *run) judged(ctx context.Context, pairs iter.Seq2[pair, error], remembered *ledger) iter.Seq2[decision, error] {
	decisions := parallel.InOrder(ctx, r.jobs, pairs,
		func(p pair) (decision, bool) { return r.judge(p, remembered) },
		func(ctx context.Context, p pair) (decision, error) { return r.compare(ctx, p) })
	return func(yield func(decision, error) bool) {
		for d, err := range decisions {
			if err == nil {
				r.progress.Listed.Add(1)
				// The ledger is never asked about immutable objects of one size.
				if d.verdict == same && (!d.key.Immutable() || d.src.Size != d.dst.Size) {
					remembered.add(d.key, d.mark)
				}
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

// judge decides what the listings and the past suffice for.
func (r *run) judge(p pair, remembered *ledger) (decision, bool) {
	d := decision{pair: p}
	switch {
	case !p.inDst:
		d.verdict = absent
	case !p.inSrc:
		d.verdict = extra
	case p.key != layout.UpstreamsKey && p.src.Size != p.dst.Size && p.src.Size >= 0 && p.dst.Size >= 0:
		// The source may have the same bytes in fewer.
		d.verdict = differ
		if r.encoded || p.key.Kind() == layout.KindListing && p.src.Size < p.dst.Size { // see plainListing
			d.mark = markOf(p.src.ETag, p.dst.ETag)
			if r.mirror.Content || !remembered.has(p.key, d.mark) {
				return d, false
			}
			d.verdict = same
		}
	case p.key.Immutable() && !r.mirror.Content:
		d.verdict = same
	default:
		known := isMD5(p.src.ETag) && p.src.ETag == p.dst.ETag
		if !p.key.Immutable() {
			d.mark = markOf(p.src.ETag, p.dst.ETag)
			known = remembered.has(p.key, d.mark) && !r.mirror.Content || known
		}
		return d, known
	}
	return d, true
}

// compare reads what it takes to tell whether two objects are equal, if their
// sizes do not. If one version is the MD5 sum of the bytes, as in object stores,
// reading the other object may suffice.
func (r *run) compare(ctx context.Context, p pair) (decision, error) {
	d := decision{pair: p, verdict: differ}
	var err error
	switch {
	case p.key == layout.UpstreamsKey:
		if err := r.compareUpstreams(ctx, &d); err != nil {
			return d, fmt.Errorf("compare %s: %w", p.key, err)
		}
		return d, nil
	case isMD5(p.dst.ETag) && p.key.Kind() == layout.KindNarInfo && p.dst.Size < 0:
		var text []byte
		var info layout.Info
		if text, info, err = layout.ReadVersion(ctx, r.mirror.Source, p.key); err == nil {
			if sum, ok := layout.SumOf(r.mirror.Dest, p.key, text); ok && sum == p.dst.ETag {
				d.verdict, d.mark = same, markOf(info.ETag, p.dst.ETag)
				return d, nil
			}
		}
	case isMD5(p.dst.ETag) && !isMD5(p.src.ETag):
		var sum, etag string
		if sum, etag, err = md5Of(ctx, r.mirror.Source, p.key); err == nil && sum == p.dst.ETag {
			d.verdict, d.mark = same, markOf(etag, p.dst.ETag)
			return d, nil
		}
	case isMD5(p.src.ETag) && !isMD5(p.dst.ETag):
		var sum, etag string
		if sum, etag, err = md5Of(ctx, r.mirror.Dest, p.key); err == nil && sum == p.src.ETag {
			d.verdict, d.mark = same, markOf(p.src.ETag, etag)
			return d, nil
		}
	}
	if err == nil {
		// A sum that differs proves nothing: some stores encrypt objects and
		// have the sum of the result.
		err = r.compareBytes(ctx, &d)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil // one of them went: to copy or to leave alone, which shows later
	}
	if err != nil {
		return d, fmt.Errorf("compare %s: %w", p.key, err)
	}
	return d, nil
}

func (r *run) compareBytes(ctx context.Context, d *decision) error {
	src, srcInfo, err := r.mirror.Source.Get(ctx, d.key)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, dstInfo, err := r.mirror.Dest.Get(ctx, d.key)
	if err != nil {
		return err
	}
	defer dst.Close()
	if r.blind && d.key.Kind() == layout.KindNarInfo {
		return r.compareRecords(d, src, dst)
	}
	if d.key.Kind() != layout.KindListing && srcInfo.Size >= 0 && dstInfo.Size >= 0 && srcInfo.Size != dstInfo.Size {
		return nil
	}
	var theirs io.Reader = src
	if d.key.Kind() == layout.KindListing {
		plain, err := plainListing(src)
		if err != nil {
			return err
		}
		defer plain.Close()
		theirs = plain
	}
	equal, err := layout.EqualBytes(theirs, dst)
	if errors.Is(err, compress.ErrCorrupt) {
		return nil // it differs
	}
	if equal {
		d.verdict, d.mark = same, markOf(srcInfo.ETag, dstInfo.ETag)
	}
	return err
}

// compareRecords is for a server that may sign what it is given: its record is
// equal if it says the same, and has at least the source's signatures.
func (r *run) compareRecords(d *decision, src, dst io.Reader) error {
	var text [2][]byte
	for i, from := range []io.Reader{src, dst} {
		var err error
		if text[i], err = io.ReadAll(io.LimitReader(from, layout.MaxNarInfo+1)); err != nil {
			return err
		}
	}
	if bytes.Equal(text[0], text[1]) || covers(text[1], text[0]) {
		d.verdict = same
	}
	return nil
}

func covers(theirs, ours []byte) bool {
	a, errA := layout.ParseNarInfo(theirs, "")
	b, errB := layout.ParseNarInfo(ours, "")
	if errA != nil || errB != nil || a.Path != b.Path || !a.SameContent(&b.PathInfo) {
		return false
	}
	return !slices.ContainsFunc(b.Sigs, func(sig string) bool { return !slices.Contains(a.Sigs, sig) })
}

// isMD5 reports whether an ETag looks like what object stores give to an object
// that came in one piece.
func isMD5(etag string) bool {
	if len(etag) != 2*md5.Size {
		return false
	}
	for _, c := range []byte(etag) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func md5Of(ctx context.Context, t layout.Reader, key layout.Key) (sum, etag string, err error) {
	body, info, err := t.Get(ctx, key)
	if err != nil {
		return "", "", err
	}
	defer body.Close()
	h := md5.New()
	if _, err := io.Copy(h, body); err != nil {
		return "", "", err
	}
	return hex.EncodeToString(h.Sum(nil)), info.ETag, nil
}
