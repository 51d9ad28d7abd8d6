package forge

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/httpcache"
)

// A Registry is a tree in a version of a generic package.
type Registry struct {
	*httpcache.PutServer
	loc Location
	api *httpcache.Reader

	// replacing is held by what takes several requests, so that this process sees none
	// of its objects gone between two of them.
	replacing sync.RWMutex

	mu      sync.Mutex
	listed  []layout.Info // the last answer
	listing time.Time     // when it came; zero once something was put or removed
}

var _ layout.Tree = (*Registry)(nil)

// Open makes a tree of a registry. No request is made yet.
func Open(l Location, o httpcache.Options) (*Registry, error) {
	o.Name = nameOf
	files, list := l.below("api/packages"), l.below("api/v1/packages")
	files.User, list.User = l.User, l.User
	put, err := httpcache.OpenPut(files.String(), o)
	if err != nil {
		return nil, err
	}
	o.Name = func(key layout.Key) string { return string(key) }
	api, err := httpcache.Open(list.String(), o)
	if err != nil {
		return nil, err
	}
	return &Registry{PutServer: put, loc: l, api: api}, nil
}

// Traits says that many objects are put cheaper side by side.
func (r *Registry) Traits() layout.Traits { return layout.Traits{} }

// Close gives idle connections back.
func (r *Registry) Close() error { return errors.Join(r.PutServer.Close(), r.api.Close()) }

// maxFiles bounds how many files a registry may list, and maxListing how many bytes
// its answer may have.
const (
	maxFiles   = 5_000_000
	maxListing = 4 << 30
)

// SumOf returns the version that a text would have as the object at key.
func (r *Registry) SumOf(key layout.Key, text []byte) string {
	if key.Kind() == layout.KindNarInfo {
		text = outward(text)
	}
	sum := md5.Sum(text)
	return hex.EncodeToString(sum[:])
}

// Get opens an object. Small ones are read whole.
func (r *Registry) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	if key.Kind() != layout.KindNAR {
		r.replacing.RLock()
		defer r.replacing.RUnlock()
	}
	if text := r.usual(ctx, key); text != nil {
		sum := md5.Sum(text)
		return io.NopCloser(bytes.NewReader(text)), layout.Info{Key: key, Size: int64(len(text)), ETag: hex.EncodeToString(sum[:])}, nil
	}
	return r.get(ctx, key)
}

// usual returns the nix-cache-info if the listing tells by its sum that it is one of those
// which nearly all trees have: a mirror with nothing to do asks for the listing alone.
func (r *Registry) usual(ctx context.Context, key layout.Key) []byte {
	if key != layout.CacheInfoKey {
		return nil
	}
	all, err := r.list(ctx)
	if err != nil {
		return nil // the request for the object tells why
	}
	i := slices.IndexFunc(all, func(info layout.Info) bool { return info.Key == key })
	for _, text := range [][]byte{layout.DefaultCacheInfo().Marshal(), []byte("StoreDir: " + layout.DefaultStoreDir + "\n")} {
		if sum := md5.Sum(text); i >= 0 && all[i].ETag == hex.EncodeToString(sum[:]) {
			return text
		}
	}
	return nil
}

func (r *Registry) get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	body, info, err := r.PutServer.Get(ctx, key)
	if err != nil {
		return nil, info, err
	}
	info.ETag = versionOf(key, info.Size, "")
	if key.Kind() == layout.KindNAR {
		return body, info, nil
	}
	defer body.Close()
	most := key.Kind().MaxBytes()
	text, err := io.ReadAll(io.LimitReader(body, most+1))
	switch {
	case err != nil:
		return nil, info, fmt.Errorf("read %s: %w", key, err)
	case int64(len(text)) > most:
		return nil, info, fmt.Errorf("read %s: %w", key, layout.ErrTooLarge)
	}
	sum := md5.Sum(text)
	info.ETag = hex.EncodeToString(sum[:])
	if key.Kind() == layout.KindNarInfo {
		text = inward(text)
	}
	info.Size = int64(len(text))
	return io.NopCloser(bytes.NewReader(text)), info, nil
}

// Stat describes an object. An object that may change is read: a HEAD does not tell one
// version from another.
func (r *Registry) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	if key.Kind() != layout.KindNAR {
		body, info, err := r.Get(ctx, key)
		if err == nil {
			body.Close()
		}
		return info, err
	}
	return r.describe(ctx, key)
}

func (r *Registry) describe(ctx context.Context, key layout.Key) (layout.Info, error) {
	info, err := r.PutServer.Stat(ctx, key)
	info.ETag = versionOf(key, info.Size, "")
	return info, err
}

// Put stores an object. The registry has no condition for a version: with IfMatch,
// the object is read before.
func (r *Registry) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	if key == layout.RunLeaseKey {
		return fmt.Errorf("put %s: a package registry keeps to no conditions: %w", key, errors.ErrUnsupported)
	}
	if key.Kind() == layout.KindNarInfo {
		text, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
		if err != nil {
			return err
		}
		body = layout.Bytes(outward(text))
	}
	if opts.IfMatch == "" { // a new name is taken in one step
		if err := r.PutServer.Put(ctx, key, body, layout.PutOptions{}); !errors.Is(err, fs.ErrExist) || opts.IfAbsent {
			r.changed()
			return err
		}
	}
	r.replacing.Lock()
	defer r.replacing.Unlock()
	if opts.IfMatch != "" {
		info, err := r.version(ctx, key)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.ETag != opts.IfMatch {
			err = layout.ErrChanged
		}
		if err != nil {
			return fmt.Errorf("put %s: %w", key, err)
		}
	}
	defer r.changed()
	const turns = 5 // in which another process may put the same name
	for range turns {
		err := r.PutServer.Put(ctx, key, body, layout.PutOptions{})
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if same, err := r.has(ctx, key, body); same || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Dying here leaves the object absent: no record leads to one that is wrong.
		if err := r.PutServer.Delete(ctx, key); err != nil {
			return err
		}
	}
	return fmt.Errorf("put %s: %w", key, layout.ErrChanged)
}

// Delete removes an object. The registry forgets a version that has no files left.
func (r *Registry) Delete(ctx context.Context, key layout.Key) error {
	r.replacing.Lock()
	defer r.replacing.Unlock()
	defer r.changed()
	return r.PutServer.Delete(ctx, key)
}

// version is Stat for the holder of replacing.
func (r *Registry) version(ctx context.Context, key layout.Key) (layout.Info, error) {
	if key.Kind() == layout.KindNAR {
		return r.describe(ctx, key)
	}
	body, info, err := r.get(ctx, key)
	if err == nil {
		body.Close()
	}
	return info, err
}

// has reports whether the registry has the bytes of a body already.
func (r *Registry) has(ctx context.Context, key layout.Key, body layout.Body) (bool, error) {
	have, info, err := r.PutServer.Get(ctx, key)
	if err != nil {
		return false, err
	}
	defer have.Close()
	if info.Size >= 0 && info.Size != body.Size() {
		return false, nil
	}
	return layout.EqualBytes(have, io.NewSectionReader(body, 0, body.Size()))
}

// putsAtOnce is how many objects of a group are put at the same time.
const putsAtOnce = 8

// PutBatch puts the objects of a group side by side.
func (r *Registry) PutBatch(ctx context.Context, groups ...[]layout.Object) (taken []layout.Key, err error) {
	return layout.PutSideBySide(ctx, r, putsAtOnce, groups...)
}

// OpenURL opens the NAR that a record leads to, see inward.
func (r *Registry) OpenURL(ctx context.Context, ref string) (io.ReadCloser, layout.Info, error) {
	return r.PutServer.OpenURL(ctx, strings.TrimPrefix(ref, layout.NARFolder))
}

// OpenURLRange opens a part of it.
func (r *Registry) OpenURLRange(ctx context.Context, ref string, size, from, to int64) (io.ReadCloser, error) {
	return r.PutServer.OpenURLRange(ctx, strings.TrimPrefix(ref, layout.NARFolder), size, from, to)
}

// OpenRange opens a part of a NAR; its name says that it is the same one.
func (r *Registry) OpenRange(ctx context.Context, version layout.Info, from, to int64) (io.ReadCloser, error) {
	if version.Key.Kind() == layout.KindNAR {
		version.ETag = ""
		return r.PutServer.OpenRange(ctx, version, from, to)
	}
	body, info, err := r.Get(ctx, version.Key)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if info.ETag != version.ETag {
		return nil, fmt.Errorf("get part of %s: %w", version.Key, layout.ErrChanged)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(text[from:to])), nil
}
