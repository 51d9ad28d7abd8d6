package export

import (
	"errors"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// TestTrust: a run that was told nothing of whom to believe takes only what
// proves itself.
func TestTrust(t *testing.T) {
	key, err := signer.Generate("test-1")
	if err != nil {
		t.Fatal(err)
	}
	from := treetest.NewMem(t)
	paths := treetest.Populate(t, from, key)
	cache, err := NewCache(t.Context(), from, CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pool := compress.NewPool(1)
	defer pool.Close()
	run := func(name string, trust signer.Trust) error {
		to := treetest.NewMem(t)
		r := &Run{Source: cache, Trust: trust, Writer: &layout.Writer{Tree: to, StoreDir: cache.StoreDir(), Pool: pool}}
		plan, err := r.Plan(t.Context(), []layout.StorePath{paths.Named(name).Info.Path})
		if err != nil {
			return err
		}
		return r.Do(t.Context(), plan)
	}
	trusted := signer.Trusted{key.Public()}
	for _, c := range []struct {
		path  string
		trust signer.Trust
		taken bool
	}{
		{"source", signer.Trust{}, true}, // content-addressed
		{"lib", signer.Trust{}, false},
		{"lib", signer.Trust{Keys: trusted}, true},
		{"lib", signer.Trust{All: true}, true},
	} {
		err := run(c.path, c.trust)
		if c.taken != (err == nil) || err != nil && !errors.As(err, new(*UntrustedError)) {
			t.Errorf("%s with %v: %v", c.path, c.trust, err)
		}
	}
}
