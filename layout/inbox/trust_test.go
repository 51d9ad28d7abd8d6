package inbox

import (
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

// The word of an upstream is taken for what was fetched from there. A client that shows it
// may upload nothing by it.
func TestVouchedForOneObject(t *testing.T) {
	s := newSample(t)
	builder, err := signer.Generate("builder-1")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, func(c *Config) {
		c.RequireSignature, c.Trusted, c.Known = true, signer.Trusted{builder.Public()}, signer.Trusted{s.key.Public()}
	})
	tr.sendNARs(s)
	for _, key := range s.keys() {
		kind := key.Kind()
		record := kind == layout.KindNarInfo && !strings.Contains(s.objects[key], "\nCA: ")
		if !record && kind != layout.KindRealisation {
			continue
		}
		tr.refused(key, s.objects[key], true, Untrusted)
		text := s.objects[key]
		if record {
			tr.refused(key, edits["signature"](text), true, BadSignature)
		}
		_, err := tr.Put(t.Context(), key, strings.NewReader(text), Options{Strict: true, Size: int64(len(text)), Vouched: signer.Trusted{s.key.Public()}})
		if reason := reasonOf(err); err != nil && reason != MissingReference {
			t.Errorf("put %s, vouched for: %v", key, err)
		}
	}
}
