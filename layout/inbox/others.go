package inbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	maxCacheInfo = 64 << 10
	maxPage      = 1 << 20
)

// putCacheInfo takes a nix-cache-info if it is for the same store directory.
// Ours stays: every Nix that finds none sends one, and what it sends would put
// this cache before all others. One of ours that no client can read is replaced.
func (b *Inbox) putCacheInfo(ctx context.Context, key layout.Key, u *upload, o Options) (Outcome, error) {
	text, err := u.readAll()
	if err != nil {
		return 0, err
	}
	if len(text) == 0 {
		return 0, errEmpty
	}
	sent, err := layout.ParseCacheInfo(text)
	if err != nil {
		return 0, refuse(BadCacheInfo, "bad nix-cache-info: %v", err).because(err)
	}
	if sent.StoreDir != b.writer.StoreDir {
		return 0, refuse(WrongStoreDir, "wrong store directory: this cache is for %.100s, and you have %.100s", b.writer.StoreDir, sent.StoreDir)
	}
	outcome, err := b.ensureCacheInfo(ctx, key)
	if err != nil {
		return 0, storage(err)
	}
	b.dropNote(key)
	if !o.Strict {
		b.echo(ctx, key, text)
	}
	return outcome, nil
}

// ensureCacheInfo sees to a nix-cache-info that clients can read.
func (b *Inbox) ensureCacheInfo(ctx context.Context, key layout.Key) (Outcome, error) {
	ours := layout.DefaultCacheInfo()
	ours.StoreDir = b.writer.StoreDir
	text, info, err := b.small(ctx, key, maxCacheInfo)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = layout.Init(ctx, b.writer.Tree, ours)
		return Created, err
	}
	if err != nil {
		return 0, err
	}
	if _, err := layout.ParseCacheInfo(text); err == nil {
		return Unchanged, b.sync(ctx, key)
	}
	return Replaced, b.writer.Tree.Put(ctx, key, layout.Bytes(ours.Marshal()), layout.PutOptions{IfMatch: info.ETag})
}

// putPage takes what a person sees in a browser if there is none yet: a page
// cannot be checked, and the one that is there is the operator's.
func (b *Inbox) putPage(ctx context.Context, key layout.Key, u *upload) (Outcome, error) {
	text, err := u.readAll()
	if err != nil {
		return 0, err
	}
	if len(text) == 0 {
		return 0, errEmpty
	}
	err = b.writer.Tree.Put(ctx, key, layout.Bytes(text), layout.PutOptions{IfAbsent: true})
	b.dropNote(key)
	if errors.Is(err, fs.ErrExist) {
		b.echo(ctx, key, text)
		return Unchanged, nil
	}
	return Created, storage(err)
}

// putLog takes a build log, which may be empty, and stand before what was built.
// A name with a question mark gets the shorter name too that clients ask for.
func (b *Inbox) putLog(ctx context.Context, key layout.Key, u *upload) (Outcome, error) {
	body, err := b.keep(u)
	if err != nil {
		return 0, err
	}
	defer body.release()
	keys := []layout.Key{key}
	if drv, err := layout.ParseStorePath(path.Base(string(key))); err == nil {
		keys = layout.LogKeys(drv)
	}
	outcome := Unchanged
	for i, key := range keys {
		changed, err := b.putIfOther(ctx, key, body)
		if err != nil {
			return 0, err
		}
		if i == 0 {
			outcome = changed
		}
		b.dropNote(key)
	}
	return outcome, nil
}

// putIfOther stores an object unless it is there with the same bytes.
func (b *Inbox) putIfOther(ctx context.Context, key layout.Key, body *kept) (Outcome, error) {
	outcome := Replaced
	there, info, err := b.writer.Tree.Get(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		outcome = Created
	case err != nil:
		return 0, err
	default:
		defer there.Close()
		same, err := sameAs(there, info.Size, body)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", key, err)
		}
		if same {
			return Unchanged, b.sync(ctx, key)
		}
	}
	return outcome, storage(b.writer.Tree.Put(ctx, key, copied(body.Body), layout.PutOptions{}))
}

// sameAs reports whether a file of that size has the bytes of body.
func sameAs(file io.Reader, size int64, body layout.Body) (bool, error) {
	if size >= 0 && size != body.Size() {
		return false, nil
	}
	a, b := make([]byte, 32<<10), make([]byte, 32<<10)
	for off := int64(0); ; {
		n, err := io.ReadFull(file, a)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return false, err
		}
		if m, _ := body.ReadAt(b[:n], off); m != n || !bytes.Equal(a[:n], b[:n]) {
			return false, nil
		}
		off += int64(n)
		if err != nil {
			return off == body.Size(), nil
		}
	}
}
