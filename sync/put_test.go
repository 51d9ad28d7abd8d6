package sync

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// putServer takes PUT into a tree in memory. With dav it wants folders made.
func putServer(tree *treetest.Mem, dav bool) http.HandlerFunc {
	var mu sync.Mutex
	folders := map[string]bool{}
	return func(w http.ResponseWriter, r *http.Request) {
		key := layout.Key(strings.TrimPrefix(r.URL.Path, "/"))
		mu.Lock()
		known := !dav || path.Dir(string(key)) == "." || folders[path.Dir(string(key))]
		mu.Unlock()
		switch r.Method {
		case http.MethodPut:
			body, err := io.ReadAll(r.Body)
			if err != nil || int64(len(body)) != r.ContentLength {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			if !known {
				w.WriteHeader(http.StatusConflict)
				return
			}
			if r.Header.Get("Content-Type") != key.ContentType() {
				w.WriteHeader(http.StatusUnsupportedMediaType)
				return
			}
			err = tree.Put(r.Context(), key, layout.Bytes(body), layout.PutOptions{IfAbsent: r.Header.Get("If-None-Match") == "*"})
			if errors.Is(err, fs.ErrExist) {
				w.WriteHeader(http.StatusPreconditionFailed)
				return
			}
			w.WriteHeader(http.StatusCreated)
		case "MKCOL":
			mu.Lock()
			defer mu.Unlock()
			folders[strings.TrimSuffix(string(key), "/")] = true
			w.WriteHeader(http.StatusCreated)
		case http.MethodDelete:
			tree.Delete(r.Context(), key)
		default:
			treeServer(tree)(w, r)
		}
	}
}

func openPut(t *testing.T, url string) *PutServer {
	t.Helper()
	p, err := OpenPut(url, HTTPOptions{Netrc: noCredentials(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	p.sleep = func(context.Context, time.Duration) error { return nil }
	return p
}

func TestPutServer(t *testing.T) {
	for _, dav := range []bool{false, true} {
		tree := treetest.NewMem(t)
		s := serve(t, putServer(tree, dav))
		p := openPut(t, s.URL)
		big := noise(3 << 20)
		sum := layout.Hash(sha256.Sum256(big))
		key := layout.NARKey(sum, ".zst")
		for _, o := range []struct {
			key  layout.Key
			data []byte
		}{{key, big}, {"log/00000000000000000000000000000000-we?ird+x.drv", nil}, {"index.html", []byte("x")}} {
			if err := p.Put(t.Context(), o.key, layout.Bytes(o.data), layout.PutOptions{IfAbsent: true}); err != nil {
				t.Fatal(err)
			}
			got, err := get(t.Context(), tree, o.key)
			if err != nil || !bytes.Equal(got, o.data) {
				t.Errorf("%s: %d bytes, %v", o.key, len(got), err)
			}
			if err := p.Put(t.Context(), o.key, layout.Bytes(o.data), layout.PutOptions{IfAbsent: true}); !errors.Is(err, fs.ErrExist) {
				t.Errorf("again: %v", err)
			}
		}
		if err := p.Delete(t.Context(), key); err != nil {
			t.Error(err)
		}
		if _, err := p.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Delete: %v", err)
		}
		for _, err := range p.List(t.Context(), "") {
			if !errors.Is(err, layout.ErrNotListable) || !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("List: %v", err)
			}
		}
	}
}

func TestPutServerErrors(t *testing.T) {
	tree := treetest.NewMem(nil)
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		says    string
		is      error
	}{
		{"forbidden", status(403, "no"), "403 Forbidden: no", fs.ErrPermission},
		{"no password", status(401, ""), "neither the URL nor netrc", fs.ErrPermission},
		{"not allowed", status(405, ""), "405", fs.ErrPermission},
		{"absent", status(404, ""), "404", nil},
		{"full", status(507, ""), "no room left", nil},
		{"redirected", status(301, "", "Location", "http://127.0.0.1:1/elsewhere"), "it was not stored", nil},
		{"accepted is not stored", status(202, ""), "202", nil},
	} {
		s := serve(t, c.handler)
		err := openPut(t, s.URL).Put(t.Context(), "index.html", layout.Bytes([]byte("x")), layout.PutOptions{})
		if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// What may pass is tried again, with the whole body.
	s := serve(t, inTurn(status(503, ""), cutOff(1, status(200, "abc")), putServer(tree, false)))
	if err := openPut(t, s.URL).Put(t.Context(), "index.html", layout.Bytes([]byte("text")), layout.PutOptions{}); err != nil {
		t.Error(err)
	}
	// A redirect that keeps the method is followed, without the password.
	to := serve(t, putServer(tree, false))
	s = serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to.URL+r.URL.Path, http.StatusTemporaryRedirect)
	})
	p := openPut(t, strings.Replace(s.URL, "://", "://user:s3cret@", 1))
	if err := p.Put(t.Context(), "robots.txt", layout.Bytes([]byte("moved")), layout.PutOptions{}); err != nil {
		t.Error(err)
	}
	if got, _ := get(t.Context(), tree, "robots.txt"); string(got) != "moved" {
		t.Errorf("stored %q", got)
	}
	if s.asked()[0].Header.Get("Authorization") == "" || to.asked()[0].Header.Get("Authorization") != "" {
		t.Error("the password went to the wrong place")
	}
}

// TestMirrorPutServer mirrors to a server that cannot be listed.
func TestMirrorPutServer(t *testing.T) {
	src, dst := treetest.NewMem(t), treetest.NewMem(t)
	treetest.Populate(t, src)
	s := serve(t, putServer(dst, true))
	p := openPut(t, s.URL)
	m := &Mirror{Source: src, Dest: p}
	puts := func() (n int) {
		t.Helper()
		before := len(s.asked())
		if err := m.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, r := range s.asked()[before:] {
			if r.Method == http.MethodPut {
				n++
			}
		}
		return n
	}
	if n := puts(); n < len(src.Keys()) {
		t.Errorf("%d puts", n)
	}
	if diff := cmp.Diff(src.Keys(), dst.Keys()); diff != "" {
		t.Errorf("(-source +destination):\n%s", diff)
	}
	if n := puts(); n > 0 {
		t.Errorf("%d puts with nothing to do", n)
	}
	// The server signs what it is given: that is no difference.
	for _, key := range dst.Keys() {
		if key.Kind() == layout.KindNarInfo {
			dst.Damage(key, func(b []byte) []byte { return append(b, "Sig: server-1:"+strings.Repeat("A", 86)+"==\n"...) })
			break
		}
	}
	if n := puts(); n > 1 {
		t.Errorf("%d puts after the server signed", n)
	}
	m.Delete = true
	if err := m.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be listed") {
		t.Errorf("Delete: %v", err)
	}
}
