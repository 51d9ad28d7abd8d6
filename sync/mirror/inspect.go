package mirror

import (
	"context"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// A contentError says that the bytes of the source are not what they should be.
type contentError struct{ err error }

func (e *contentError) Error() string { return e.err.Error() }
func (e *contentError) Unwrap() error { return e.err }

// complete checks that all bytes of one version were read.
func complete(key layout.Key, n int64, info layout.Info, sum hash.Hash, body io.Reader) error {
	if n != info.Size && info.Size != key.Kind().MaxBytes() {
		return notYetf("it changed while it was read: %d bytes of %d", n, info.Size)
	}
	var wrong error
	if key.Kind() == layout.KindNAR {
		want, err := key.FileHash()
		if err != nil {
			return &contentError{err}
		}
		got := layout.Hash(sum.Sum(nil))
		if got == want {
			return nil // whatever happened to the file meanwhile
		}
		wrong = &contentError{fmt.Errorf("its bytes hash to %s, which is not its name", got.Nix32())}
	}
	// A process may write into the file, instead of replacing it.
	if file, ok := body.(interface{ Stat() (fs.FileInfo, error) }); ok {
		now, err := file.Stat()
		if err != nil {
			return err
		}
		if layout.FileVersion(now) != info.ETag {
			return notYetf("it changed while it was read")
		}
	}
	return wrong
}

// inspect checks what the bytes mean, as far as no other step does.
func (p *pass) inspect(ctx context.Context, key layout.Key, body layout.Body) error {
	switch key.Kind() {
	case layout.KindListing:
		if body.Size() >= largeListing {
			oneListing.Lock()
			defer oneListing.Unlock()
		}
		if _, err := nar.ParseListing(io.NewSectionReader(body, 0, body.Size()), layout.KindListing.MaxBytes()); err != nil {
			return &contentError{err}
		}
		return nil
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
		var target layout.Key
		if _, target, err = layout.ParseDebugLink(key, text); err == nil {
			return p.needNAR(ctx, key, target)
		}
	}
	if err != nil {
		return &contentError{err}
	}
	return nil
}

// oneListing is held while a large listing is in memory.
var oneListing sync.Mutex
