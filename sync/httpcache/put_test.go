package httpcache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

func openPut(t *testing.T, url string) *PutServer {
	t.Helper()
	p, err := OpenPut(url, Options{Netrc: webtest.NoCredentials(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	p.again.Sleep = func(context.Context, time.Duration) error { return nil }
	return p
}

func TestPutServer(t *testing.T) {
	for _, dav := range []bool{false, true} {
		tree := treetest.NewMem(t)
		s := webtest.Serve(t, webtest.PutServer(tree, dav))
		p := openPut(t, s.URL)
		big := webtest.Noise(3 << 20)
		sum := layout.Hash(sha256.Sum256(big))
		key := layout.NARKey(sum, ".zst")
		for _, o := range []struct {
			key  layout.Key
			data []byte
		}{{key, big}, {"log/00000000000000000000000000000000-we?ird+x.drv", nil}, {"index.html", []byte("x")}} {
			if err := p.Put(t.Context(), o.key, layout.Bytes(o.data), layout.PutOptions{IfAbsent: true}); err != nil {
				t.Fatal(err)
			}
			got, err := webtest.Get(t.Context(), tree, o.key)
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
		{"forbidden", webtest.Status(403, "no"), "403 Forbidden: no", fs.ErrPermission},
		{"no password", webtest.Status(401, ""), "neither the URL nor netrc", fs.ErrPermission},
		{"not allowed", webtest.Status(405, ""), "405", fs.ErrPermission},
		{"absent", webtest.Status(404, ""), "404", nil},
		{"full", webtest.Status(507, ""), "no room left", nil},
		{"redirected", webtest.Status(301, "", "Location", "http://127.0.0.1:1/elsewhere"), "it was not stored", nil},
		{"accepted is not stored", webtest.Status(202, ""), "202", nil},
	} {
		s := webtest.Serve(t, c.handler)
		err := openPut(t, s.URL).Put(t.Context(), "index.html", layout.Bytes([]byte("x")), layout.PutOptions{})
		if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// A failure that may pass is tried again, with the whole body.
	s := webtest.Serve(t, webtest.InTurn(webtest.Status(503, ""), webtest.CutOff(1, webtest.Status(200, "abc")), webtest.PutServer(tree, false)))
	if err := openPut(t, s.URL).Put(t.Context(), "index.html", layout.Bytes([]byte("text")), layout.PutOptions{}); err != nil {
		t.Error(err)
	}
	// A redirect that keeps the method is followed, without the password.
	to := webtest.Serve(t, webtest.PutServer(tree, false))
	s = webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to.URL+r.URL.Path, http.StatusTemporaryRedirect)
	})
	p := openPut(t, strings.Replace(s.URL, "://", "://user:s3cret@", 1))
	if err := p.Put(t.Context(), "robots.txt", layout.Bytes([]byte("moved")), layout.PutOptions{}); err != nil {
		t.Error(err)
	}
	if got, _ := webtest.Get(t.Context(), tree, "robots.txt"); string(got) != "moved" {
		t.Errorf("stored %q", got)
	}
	if s.Asked()[0].Header.Get("Authorization") == "" || to.Asked()[0].Header.Get("Authorization") != "" {
		t.Error("the password went to the wrong place")
	}
}
