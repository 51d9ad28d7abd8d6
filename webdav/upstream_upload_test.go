package webdav

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/inbox"
)

// A path that an upstream has counts as present to a Nix that uploads, and to no other
// client.
func TestUpstreamAtTheUploadURL(t *testing.T) {
	_, paths := example(t)
	info := paths.Named("app").Info
	record := &layout.NarInfo{PathInfo: info, URL: "nar/x.nar", Compression: compress.None}
	has := fakeUpstream(func(hash string) ([]byte, error) {
		switch hash {
		case info.Path.Hash():
			return record.Marshal(layout.DefaultStoreDir), nil
		case strings.Repeat("1", 32):
			return nil, errors.New("timeout")
		}
		return nil, fs.ErrNotExist
	})
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.Upstream = has })
	key := string(layout.NarInfoKey(info.Path))
	for _, method := range []string{"GET", "HEAD"} {
		for path, want := range map[string]int{
			"/" + key: 404, "/upload/" + key: 200,
			"/upload/" + strings.Repeat("1", 32) + ".narinfo": 404, "/upload/" + strings.Repeat("2", 32) + ".narinfo": 404,
			"/upload/" + strings.Repeat("1", 32) + ".ls": 404,
		} {
			got := r.do(t, method, path, nil, oldNix)
			if got.Status != want {
				t.Errorf("%s %s: %d, want %d", method, path, got.Status, want)
			}
			if method == "GET" && want == 200 {
				if _, err := layout.ParseNarInfo([]byte(got.Body), layout.DefaultStoreDir); err != nil {
					t.Error(err)
				}
			}
		}
	}
	one := newRig(t, func(c *Config, _ *inbox.Config) { c.Upstream, c.UploadPrefix = has, "/" })
	if got := one.do(t, "GET", "/"+key, nil, oldNix); got.Status != 404 {
		t.Errorf("with one URL a reader is told of what is elsewhere: %d", got.Status)
	}
}

type fakeUpstream func(string) ([]byte, error)

func (f fakeUpstream) Has(_ context.Context, hash string) ([]byte, error) { return f(hash) }
