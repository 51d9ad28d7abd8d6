package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/signer"
)

func TestRefusedNarInfos(t *testing.T) {
	s := newSample(t)
	other, err := signer.Generate("other-1")
	if err != nil {
		t.Fatal(err)
	}
	namesake, err := signer.Generate(s.key.Name())
	if err != nil {
		t.Fatal(err)
	}
	hash := layout.Hash{1, 2, 3}
	type edit func(n *layout.NarInfo)
	resign := func(key signer.SecretKey) edit {
		return func(n *layout.NarInfo) {
			n.Sigs = nil
			if err := n.Sign(layout.DefaultStoreDir, []signer.SecretKey{key}); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name string
		path string
		edit edit
		want Reason
	}{
		{"URL out of nar/", "lib", func(n *layout.NarInfo) { n.URL = "lib.nar" }, BadURL},
		{"URL of another host", "lib", func(n *layout.NarInfo) { n.URL = "https://example.org/" + n.URL }, BadURL},
		{"URL with dots", "lib", func(n *layout.NarInfo) { n.URL = "../" + n.URL }, BadURL},
		{"URL of another NAR", "lib", func(n *layout.NarInfo) { n.URL = string(s.nar(t, "app")) }, BadURL},
		{"URL with a query", "lib", func(n *layout.NarInfo) { n.URL += "?x" }, BadURL},
		{"FileHash of another file", "lib", func(n *layout.NarInfo) { n.FileHash = hash }, BadURL},
		{"no such NAR", "lib", func(n *layout.NarInfo) {
			n.FileHash = hash
			n.URL = string(layout.NARKey(hash, ".zst"))
		}, MissingNAR},
		{"another path's NAR", "lib", func(n *layout.NarInfo) {
			n.FileHash, n.FileSize = layout.Hash{}, 0
			n.URL = string(s.nar(t, "app"))
		}, NARDiffers},
		{"FileSize", "lib", func(n *layout.NarInfo) { n.FileSize++ }, NARDiffers},
		{"NarSize", "lib", func(n *layout.NarInfo) { n.NarSize++; n.Sigs = nil }, NARDiffers},
		{"NarSize far too small", "lib", func(n *layout.NarInfo) { n.NarSize = 1; n.Sigs = nil }, NARDiffers},
		{"NarSize beyond the limit", "lib", func(n *layout.NarInfo) { n.NarSize = 65 << 30; n.Sigs = nil }, NARTooLarge},
		{"NarHash", "lib", func(n *layout.NarInfo) { n.NarHash = hash; n.Sigs = nil }, NARDiffers},
		{"Compression", "lib", func(n *layout.NarInfo) { n.Compression = compress.Xz }, NARDiffers},
		{"a reference that is not there", "lib", func(n *layout.NarInfo) {
			n.References = append(n.References, layout.StorePath(strings.Repeat("0", 32)+"-nowhere"))
			slices.Sort(n.References)
			n.Sigs = nil
		}, MissingReference},
		{"CA of other bytes", "source", func(n *layout.NarInfo) {
			n.CA = layout.ContentAddress{Method: layout.HashNAR, Algo: "sha256", Digest: hash[:]}.String()
		}, WrongCA},
		{"CA of another kind", "flat", func(n *layout.NarInfo) { n.CA = "fixed:r" + n.CA[len("fixed"):] }, WrongCA},
		{"CA of an input-addressed path", "twin", func(n *layout.NarInfo) { n.CA = s.narInfo(t, "source").CA }, WrongCA},
		{"CA with references it cannot have", "flat", func(n *layout.NarInfo) { n.References = []layout.StorePath{n.Path}; n.Sigs = nil }, WrongCA},
		{"CA of an unknown kind", "source", func(n *layout.NarInfo) { n.CA = "fixed:r:sha3:" + n.NarHash.Nix32() }, WrongCA},
		{"CA that leads elsewhere, by BLAKE3", "source", func(n *layout.NarInfo) { n.CA = "fixed:r:blake3:" + n.NarHash.Nix32() }, WrongCA},
		{"a signature of another shape", "lib", func(n *layout.NarInfo) { n.Extra = []string{"Sig: hello"} }, BadSignature},
		{"a trusted name, another key", "lib", resign(namesake), BadSignature},
		{"a trusted signature of something else", "lib", func(n *layout.NarInfo) { n.Sigs = s.narInfo(t, "app").Sigs }, BadSignature},
		{"no signature", "lib", func(n *layout.NarInfo) { n.Sigs = nil }, Untrusted},
		{"a signature by a stranger", "lib", resign(other), Untrusted},
	}
	for _, forget := range []bool{false, true} {
		tr := newTrial(t, func(c *Config) {
			c.Trusted, c.RequireSignature = signer.Trusted{s.key.Public()}, true
			if forget {
				c.Memory = 1
			}
		})
		tr.sendNARs(s)
		for _, name := range []string{"builder.sh", "source"} {
			key := layout.NarInfoKey(s.path(name))
			if name != "source" {
				tr.must(key, s.objects[key], true, Created)
			}
		}
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s, forgetful %v", tt.name, forget), func(t *testing.T) {
				n := s.narInfo(t, tt.path)
				tt.edit(n)
				cfg := tr.cfg
				// Signatures get in the way where something else is to be wrong.
				if tt.want != Untrusted && tt.want != BadSignature {
					tr.Inbox.cfg.RequireSignature = false
					if tt.path != "source" && len(n.References) > 0 && tt.want != MissingReference {
						tr.Inbox.cfg.Provided = func(context.Context, layout.StorePath) (bool, error) { return true, nil }
					}
				}
				tr.refused(layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)), true, tt.want)
				tr.Inbox.cfg.RequireSignature, tr.Inbox.cfg.Provided = cfg.RequireSignature, cfg.Provided
			})
		}
		text := s.objects[layout.NarInfoKey(s.path("flat"))]
		key := layout.NarInfoKey(s.path("flat"))
		tr.refused(key, text[:len(text)-1], true, BadNarInfo)
		tr.refused(key, "<html>\n", true, BadNarInfo)
		tr.refused(key, "", true, Empty)
		tr.refused(key, strings.ReplaceAll(text, "/nix/store/", "/gnu/store/"), true, WrongStoreDir)
		tr.refused(layout.NarInfoKey(s.path("lib")), text, true, WrongName)
	}
}

// The same path with other content: the first one stays, as long as it leads
// somewhere.
func TestConflict(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	tr.sendNARs(s)
	first := s.narInfo(t, "twin")
	key := layout.NarInfoKey(first.Path)
	tr.must(key, s.objects[key], true, Created)
	second := *s.narInfo(t, "lib-debug")
	second.Path, second.Sigs = first.Path, nil
	text := string(second.Marshal(layout.DefaultStoreDir))
	tr.refused(key, text, true, Conflict)
	tr.refused(key, text, false, Conflict)

	tr.mem.Damage(s.nar(t, "twin"), func([]byte) []byte { return nil })
	tr.must(key, text, true, Replaced)
	tr.mem.Damage(key, func([]byte) []byte { return []byte("garbage") })
	tr.must(key, text, true, Replaced)
	if diff := contents(t, tr.tree)[key]; diff != text {
		t.Errorf("the record is\n%s", diff)
	}
}

// A second narinfo adds its signatures, and nothing else.
func TestMerge(t *testing.T) {
	s := newSample(t)
	ours, err := signer.Generate("ours-1")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := signer.Generate("theirs-1")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, func(c *Config) { c.Writer.Keys = []signer.SecretKey{ours} })
	tr.sendNARs(s)
	n := s.narInfo(t, "source")
	key := layout.NarInfoKey(n.Path)
	tr.must(key, s.objects[key], true, Created)
	n.Sigs = nil
	if err := n.Sign(layout.DefaultStoreDir, []signer.SecretKey{theirs}); err != nil {
		t.Fatal(err)
	}
	// Another compression of the same NAR: the URL that is there stays.
	n.URL, n.FileHash, n.FileSize, n.Compression = string(layout.NARKey(n.NarHash, "")), n.NarHash, n.NarSize, compress.None
	tr.must(key, string(n.Marshal(layout.DefaultStoreDir)), true, Merged)
	tr.must(key, string(n.Marshal(layout.DefaultStoreDir)), true, Unchanged)
	got, err := layout.ParseNarInfo([]byte(contents(t, tr.tree)[key]), "")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, sig := range got.Sigs {
		name, _ := signer.SignatureName(sig)
		names = append(names, name)
	}
	if !slices.Equal(names, []string{"ours-1", "test-1", "theirs-1"}) || got.URL != string(s.nar(t, "source")) {
		t.Errorf("signed by %q, leads to %s", names, got.URL)
	}
}

// To sign is to vouch: a record whose bytes did not come by gains no signature of
// ours.
func TestMergeDoesNotVouch(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	tr.sendNARs(s)
	key := layout.NarInfoKey(s.path("source"))
	tr.must(key, s.objects[key], true, Created)
	ours, err := signer.Generate("ours-1")
	if err != nil {
		t.Fatal(err)
	}
	tr.cfg.Writer.Keys = []signer.SecretKey{ours}
	tr.restart()
	tr.must(key, s.objects[key], true, Unchanged)
}

// Nix from 2.35 may leave out the file's hash and size; Nix up to 2.34 needs them.
func TestFileHashIsCompleted(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	tr.sendNARs(s)
	n := s.narInfo(t, "flat")
	n.FileHash, n.FileSize = layout.Hash{}, 0
	key := layout.NarInfoKey(n.Path)
	tr.must(key, string(n.Marshal(layout.DefaultStoreDir)), true, Created)
	if got := contents(t, tr.tree)[key]; got != s.objects[key] {
		t.Errorf("the record is\n%s", got)
	}
}

// With signatures required, bytes that prove their address need none.
func TestRequireSignature(t *testing.T) {
	s := newSample(t)
	for _, forget := range []bool{false, true} {
		tr := newTrial(t, func(c *Config) {
			c.RequireSignature = true
			c.Provided = func(context.Context, layout.StorePath) (bool, error) { return true, nil }
			if forget {
				c.Memory = 1
			}
		})
		tr.mem.Provided = func(layout.StorePath) bool { return true }
		tr.sendNARs(s)
		for _, p := range s.paths.Paths {
			n := s.narInfo(t, p.Info.Path.Name())
			n.Sigs = nil
			key, text := layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir))
			if n.CA != "" {
				tr.must(key, text, true, Created)
			} else {
				tr.refused(key, text, true, Untrusted)
			}
		}
		for key, text := range s.objects {
			if key.Kind() == layout.KindRealisation {
				tr.refused(key, text, true, Untrusted)
			}
		}
	}
}

// Addresses by other hashes are proved too, and refuted.
func TestOtherAddresses(t *testing.T) {
	s := newSample(t)
	p := s.paths.Named("flat")
	for _, method := range []string{layout.HashFlat, layout.HashNAR} {
		for _, algo := range []string{"md5", "sha1", "sha512"} {
			for _, right := range []bool{true, false} {
				ca := layout.ContentAddress{Method: method, Algo: algo}
				sum := ca.NewDigest()
				if method == layout.HashNAR {
					sum.Write(p.NAR)
				} else {
					sum.Write([]byte("just bytes\x00\xff\n"))
				}
				if !right {
					sum.Write([]byte("!"))
				}
				ca.Digest = sum.Sum(nil)
				path, err := ca.Path(layout.DefaultStoreDir, "flat", nil, false)
				if err != nil {
					t.Fatal(err)
				}
				tr := newTrial(t, func(c *Config) { c.RequireSignature = true })
				tr.sendNARs(s)
				n := s.narInfo(t, "flat")
				n.Path, n.CA, n.Sigs = path, ca.String(), nil
				text := string(n.Marshal(layout.DefaultStoreDir))
				if right {
					tr.must(layout.NarInfoKey(path), text, true, Created)
				} else {
					tr.refused(layout.NarInfoKey(path), text, true, WrongCA)
				}
			}
		}
	}
}

// TestAddressThatIsNotComputed: an address whose algorithm Nix knows and we do not
// leads to its path all the same, and takes the place of no signature.
func TestAddressThatIsNotComputed(t *testing.T) {
	s := newSample(t)
	ca := layout.ContentAddress{Method: layout.HashNAR, Algo: "blake3", Digest: make([]byte, 32)}
	path, err := ca.Path(layout.DefaultStoreDir, "flat", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	n := s.narInfo(t, "flat")
	n.Path, n.CA, n.Sigs = path, ca.String(), nil
	text := string(n.Marshal(layout.DefaultStoreDir))
	for _, signed := range []bool{true, false} {
		tr := newTrial(t, func(c *Config) { c.RequireSignature = signed })
		tr.sendNARs(s)
		if signed {
			tr.refused(layout.NarInfoKey(path), text, true, Untrusted)
		} else {
			tr.must(layout.NarInfoKey(path), text, true, Created)
		}
	}
}

// TestExtraStays: what a record has that we do not understand is published, and
// stays when the path is sent again without.
func TestExtraStays(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	tr.sendNARs(s)
	key := layout.NarInfoKey(s.path("flat"))
	text := s.objects[key]
	tr.must(key, text+"Future: x: y\n", true, Created)
	n := s.narInfo(t, "flat")
	n.AddSigs(s.narInfo(t, "lib").Sigs...)
	n.Extra = []string{"Later: z"}
	tr.must(key, string(n.Marshal(layout.DefaultStoreDir)), true, Merged)
	have, err := layout.ReadAll(t.Context(), tr.tree, key)
	if err != nil || !strings.Contains(string(have), "\nFuture: x: y\n") || strings.Contains(string(have), "Later") {
		t.Errorf("the record is %q, %v", have, err)
	}
}

func TestProvidedCannotTell(t *testing.T) {
	s := newSample(t)
	down := errors.New("the upstream is down")
	tr := newTrial(t, func(c *Config) {
		c.Provided = func(context.Context, layout.StorePath) (bool, error) { return false, down }
	})
	tr.sendNARs(s)
	key := layout.NarInfoKey(s.path("lib"))
	before := tr.mem.Keys()
	for _, strict := range []bool{true, false} {
		if _, err := tr.send(key, s.objects[key], strict); !errors.Is(err, down) || reasonOf(err) != "" {
			t.Errorf("put: %v, want the upstream's error", err)
		}
	}
	if !slices.Equal(before, tr.mem.Keys()) {
		t.Error("the tree has changed")
	}
}
