package fsck_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/signer"
)

func TestTrust(t *testing.T) {
	other, err := signer.Generate("other-1")
	if err != nil {
		t.Fatal(err)
	}
	namesake, err := signer.Generate("test-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		path  string
		sigs  func(*patient, *layout.NarInfo) []string
		quick string
		deep  string
	}{
		{name: "good", path: "lib", sigs: nil},
		{name: "unsigned", path: "lib", sigs: sign(), quick: "untrusted lib", deep: "untrusted lib"},
		{name: "signed by a stranger", path: "lib", sigs: sign(other), quick: "untrusted lib", deep: "untrusted lib"},
		{name: "signed by a namesake", path: "lib", sigs: sign(namesake), quick: "bad-signature lib", deep: "bad-signature lib"},
		{name: "signature of another path", path: "lib", sigs: func(p *patient, _ *layout.NarInfo) []string {
			return p.record("app").Sigs
		}, quick: "bad-signature lib", deep: "bad-signature lib"},
		{name: "a bad one beside a good one", path: "lib", sigs: func(p *patient, n *layout.NarInfo) []string {
			return append(sign(namesake)(p, n), sign(p.key)(p, n)...)
		}},
		{name: "unsigned, an address of an unknown kind", path: "env", sigs: func(_ *patient, n *layout.NarInfo) []string {
			n.CA = "fixed:r:sha3:" + n.NarHash.Nix32()
			return nil
		}, quick: "untrusted env", deep: "untrusted env"},
		{name: "unsigned text", path: "env", sigs: sign()},
		{name: "unsigned source", path: "source", sigs: sign()},
		{name: "unsigned, refers to itself", path: "selfish", sigs: sign()},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			if c.sigs != nil {
				n := p.record(c.path)
				n.Sigs = c.sigs(p, n)
				p.set(p.narInfo(c.path), n.Marshal(layout.DefaultStoreDir))
			}
			for deep, want := range map[bool]string{false: c.quick, true: c.deep} {
				problems, _, errs := p.check(p.Mem, fsck.Options{Deep: deep, Trusted: signer.Trusted{p.key.Public()}})
				got := ""
				if len(problems) > 0 {
					got = problems[0]
				}
				if got != want || len(problems) > 1 || len(errs) > 0 {
					t.Errorf("deep %t: problems %q, errors %v, want %q", deep, problems, errs, want)
				}
			}
		})
	}
}

// sign returns the signatures of keys over a record.
func sign(keys ...signer.SecretKey) func(*patient, *layout.NarInfo) []string {
	return func(p *patient, n *layout.NarInfo) []string {
		unsigned := *n
		unsigned.Sigs = nil
		if err := unsigned.Sign(layout.DefaultStoreDir, keys); err != nil {
			p.t.Fatal(err)
		}
		return unsigned.Sigs
	}
}

// TestUnprovable: an address of a kind that is not computed here is enough for
// the quick check, which takes addresses on trust, and not for the deep one.
func TestUnprovable(t *testing.T) {
	p := newPatient(t)
	n := p.record("twin")
	ca := layout.ContentAddress{Method: layout.HashGit, Algo: "sha1", Digest: make([]byte, 20)}
	path, err := ca.Path(layout.DefaultStoreDir, "tree", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	listing := p.bytes(p.listing("twin"))
	n.Path, n.CA, n.Sigs = path, ca.String(), nil
	p.set(layout.NarInfoKey(path), n.Marshal(layout.DefaultStoreDir))
	p.set(layout.ListingKey(path), listing)
	trusted := signer.Trusted{p.key.Public()}
	if problems, _, _ := p.check(p.Mem, fsck.Options{Trusted: trusted}); len(problems) > 0 {
		t.Errorf("quick: %q", problems)
	}
	if problems, _, _ := p.check(p.Mem, fsck.Options{Trusted: trusted, Deep: true}); !cmp.Equal(problems, []string{"untrusted tree"}) {
		t.Errorf("deep: %q", problems)
	}
	if problems, _, _ := p.check(p.Mem, fsck.Options{Deep: true}); len(problems) > 0 {
		t.Errorf("without trusted keys: %q", problems)
	}
}

func TestProvided(t *testing.T) {
	p := newPatient(t)
	p.remove(p.narInfo("flat"))
	unknown := errors.New("unreachable")
	o := fsck.Options{Provided: func(_ context.Context, s layout.StorePath) (bool, error) { return s == p.path("flat"), unknown }}
	problems, _, errs := p.check(p.Mem, o)
	if len(problems) > 0 || len(errs) == 0 || !errors.Is(errs[0], unknown) {
		t.Errorf("could not tell: problems %q, errors %v", problems, errs)
	}
	unknown = nil
	if err := fsck.Whole(t.Context(), p.Mem, o); err != nil {
		t.Error(err)
	}
}

// TestKinds pins the names: programs read them.
func TestKinds(t *testing.T) {
	want := []string{"no-cache-info", "bad-cache-info", "malformed-key", "bad-narinfo", "wrong-name", "bad-url",
		"missing-nar", "file-size", "file-hash", "missing-reference", "wrong-ca", "bad-signature", "untrusted",
		"missing-listing", "bad-listing", "listing-differs", "bad-debuginfo", "dangling-debuginfo", "bad-realisation",
		"bad-nar", "nar-hash", "nar-size", "bad-pin", "missing-pinned",
		"no-file-hash", "unreferenced-nar", "unreferenced-listing", "dangling-realisation", "withdrawn", "unfinished-file", "foreign-file"}
	var got []string
	for k := fsck.Kind(0); k <= fsck.ForeignFile; k++ {
		got = append(got, k.String())
		if note := k >= fsck.NoFileHash; k.Note() != note {
			t.Errorf("%s: Note = %t", k, k.Note())
		}
		text, err := json.Marshal(fsck.Problem{Kind: k, Key: "nar/x", Detail: "d"})
		if err != nil {
			t.Fatal(err)
		}
		var back fsck.Problem
		if err := json.Unmarshal(text, &back); err != nil || back.Kind != k {
			t.Errorf("%s: reads back as %v, %v", text, back.Kind, err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	p := fsck.Problem{Kind: fsck.MissingNAR, Key: "a.narinfo", Path: "b", Detail: "c"}
	if got := p.String(); got != "missing-nar a.narinfo (b): c" {
		t.Errorf("String = %q", got)
	}
}
