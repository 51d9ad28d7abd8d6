package inbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/nixstatic/nixstatic/layout"
)

// putCacheInfo takes a nix-cache-info if it is for the same store directory. Ours
// stays: every Nix that finds none sends one, and what it sends would put this
// cache before all others. An unreadable one of ours is replaced.
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
	b.dropNote(ctx, key)
	if !o.Strict {
		b.echo(ctx, key, keepBytes(text))
	}
	return outcome, nil
}

// ensureCacheInfo sees to a nix-cache-info that clients can read.
func (b *Inbox) ensureCacheInfo(ctx context.Context, key layout.Key) (Outcome, error) {
	ours := layout.DefaultCacheInfo()
	ours.StoreDir = b.writer.StoreDir
	text, info, err := layout.ReadVersion(ctx, b.writer.Tree, key) // no text if there is too much
	if errors.Is(err, fs.ErrNotExist) {
		_, err = layout.Init(ctx, b.writer.Tree, ours)
		return Created, err
	}
	if err != nil && !errors.Is(err, layout.ErrTooLarge) {
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
	body, err := b.keep(u)
	if err != nil {
		return 0, err
	}
	defer body.release()
	if body.Size() == 0 {
		return 0, errEmpty
	}
	err = b.writer.Tree.Put(ctx, key, copied(body.Body), layout.PutOptions{IfAbsent: true})
	b.dropNote(ctx, key)
	if errors.Is(err, fs.ErrExist) {
		b.echo(ctx, key, body)
		return Unchanged, nil
	}
	return Created, storage(err)
}

// putLog takes a build log, which may be empty, and stand before what was built.
// A log that is there stays, unless it is empty. A name with a question mark gets
// the shorter name too that clients ask for, if no other log has that.
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
	var outcome Outcome
	err = b.relying(ctx, func() (err error) {
		outcome, err = b.putIfFirst(ctx, key, body)
		return err
	}, keys...)
	if err != nil {
		return 0, err
	}
	b.dropNote(ctx, key)
	for _, shorter := range keys {
		if shorter == key {
			continue
		}
		if _, err := b.putIfFirst(ctx, shorter, body); err != nil && reasonOf(err) != Conflict {
			return 0, err
		}
		b.dropNote(ctx, shorter)
	}
	return outcome, nil
}

// putIfFirst stores an object unless another one is there that has any bytes.
func (b *Inbox) putIfFirst(ctx context.Context, key layout.Key, body *kept) (Outcome, error) {
	for range 100 {
		outcome, opts := Created, layout.PutOptions{IfAbsent: true}
		same, err := layout.SameBytes(ctx, b.writer.Tree, key, body)
		if err == nil && same {
			return Unchanged, b.sync(ctx, key)
		}
		if err == nil {
			var have layout.Info
			have, err = b.writer.Tree.Stat(ctx, key)
			if err == nil && have.Size != 0 { // -1 is not known
				return 0, refuse(Conflict, "conflict: this cache has another %.200s, which stays", key)
			}
			outcome, opts = Replaced, layout.PutOptions{IfMatch: have.ETag}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		err = b.writer.Tree.Put(ctx, key, copied(body.Body), opts)
		if !errors.Is(err, fs.ErrExist) && !errors.Is(err, layout.ErrChanged) {
			return outcome, storage(err)
		}
	}
	return 0, fmt.Errorf("put %s: %w a hundred times in a row", key, layout.ErrChanged)
}
