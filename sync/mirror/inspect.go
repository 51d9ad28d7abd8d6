package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
)

// A contentError says that the bytes of the source are not what they should be.
type contentError struct{ err error }

func (e *contentError) Error() string { return e.err.Error() }
func (e *contentError) Unwrap() error { return e.err }

// complete checks that all bytes of one version were read.
func (p *pass) complete(ctx context.Context, key layout.Key, n int64, info layout.Info, sum hash.Hash, body io.Reader) error {
	if n != info.Size && info.Size != key.Kind().MaxBytes() {
		return notYetf("it changed while it was read: %d bytes of %d", n, info.Size)
	}
	if named, ok := key.NameHash(); ok && named == layout.Hash(sum.Sum(nil)) {
		return nil // whatever happened to the file meanwhile
	}
	// A process may write into the file, instead of replacing it.
	if file, ok := body.(interface{ Stat() (fs.FileInfo, error) }); ok {
		now, err := file.Stat()
		if err != nil {
			return err
		}
		if layout.FileVersion(now) != info.ETag {
			if err := p.unchanged(ctx, key, sum); err != nil {
				return err
			}
		}
	}
	return nil
}

// unchanged reads an object once more. On some network file systems the times of an
// open file mean nothing.
func (p *pass) unchanged(ctx context.Context, key layout.Key, sum hash.Hash) error {
	body, _, err := p.run.mirror.Source.Get(ctx, key)
	if err != nil {
		return err
	}
	defer body.Close()
	again := sha256.New()
	if _, err := io.Copy(again, &countedReader{ctx, body, &Progress{}}); err != nil {
		return err
	}
	if !bytes.Equal(again.Sum(nil), sum.Sum(nil)) {
		return notYetf("it changed while it was read")
	}
	return nil
}

// inspect checks what the bytes mean, as far as no other step does.
func (p *pass) inspect(ctx context.Context, t task, sum layout.Hash, body layout.Body) error {
	key := t.Key
	switch key.Kind() {
	case layout.KindNAR:
		return p.inspectNAR(ctx, t, sum, body)
	case layout.KindDebugInfo, layout.KindRealisation, layout.KindCacheInfo, layout.KindPrivate:
	default:
		return nil
	}
	text, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	if err != nil {
		return err
	}
	switch key.Kind() {
	case layout.KindPrivate:
		return p.inspectProvision(key, text)
	case layout.KindRealisation:
		var r layout.Realisation
		if r, err = layout.ParseRealisation(key, text); err == nil {
			return p.needPath(ctx, r.OutPath)
		}
	case layout.KindCacheInfo:
		_, err = layout.ParseCacheInfo(text)
	default:
		_, target, err := layout.ParseDebugLink(key, text)
		if err != nil {
			return nil // one of another shape leads nowhere that is known here, and is copied as it is
		}
		return p.needNAR(ctx, key, []layout.Key{target}, nil)
	}
	if err != nil {
		return &contentError{err}
	}
	return nil
}
