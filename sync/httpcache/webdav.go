package httpcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// A WebDAV is a binary cache behind a web server that tells what it has: one
// that answers PROPFIND (RFC 4918, 9.1), as our own server, Apache with mod_dav
// and rclone serve webdav do.
//
// The answer about one folder is in memory while that is listed, some 150 bytes
// a file.
type WebDAV struct{ *Reader }

var (
	_ layout.Lister    = (*WebDAV)(nil)
	_ layout.TopLister = (*WebDAV)(nil)
)

// Traits says that one folder can be listed without the others.
func (d *WebDAV) Traits() layout.Traits { return layout.Traits{Folders: true, Encoded: true} }

// maxFolders is how many folders lie in each other below a cache: realisations
// have two.
const maxFolders = 4

// OpenWebDAV opens the cache at rawURL, see Open, and asks whether it can be
// listed. The error is layout.ErrNotListable if it cannot.
func OpenWebDAV(ctx context.Context, rawURL string, o Options) (*WebDAV, error) {
	h, err := Open(rawURL, o)
	if err != nil {
		return nil, err
	}
	d := &WebDAV{h}
	if _, err := d.ask(ctx, "", "0"); err != nil {
		defer h.Close()
		var closed *netx.NoAnswer
		if errors.As(err, &closed) && h.base.Scheme == "http" && !netx.IsTLS(err) {
			// A Go server that speaks HTTPS tells that only if it is asked with a method
			// of HTTP itself.
			if _, other := layout.ReadCacheInfo(ctx, h); errors.Is(other, ErrHTTPS) {
				return nil, other
			}
		}
		if !errors.Is(err, ErrHTTPS) && notListable(err) || errors.Is(err, errNoMultistatus) {
			err = fmt.Errorf("list %s: %w (%v)", d.URL(), layout.ErrNotListable, err)
		}
		return nil, err
	}
	return d, nil
}

// notListable reports whether an answer means that the server, or this place of
// it, knows nothing of WebDAV.
func notListable(err error) bool {
	return isStatus(err, http.StatusOK, http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusGone,
		http.StatusMethodNotAllowed, http.StatusNotImplemented)
}

// List asks for one folder after the other.
func (d *WebDAV) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		folder := prefix[:strings.LastIndexByte(prefix, '/')+1]
		if _, err := layout.ParseKey(strings.TrimSuffix(folder, "/")); folder == "" || err == nil {
			d.walk(ctx, folder, prefix, yield)
		}
	}
}

// ListTop asks for the topmost folder alone.
func (d *WebDAV) ListTop(ctx context.Context) iter.Seq2[layout.TopEntry, error] {
	return func(yield func(layout.TopEntry, error) bool) {
		entries, err := d.folder(ctx, "")
		if err != nil {
			yield(layout.TopEntry{}, err)
			return
		}
		for _, e := range entries {
			if e.Folder != layout.PrivatePrefix && !yield(e, nil) {
				return
			}
		}
	}
}

// walk yields what is below a folder. At the top it goes into the folders of a
// cache alone: there may be a whole web site beside it.
func (d *WebDAV) walk(ctx context.Context, folder, prefix string, yield func(layout.Info, error) bool) bool {
	entries, err := d.folder(ctx, folder)
	if err != nil {
		yield(layout.Info{}, err)
		return false
	}
	for _, e := range entries {
		switch name := e.Folder + string(e.Key); {
		case !strings.HasPrefix(name, prefix):
		case e.Folder == "":
			if !yield(e.Info, nil) {
				return false
			}
		case folder == "" && !layout.IsPublicFolder(name):
		case strings.Count(name, "/") > maxFolders:
		default:
			if !d.walk(ctx, name, prefix, yield) {
				return false
			}
		}
	}
	return true
}

// folder returns what is in a folder, in the order of whole keys. An absent
// folder is empty; a folder that may not be listed is an error (I5).
func (d *WebDAV) folder(ctx context.Context, folder string) ([]layout.TopEntry, error) {
	entries, err := d.ask(ctx, folder, "1")
	if folder != "" && isStatus(err, http.StatusNotFound, http.StatusGone) {
		return nil, nil
	}
	// Web servers are told to keep the private folder to themselves. Its files only add
	// proofs, and a mirror withholds a path that lacks one.
	if strings.HasPrefix(folder, layout.PrivatePrefix) && isStatus(err, http.StatusForbidden) {
		return nil, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New(err.Error()) // that it may not be listed does not mean that nothing is there
	}
	slices.SortFunc(entries, func(a, b layout.TopEntry) int {
		return cmp.Compare(a.Folder+string(a.Key), b.Folder+string(b.Key))
	})
	return entries, err
}

// ask makes a PROPFIND: of a folder ("0"), or of what is in it ("1").
func (d *WebDAV) ask(ctx context.Context, folder, depth string) (entries []layout.TopEntry, err error) {
	r := request{method: "PROPFIND", url: d.keyURL(layout.Key(folder)), accept: "gzip", depth: depth}
	err = d.retry(ctx, r, func() error {
		entries = nil
		resp, err := d.once(ctx, r)
		if err != nil {
			return err
		}
		body, err := netx.Decode(resp, resp.header())
		if err != nil {
			return errors.Join(r.error(err), resp.Close())
		}
		defer body.Close()
		for e, err := range parseMultistatus(body, r.url.Path, folder) {
			if err != nil {
				return r.error(err)
			}
			if entries = append(entries, e); len(entries) > maxEntries {
				return r.error(fmt.Errorf("more than %d files in one folder", maxEntries))
			}
		}
		return nil
	})
	return entries, err
}
