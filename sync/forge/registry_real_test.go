//go:build real

package forge

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/tests/gitea"
)

func open(t *testing.T, s *gitea.Server, name string) *Registry {
	t.Helper()
	l, err := ParseURL(s.Registry(name, "1.0"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(l, httpcache.Options{Token: s.Token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// TestSuite: the registry is a tree as any other.
func TestSuite(t *testing.T) {
	s := gitea.Start(t)
	treetest.Test(t, func(t *testing.T) layout.Tree { return open(t, s, "suite-"+strings.ToLower(rand.Text())) })
}
