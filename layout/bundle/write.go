package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/nixstatic/nixstatic/layout"
)

// Options change how a plan is written. The zero value writes one file.
type Options struct {
	MaxPart  int64         // bytes of a part, MinPart at least; 0 for one file of any size
	Logs     bool          // build logs of the paths' derivers, too
	Progress *atomic.Int64 // counts bytes that were written; may be nil
}

// ErrDamaged says that a NAR of the cache is not what its record says.
var ErrDamaged = errors.New("it is not what its narinfo says")

// Write writes the bundle of a plan. The function next is asked for what each part is to be
// written to; a part is whole when the next one is asked for, or when Write returns.
func (p *Plan) Write(ctx context.Context, cache layout.Reader, next func() (io.Writer, error), o Options) error {
	w := &writer{ctx: ctx, cache: cache, plan: p, Options: o, next: next, id: p.id(o.MaxPart), buf: make([]byte, 256<<10)}
	if w.Progress == nil {
		w.Progress = new(atomic.Int64)
	}
	if err := w.begin(); err != nil {
		return err
	}
	logs := map[layout.StorePath]bool{"": true}
	for _, path := range p.Lacking {
		n, err := w.path(path.Path)
		if err != nil {
			return fmt.Errorf("%s: %w", path.Path, err)
		}
		if drv := n.Deriver; o.Logs && !logs[drv] {
			logs[drv] = true
			if err := w.log(drv); err != nil {
				return fmt.Errorf("log of %s: %w", drv, err)
			}
		}
	}
	if err := w.realisations(); err != nil {
		return err
	}
	return w.end()
}

// A writer writes the parts of a bundle.
type writer struct {
	Options
	ctx   context.Context
	cache layout.Reader
	plan  *Plan
	next  func() (io.Writer, error)
	id    string

	part int
	tar  *tar.Writer
	out  atomic.Int64 // bytes of the part
	sums bytes.Buffer
	nars map[layout.Key]bool // of this part
	buf  []byte
}

// path writes a path: its NAR, its listing if there is one, and its record, which it
// returns.
func (w *writer) path(p layout.StorePath) (*layout.NarInfo, error) {
	record := layout.NarInfoKey(p)
	n, text, err := readRecord(w.ctx, w.cache, record, w.plan.StoreDir)
	if err != nil {
		return nil, err
	}
	info, err := layout.FindNAR(w.ctx, w.cache, n)
	if err != nil {
		return nil, err
	}
	nar := &source{n, info.Key}
	body, size, err := w.open(nar)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	around := cost(string(record), int64(len(text)))
	fits, err := w.makeRoom(around + cost(string(nar.key), size))
	if err == nil && !w.nars[nar.key] {
		if fits {
			err = w.nar(nar, body, size)
		} else {
			err = w.cut(nar, body, size, around)
		}
	}
	if err == nil {
		err = w.listing(layout.ListingKey(p), around)
	}
	if err == nil {
		err = w.text(string(record), text)
	}
	return n, err
}

// A source is the NAR of a record in the cache.
type source struct {
	*layout.NarInfo
	key layout.Key
}

// open opens a NAR, and tells its size.
func (w *writer) open(p *source) (io.ReadCloser, int64, error) {
	if p.FileHash.IsZero() {
		// No other hash is known of the file than that of the NAR in it.
		body, info, err := w.cache.Get(w.ctx, p.key)
		if err != nil {
			return nil, 0, err
		}
		holds, err := layout.HoldsNAR(w.ctx, p.key, body, max(info.Size, 0), p.NarHash)
		body.Close()
		if err != nil {
			return nil, 0, err
		}
		if !holds {
			return nil, 0, fmt.Errorf("%s: %w", p.key, ErrDamaged)
		}
	}
	return w.sized(p.key)
}

// sized opens an object, and tells its size, for which it is copied where the cache does
// not tell it beforehand.
func (w *writer) sized(key layout.Key) (io.ReadCloser, int64, error) {
	body, info, err := w.cache.Get(w.ctx, key)
	if err != nil || info.Size >= 0 {
		return body, info.Size, err
	}
	defer body.Close()
	file, err := layout.TempSpool("").Create()
	if err != nil {
		return nil, 0, err
	}
	if _, err := io.Copy(file, layout.CancelReader(w.ctx, body)); err != nil {
		file.Discard()
		return nil, 0, err
	}
	return spooled{io.NewSectionReader(file, 0, file.Size()), file}, file.Size(), nil
}

type spooled struct {
	io.Reader
	file layout.SpoolFile
}

func (s spooled) Close() error { s.file.Discard(); return nil }

// nar writes a NAR whole.
func (w *writer) nar(p *source, body io.Reader, size int64) error {
	sum := sha256.New()
	if err := w.member(string(p.key), size, io.TeeReader(body, sum)); err != nil {
		return err
	}
	w.nars[p.key] = true
	return p.check(body, sum)
}

// check compares the hash of the file with the record, and sees that nothing follows.
func (p *source) check(body io.Reader, sum hash.Hash) error {
	if n, err := body.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		if err != nil && err != io.EOF {
			return err
		}
		return fmt.Errorf("%s: %w: it goes on", p.key, ErrDamaged)
	}
	if !p.FileHash.IsZero() && layout.Hash(sum.Sum(nil)) != p.FileHash {
		return fmt.Errorf("%s: %w: it has another hash", p.key, ErrDamaged)
	}
	return nil
}

// cut writes a NAR in pieces, the last of them into a part with room for what belongs
// around it.
func (w *writer) cut(p *source, body io.Reader, size, around int64) error {
	sum := sha256.New()
	for from := int64(0); from < size; {
		rest := piece{p.key, from, size}
		n := size - from
		if least := cost(rest.name(), min(n, w.MaxPart/8)); w.room() < least+around {
			if err := w.end(); err != nil {
				return err
			}
			if err := w.begin(); err != nil {
				return err
			}
		}
		if room := w.room() - cost(rest.name(), 0) - around; n > room {
			n = room / block * block
		}
		if n <= 0 {
			return ErrPart
		}
		if err := w.member(rest.name(), n, io.TeeReader(io.LimitReader(body, n), sum)); err != nil {
			return err
		}
		from += n
	}
	return p.check(body, sum)
}

// listing writes a listing if there is one and it fits beside the record: the other side
// makes it anew.
func (w *writer) listing(key layout.Key, around int64) error {
	text, err := layout.ReadAll(w.ctx, w.cache, key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
		return nil
	}
	if err != nil || cost(string(key), int64(len(text)))+around > w.room() {
		return err
	}
	return w.text(string(key), text)
}

// log writes the build log of a derivation, if there is one.
func (w *writer) log(drv layout.StorePath) error {
	key := layout.LogKey(drv)
	body, size, err := w.sized(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer body.Close()
	if size > key.Kind().MaxBytes() {
		return fmt.Errorf("%w: more than %d bytes", layout.ErrTooLarge, key.Kind().MaxBytes())
	}
	fits, err := w.makeRoom(cost(string(key), size))
	if err == nil && !fits {
		err = fmt.Errorf("%w: it has %d bytes", ErrPart, size)
	}
	if err != nil {
		return err
	}
	return w.member(string(key), size, body)
}

// realisations writes those of the paths, as far as the cache can be asked for them.
func (w *writer) realisations() error {
	wanted := map[layout.StorePath]bool{}
	for _, path := range w.plan.Lacking {
		if path.CA {
			wanted[path.Path] = true
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	for _, folder := range layout.KindRealisation.Folders() {
		for info, err := range layout.List(w.ctx, w.cache, folder) {
			if errors.Is(err, layout.ErrNotListable) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("list realisations: %w", err)
			}
			if info.Key.Kind() != layout.KindRealisation {
				continue
			}
			text, err := layout.ReadAll(w.ctx, w.cache, info.Key)
			if errors.Is(err, fs.ErrNotExist) {
				continue // went while we listed
			}
			if err != nil {
				return err
			}
			// An unreadable realisation does not stop the others.
			r, err := layout.ParseRealisation(info.Key, text)
			if err != nil || !wanted[r.OutPath] {
				continue
			}
			if _, err := w.makeRoom(cost(string(info.Key), int64(len(text)))); err != nil {
				return err
			}
			if err := w.text(string(info.Key), text); err != nil {
				return err
			}
		}
	}
	return nil
}
