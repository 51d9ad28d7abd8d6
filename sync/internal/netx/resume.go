package netx

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// muchProgress is how much must arrive for a broken body to count as a new
// failure: a server that gives one byte a connection is given up in the end.
const muchProgress = 1 << 20

// ErrChanged says that an object has another version than the one that is being
// read.
var ErrChanged = errors.New("changed while it was read")

// A Broken body ended too early.
type Broken struct{ err error }

func (e *Broken) Error() string { return "the answer broke off: " + e.err.Error() }
func (e *Broken) Unwrap() error { return e.err }

// BrokenOff makes a Broken error of what reading a body returned.
func BrokenOff(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return &Broken{err}
}

// An Unusable answer is to another question than the one that was asked. The
// whole object may be had even so.
type Unusable struct{ err error }

func (e *Unusable) Error() string { return e.err.Error() }
func (e *Unusable) Unwrap() error { return e.err }

// NotUsable makes an Unusable error of what a server said.
func NotUsable(err error) error { return &Unusable{err} }

func unusablef(format string, args ...any) error {
	return &Unusable{fmt.Errorf(format, args...)}
}

// An Answer is what a server gave for a request of an object, or of a part.
type Answer struct {
	Body   io.ReadCloser
	Header http.Header
	Length int64 // that it says the body has; -1 if it does not say
}

// A Source tells how a Body gets its bytes.
type Source struct {
	// Ask asks once for the bytes [from, to) of an object, of which to is -1 if the
	// size is not known. With a negative from it asks for the whole, and not for a
	// range.
	Ask func(ctx context.Context, from, to int64) (*Answer, error)
	// Judge tells which failures may pass. It is not asked of answers that are
	// Unusable or Broken.
	Judge func(context.Context, error) Verdict
	Retry *Retry
	What  string            // for the log
	Name  func(error) error // says in a final error what was asked for

	// Checked says that the reader compares the bytes with a hash: two versions
	// that are mixed would show.
	Checked bool
}

// A Body reads one version of an object over as many answers as it takes. A
// server that answers otherwise than it was asked is asked for the whole, and
// what was read before is compared with it.
type Body struct {
	Source
	ctx     context.Context
	version version
	from    int64 // the first byte that is read
	end     int64 // where to stop, -1 if the size is not known

	answer *Answer      // nil after one that broke off
	left   int64        // bytes that answer may give, -1 for any number
	off    int64        // where the next byte is from
	past   maphash.Hash // of the bytes that were given out

	whole    bool  // ranges are not asked for any more
	failures int   // in a row
	mark     int64 // off at the last failure
	err      error // final
}

// A version is what headers say of an object.
type version struct {
	size   int64  // -1 if it is not known
	etag   string // a strong one with its quotes, or ""
	coding string
}

// Whole makes a Body of the first answer to a request for a whole object.
func Whole(ctx context.Context, s Source, first *Answer) (*Body, error) {
	a, err := readWhole(first)
	if err != nil {
		return nil, err
	}
	return &Body{Source: s, ctx: ctx, version: a.version, end: a.size, answer: first, left: a.length}, nil
}

// Range makes a Body of the bytes [from, to) of an object of which size and ETag
// are known. Nothing is asked for yet.
func Range(ctx context.Context, s Source, size int64, etag string, from, to int64) *Body {
	return &Body{Source: s, ctx: ctx, version: version{size: size, etag: etag}, from: from, off: from, mark: from, end: to}
}

// Size is that of the object, -1 if it is not known.
func (b *Body) Size() int64 { return b.version.size }

// Open makes the first request of a Range.
func (b *Body) Open() error {
	if err := b.again(nil); err != nil {
		return b.Name(err)
	}
	return nil
}

// Read fills p from the present answer, or from the next.
func (b *Body) Read(p []byte) (int, error) {
	for b.err == nil {
		n, err := b.read(p)
		b.past.Write(p[:n])
		b.off += int64(n)
		switch {
		case b.off == b.end:
			b.err = b.finish(err)
		case err == io.EOF && b.end < 0:
			b.err = io.EOF
		case err != nil:
			b.err = b.again(BrokenOff(err))
		}
		if b.err != nil && b.err != io.EOF {
			b.err = b.Name(b.err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

// finish reads the end of the last answer, so that its connection is used again.
// A body that goes on is not what its headers say.
func (b *Body) finish(err error) error {
	if err == io.EOF || b.left > 0 || b.end < b.version.size {
		return io.EOF
	}
	if n, _ := b.answer.Body.Read(make([]byte, 1)); n > 0 && !b.Checked {
		return errors.New("the answer goes on behind its end")
	}
	return io.EOF
}

func (b *Body) read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	if b.end >= 0 && int64(len(p)) > b.end-b.off {
		p = p[:b.end-b.off]
	}
	n, err := b.answer.Body.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	return n, err
}

// again asks for the rest after err, nil if nothing was asked yet. It returns nil
// if there is an answer to go on with.
func (b *Body) again(err error) error {
	b.drop()
	if b.off-b.mark >= muchProgress {
		b.failures = 0
	}
	b.mark = b.off
	// A part of an unknown version is of no use without a hash.
	b.whole = b.whole || !b.Checked && b.version.etag == ""
	for {
		if b.ctx.Err() != nil {
			return context.Cause(b.ctx)
		}
		if err != nil {
			verdict := b.judge(err)
			if !verdict.Again {
				return err
			}
			if b.failures++; b.failures >= b.Retry.Attempts {
				return b.Retry.GaveUp(err, b.failures)
			}
			// The last attempt is one at the whole.
			b.whole = b.whole || b.failures == b.Retry.Attempts-1
			if err := b.Retry.Pause(b.ctx, b.What, b.failures, verdict, err); err != nil {
				return err
			}
		}
		from := b.off
		if b.whole || from == 0 && b.end == b.version.size {
			from = -1
		}
		var answer *Answer
		if answer, err = b.Ask(b.ctx, from, b.end); err != nil {
			if err == ErrChanged {
				return err
			}
			continue
		}
		if err = b.adopt(answer); err == nil {
			return nil
		}
		b.drop()
		if err == ErrChanged {
			return err
		}
	}
}

func (b *Body) judge(err error) Verdict {
	var unusable *Unusable
	var broken *Broken
	switch {
	case errors.As(err, &unusable):
		b.whole = true
		return Verdict{Again: true}
	case errors.As(err, &broken):
		return Verdict{Again: true}
	}
	return b.Judge(b.ctx, err)
}

// adopt goes on with an answer, if it holds the rest of the same version.
func (b *Body) adopt(answer *Answer) error {
	b.answer = answer
	a, err := readAnswer(answer)
	switch v := b.version; {
	case err != nil:
		return err
	case a.first != 0 && (a.first != b.off || b.whole), a.part && a.size < 0 && v.size < 0:
		return unusablef("asked for the bytes from %d on and was given %.60q", b.off, answer.Header.Get("Content-Range"))
	case v.etag != "" && a.etag != "" && v.etag != a.etag && !b.Checked:
		return ErrChanged
	case v.size >= 0 && a.size >= 0 && v.size != a.size:
		return unusablef("%w: %d bytes by now, not %d", ErrChanged, a.size, v.size)
	case a.coding != v.coding:
		return unusablef("%w: content-encoding %.40q by now, not %.40q", ErrChanged, a.coding, v.coding)
	case a.part && a.length < 0:
		return unusablef("the length of %.60q is not known", answer.Header.Get("Content-Range"))
	// The servers behind one name may disagree on the version of equal files. If
	// the hash is known it decides, later.
	case a.first > 0 && !b.Checked && (v.etag == "" || a.etag == ""):
		return unusablef("the version of a part is not known")
	}
	b.left = a.length
	if a.first < b.off {
		if err := b.skip(b.off - a.first); err != nil {
			return err
		}
	}
	if b.version.size < 0 && a.size >= 0 {
		b.version.size = a.size
		if b.end < 0 {
			b.end = a.size
		}
	}
	if b.version.etag == "" {
		b.version.etag = a.etag
	}
	return nil
}

// skip passes over what was given out already, and compares it.
func (b *Body) skip(n int64) error {
	if _, err := io.CopyN(io.Discard, b.answer.Body, b.from); err != nil {
		return BrokenOff(err)
	}
	var again maphash.Hash
	again.SetSeed(b.past.Seed())
	if _, err := io.CopyN(&again, b.answer.Body, n-b.from); err != nil {
		return BrokenOff(err)
	}
	if again.Sum64() != b.past.Sum64() {
		return unusablef("the whole begins otherwise than what was read before")
	}
	if b.left >= 0 {
		b.left -= n
	}
	return nil
}

func (b *Body) drop() {
	if b.answer != nil {
		b.answer.Body.Close() // it is broken; the reason is known already
		b.answer = nil
	}
}

// Close ends the request.
func (b *Body) Close() error {
	b.drop()
	if b.err == nil {
		b.err = errors.New("read after close")
	}
	return nil
}

// A reading is what the headers of an answer say.
type reading struct {
	version
	part   bool  // it says which bytes these are
	first  int64 // offset of the first byte
	length int64 // of the body, -1 if it is not known
}

// readAnswer finds out which bytes an answer holds. The status is not asked: there
// are servers that give a part with 200, and its Content-Range.
func readAnswer(answer *Answer) (reading, error) {
	h := answer.Header
	r := reading{length: answer.Length, version: version{size: answer.Length, etag: StrongETag(h), coding: strings.Join(Codings(h), ", ")}}
	if strings.HasPrefix(strings.ToLower(h.Get("Content-Type")), "multipart/byteranges") {
		return r, unusablef("asked for one part and was given several")
	}
	span := h.Get("Content-Range")
	if span == "" {
		return r, nil
	}
	first, last, total, ok := parseContentRange(span)
	switch {
	case !ok:
		return r, unusablef("given %.60q", span)
	case answer.Length >= 0 && answer.Length != last-first+1 && answer.Length == total:
		return r, nil // the whole, whatever else it says
	case answer.Length >= 0 && answer.Length != last-first+1:
		return r, unusablef("given %.60q with %d bytes", span, answer.Length)
	}
	r.part, r.first, r.size = true, first, total
	return r, nil
}

// CheckWhole finds out whether an answer holds a whole object.
func CheckWhole(answer *Answer) error {
	_, err := readWhole(answer)
	return err
}

func readWhole(answer *Answer) (reading, error) {
	a, err := readAnswer(answer)
	if err == nil && a.part && (a.first != 0 || a.size < 0 || a.length >= 0 && a.length != a.size) {
		err = unusablef("asked for the whole and was given %.60q", answer.Header.Get("Content-Range"))
	}
	return a, err
}

// StrongETag returns the ETag with its quotes, and "" for a weak one: equal weak
// ones do not mean equal bytes.
func StrongETag(header http.Header) string {
	etag := header.Get("ETag")
	if len(etag) < 3 || etag[0] != '"' || etag[len(etag)-1] != '"' {
		return ""
	}
	return etag
}

// parseContentRange reads "bytes first-last/total"; a total of "*" is -1.
func parseContentRange(value string) (first, last, total int64, ok bool) {
	spec, isBytes := strings.CutPrefix(value, "bytes ")
	span, size, hasSize := strings.Cut(spec, "/")
	from, to, hasSpan := strings.Cut(span, "-")
	if !isBytes || !hasSize || !hasSpan {
		return 0, 0, 0, false
	}
	var err error
	if first, err = number(from); err != nil {
		return 0, 0, 0, false
	}
	if last, err = number(to); err != nil || last < first {
		return 0, 0, 0, false
	}
	if size == "*" {
		return first, last, -1, true
	}
	if total, err = number(size); err != nil || total <= last {
		return 0, 0, 0, false
	}
	return first, last, total, true
}

func number(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err
}
