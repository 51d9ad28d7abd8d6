package fsck_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// A patient is a whole tree that a test damages.
type patient struct {
	t *testing.T
	*treetest.Mem
	closure *treetest.Paths
	key     signer.SecretKey
}

const (
	realisationKey layout.Key = "realisations/sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef!out.doi"
	debugKey       layout.Key = "debuginfo/abcdef0123456789abcdef0123456789abcdef01.debug"
	uuidKey        layout.Key = "nar/f47ac10b-58cc-4372-a567-0e02b2c3d479.nar.zst"
)

func newPatient(t *testing.T) *patient {
	t.Helper()
	key, err := signer.Generate("test-1")
	if err != nil {
		t.Fatal(err)
	}
	p := &patient{t: t, Mem: treetest.NewMem(t), key: key}
	p.closure = treetest.Populate(t, p.Mem, key)
	p.set("index.html", []byte("<p>hello"))
	p.set(layout.LogKey(p.path("app")), nil)
	p.set(realisationKey, fmt.Appendf(nil, `{"dependentRealisations":{},"id":%q,"outPath":%q,"signatures":[]}`,
		strings.TrimSuffix(strings.TrimPrefix(string(realisationKey), "realisations/"), ".doi"), p.path("app")))
	return p
}

func (p *patient) path(name string) layout.StorePath { return p.closure.Named(name).Info.Path }

func (p *patient) narInfo(name string) layout.Key { return layout.NarInfoKey(p.path(name)) }
func (p *patient) listing(name string) layout.Key { return layout.ListingKey(p.path(name)) }
func (p *patient) nar(name string) layout.Key     { return layout.Key(p.record(name).URL) }

func (p *patient) set(key layout.Key, data []byte) {
	if data == nil {
		data = []byte{}
	}
	p.Damage(key, func([]byte) []byte { return data })
}

func (p *patient) remove(key layout.Key) { p.Damage(key, func([]byte) []byte { return nil }) }

func (p *patient) bytes(key layout.Key) []byte {
	p.t.Helper()
	data, err := layout.ReadAll(p.t.Context(), p.Mem, key)
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

func (p *patient) record(name string) *layout.NarInfo {
	p.t.Helper()
	n, err := layout.ParseNarInfo(p.bytes(p.narInfo(name)), "")
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// edit changes a record and signs it anew.
func (p *patient) edit(name string, change func(*layout.NarInfo)) {
	p.t.Helper()
	n := p.record(name)
	key := p.narInfo(name)
	change(n)
	n.Sigs = nil
	if err := n.Sign(layout.DefaultStoreDir, []signer.SecretKey{p.key}); err != nil {
		p.t.Fatal(err)
	}
	p.set(key, n.Marshal(layout.DefaultStoreDir))
}

// rename calls the NAR of a record otherwise, without a FileHash if bare.
func (p *patient) rename(name string, key layout.Key, bare bool) {
	p.t.Helper()
	old := p.nar(name)
	p.set(key, p.bytes(old))
	p.edit(name, func(n *layout.NarInfo) {
		if n.URL = string(key); bare {
			n.FileHash, n.FileSize = layout.Hash{}, 0
		}
	})
	p.remove(old)
}

func (p *patient) narHash(name string) layout.Hash { return p.record(name).NarHash }

// store puts a NAR file under its own name and leads the record there.
func (p *patient) store(name string, file []byte, method compress.Method) {
	p.t.Helper()
	old := p.nar(name)
	sum := layout.Hash(sha256.Sum256(file))
	key := layout.NARKey(sum, method.Extension())
	p.set(key, file)
	p.edit(name, func(n *layout.NarInfo) {
		n.URL, n.Compression, n.FileHash, n.FileSize = string(key), method, sum, int64(len(file))
	})
	p.remove(old)
}

// check returns what fsck finds, as "kind subject" with the path's name or the
// key for a subject.
func (p *patient) check(tree layout.Tree, o fsck.Options) (problems, notes []string, errs []error) {
	p.t.Helper()
	for f, err := range fsck.Check(p.t.Context(), tree, o) {
		subject := string(f.Key)
		if f.Path != "" {
			subject = f.Path.Name()
		}
		text := f.Kind.String() + " " + subject
		switch {
		case err != nil:
			errs = append(errs, err)
		case f.Kind.Note():
			notes = append(notes, text)
		default:
			problems = append(problems, text)
		}
	}
	return problems, notes, errs
}

func TestWholeTree(t *testing.T) {
	p := newPatient(t)
	for _, o := range []fsck.Options{{}, {Deep: true}, {Deep: true, Jobs: 1, Trusted: signer.Trusted{p.key.Public()}}} {
		var progress fsck.Progress
		o.Progress = &progress
		problems, notes, errs := p.check(p.Mem, o)
		if len(problems)+len(notes)+len(errs) > 0 {
			t.Errorf("deep %t: problems %q, notes %q, errors %v", o.Deep, problems, notes, errs)
		}
		if err := fsck.Whole(t.Context(), p.Mem, o); err != nil {
			t.Errorf("Whole: %v", err)
		}
	}
}

// TestReadsOnly: a check lists twice, and reads each object no more often than
// it says.
func TestReadsOnly(t *testing.T) {
	p := newPatient(t)
	p.Counts()
	p.check(p.Mem, fsck.Options{})
	// nix-cache-info; a narinfo and a listing of each of 9 paths; 4 links; 1 realisation.
	if diff := cmp.Diff(treetest.Counts{List: 5, Get: 1 + 9*2 + 4 + 1}, p.Counts()); diff != "" {
		t.Errorf("quick check (-want +got):\n%s", diff)
	}
	p.check(p.Mem, fsck.Options{Deep: true})
	// Each of 8 NARs once, though two paths share one; the narinfos and listings
	// once more, and the links.
	if diff := cmp.Diff(treetest.Counts{List: 5, Get: 1 + 9*2 + 4 + 1 + 8 + 9*2 + 4}, p.Counts()); diff != "" {
		t.Errorf("deep check (-want +got):\n%s", diff)
	}
}

func narKey(text string) layout.Key { return layout.NARKey(sha256.Sum256([]byte(text)), "") }

func compressed(t *testing.T, m compress.Method, data []byte) []byte {
	t.Helper()
	pool := compress.NewPool(1)
	defer pool.Close()
	var b bytes.Buffer
	w, err := pool.NewWriter(t.Context(), &b, m, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
