package export

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

// TestNewCacheAt: a place without a cache is refused by its name.
func TestNewCacheAt(t *testing.T) {
	empty := t.TempDir()
	notThere := webtest.Serve(t, webtest.Status(404, ""))
	for location, says := range map[string]string{
		empty:                            "get nix-cache-info: ",
		empty + "/none":                  "no such file or directory",
		notThere.URL:                     "/nix-cache-info: 404 Not Found",
		"http://":                        "no host",
		"https://me:s3cret@[::1":         "not a URL",
		"http://me:s3cret@127.0.0.1:1/x": "GET http://127.0.0.1:1/x/nix-cache-info",
	} {
		_, err := openAt(t, location, httpcache.Options{Attempts: 1})
		webtest.WantError(t, err, says)
	}
	if _, err := os.Stat(empty + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading made a directory: %v", err)
	}
}

func TestCacheResolve(t *testing.T) {
	tree := treetest.NewMem(t)
	p := treetest.Populate(t, tree).Named("lib").Info.Path
	base := string(p)
	absent := "00000000000000000000000000000000"
	eachReader(t, tree, func(t *testing.T, c *Cache) {
		for _, arg := range []string{
			"/nix/store/" + base, "/nix/store/" + base + "/", "/nix/store/" + base + "/lib/../x", base, p.Hash(), "/nix/store/" + p.Hash(),
		} {
			if got, err := c.Resolve(t.Context(), arg); err != nil || got != p {
				t.Errorf("%s: %s, %v", arg, got, err)
			}
		}
		const forms = "want /nix/store/<hash>-<name>, a path inside one, <hash>-<name>, or the 32 characters of a <hash>"
		for arg, says := range map[string]string{
			"":                           forms,
			"lib":                        forms,
			"/nix/store":                 "the cache is for the store directory /nix/store",
			"/nix/store/":                forms,
			"/gnu/store/" + base:         "the cache is for the store directory /nix/store",
			"/nix/store/../etc/passwd":   forms,
			base + "/bin":                forms,
			p.Hash() + ".narinfo":        forms,
			p.Hash() + "-":               forms,
			strings.ToUpper(p.Hash()):    forms,
			absent:                       "the cache has no path of this hash",
			"/nix/store/" + absent + "e": forms,
		} {
			_, err := c.Resolve(t.Context(), arg)
			webtest.WantError(t, err, "resolve", says)
			if got := errors.Is(err, fs.ErrNotExist); got != (arg == absent) {
				t.Errorf("%s: absent is %v", arg, got)
			}
		}
		// It is not asked for: the reader of the path will find out.
		if got, err := c.Resolve(t.Context(), absent+"-x"); err != nil || string(got) != absent+"-x" {
			t.Errorf("%s, %v", got, err)
		}
	})
}
