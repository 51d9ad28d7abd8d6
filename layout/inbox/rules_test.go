package inbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/signer"
)

// sendNARs sends every NAR of the sample.
func (tr *trial) sendNARs(s *sample) {
	tr.tb.Helper()
	for _, key := range s.keys() {
		if key.Kind() == layout.KindNAR {
			tr.must(key, s.objects[key], true, Created)
		}
	}
}

func TestRefusedByName(t *testing.T) {
	tr := newTrial(t, func(c *Config) { c.MaxFile, c.MaxLog = 1000, 2000 })
	hash := strings.Repeat("0", 52)
	path := strings.Repeat("0", 32)
	tests := []struct {
		key    layout.Key
		size   int64
		strict bool
		want   Reason
	}{
		{"nar/x.nar", -1, false, ForeignKey},
		{".DS_Store", 10, false, ForeignKey},
		{".nixstatic/lock", 10, false, ForeignKey},
		{".nixstatic/held/" + layout.Key(path) + ".narinfo", 10, false, ForeignKey},
		{"nar/" + layout.Key(strings.Repeat("z", 52)) + ".nar.xz", 10, false, ForeignKey},
		{"nar/" + layout.Key(hash) + ".nar.lzip", 10, false, BadCompression},
		{"nar/" + layout.Key(hash) + ".nar.xz", 1001, false, TooLarge},
		{"nar/" + layout.Key(hash) + ".nar.xz", 1000, false, ""},
		{"nar/" + layout.Key(hash) + ".nar.xz", 0, true, Empty},
		{"nar/" + layout.Key(hash) + ".nar.xz", 0, false, ""},
		{layout.Key(path) + ".narinfo", layout.MaxNarInfo + 1, false, TooLarge},
		{layout.Key(path) + ".narinfo", 0, true, Empty},
		{layout.Key(path) + ".ls", maxListing + 1, false, TooLarge},
		{layout.Key(path) + ".ls", 0, true, Empty},
		{"log/" + layout.Key(path) + "-x.drv", 0, true, ""},
		{"log/" + layout.Key(path) + "-x.drv", 2001, true, TooLarge},
		{"debuginfo/" + layout.Key(strings.Repeat("0", 40)), maxDebugInfo + 1, true, TooLarge},
		{"nix-cache-info", maxCacheInfo + 1, true, TooLarge},
		{"index.html", maxPage + 1, true, TooLarge},
		{"realisations/sha256:" + layout.Key(strings.Repeat("0", 64)) + "!out.doi", layout.MaxRealisation + 1, true, TooLarge},
	}
	for _, tt := range tests {
		err := tr.Check(t.Context(), tt.key, Options{Strict: tt.strict, Size: tt.size})
		if ReasonOf(err) != tt.want || err != nil && tt.want == "" {
			t.Errorf("check %s of %d bytes: %v, want %q", tt.key, tt.size, err, tt.want)
		}
		if tt.want == "" {
			continue
		}
		_, err = tr.Put(t.Context(), tt.key, iotest.ErrReader(errors.New("the body was read")), Options{Strict: tt.strict, Size: tt.size})
		if ReasonOf(err) != tt.want {
			t.Errorf("put %s of %d bytes: %v, want %q", tt.key, tt.size, err, tt.want)
		}
	}
}

func TestRefusedNARs(t *testing.T) {
	s := newSample(t)
	plain := string(s.paths.Named("app").NAR)
	zst := s.objects[s.nar(t, "app")]
	named := func(body, ext string) layout.Key { return layout.NARKey(sha256.Sum256([]byte(body)), ext) }
	var skippable [1 << 10]byte
	copy(skippable[:], "\x50\x2a\x4d\x18\xff\xff\xff\xff")
	zeros := gzipped(t, "\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1\x00\x00\x00"+strings.Repeat("\x00", 1<<20))
	tests := []struct {
		name string
		body string
		ext  string
		want Reason
	}{
		{"cut off", zst[:len(zst)-1], ".zst", BadCompression},
		{"cut off early", zst[:3], ".zst", BadCompression},
		{"followed by something", zst + "x", ".zst", BadCompression},
		{"a skippable frame that never ends", string(skippable[:]), ".zst", BadCompression},
		{"named for xz", zst, ".xz", BadCompression},
		{"named for none", zst, "", BadCompression},
		{"named for br", zst, ".br", BadCompression},
		{"named for bzip2", zst, ".bz2", BadCompression},
		{"named for lz4", zst, ".lz4", BadCompression},
		{"a web page", "<html>", ".zst", BadCompression},
		{"plain and cut off", plain[:len(plain)-8], "", BadNAR},
		{"plain and cut off in the magic", plain[:5], "", BadNAR},
		{"plain and followed by zeros", plain + strings.Repeat("\x00", 8), "", BadNAR},
		{"gzip and followed", gzipped(t, plain) + "x", "", BadCompression},
		{"gzip of something else", gzipped(t, "hello"), "", BadNAR},
		{"gzip of nothing", gzipped(t, ""), "", BadNAR},
		{"zeros", zeros, "", BadNAR},
	}
	tr := newTrial(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tr.refused(named(tt.body, tt.ext), tt.body, true, tt.want) })
	}
	tr.refused(named(plain, ".zst"), zst, true, BadFile)

	small := newTrial(t, func(c *Config) { c.MaxNarSize = int64(len(plain)) - 1 })
	small.refused(s.nar(t, "app"), zst, true, NARTooLarge)
	exact := newTrial(t, func(c *Config) { c.MaxNarSize, c.MaxFile = int64(len(plain)), int64(len(zst)) })
	exact.must(s.nar(t, "app"), zst, true, Created)
	short := newTrial(t, func(c *Config) { c.MaxFile = int64(len(zst)) - 1 })
	_, err := short.Put(t.Context(), s.nar(t, "app"), strings.NewReader(zst), Options{Size: -1})
	if ReasonOf(err) != TooLarge {
		t.Errorf("a body of unknown size beyond the limit: %v", err)
	}
}

// A bomb: what decompresses to a terabyte is given up at the limit.
func TestBomb(t *testing.T) {
	var file bytes.Buffer
	z, err := gzip.NewWriterLevel(&file, 9)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(256 << 20)
	head := "\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1\x00\x00\x00" + narString("(") + narString("type") + narString("regular") + narString("contents") +
		string([]byte{byte(size), byte(size >> 8), byte(size >> 16), byte(size >> 24), 0, 0, 0, 0})
	io.WriteString(z, head)
	for range size >> 20 {
		z.Write(make([]byte, 1<<20))
	}
	io.WriteString(z, narString(")"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, func(c *Config) { c.MaxNarSize = 1 << 20 })
	tr.refused(layout.NARKey(sha256.Sum256(file.Bytes()), ""), file.String(), true, NARTooLarge)
}

func narString(s string) string {
	return string([]byte{byte(len(s)), 0, 0, 0, 0, 0, 0, 0}) + s + strings.Repeat("\x00", (8-len(s)%8)%8)
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Every compression, by the names that Nix gives it.
func TestCompressions(t *testing.T) {
	s := newSample(t)
	p := s.paths.Named("app")
	pool := compress.NewPool(1)
	defer pool.Close()
	for _, m := range compress.Writable() {
		t.Run(string(m), func(t *testing.T) {
			var file bytes.Buffer
			z, err := pool.NewWriter(t.Context(), &file, m, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := z.Write(p.NAR); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			tr := newTrial(t, func(c *Config) {
				c.Provided = func(_ context.Context, p layout.StorePath) (bool, error) { return true, nil }
			})
			tr.mem.Provided = func(layout.StorePath) bool { return true }
			n := s.narInfo(t, "app")
			n.FileHash, n.FileSize = sha256.Sum256(file.Bytes()), int64(file.Len())
			key := layout.NARKey(n.FileHash, m.Extension())
			n.URL, n.Compression = string(key), m
			tr.must(key, file.String(), true, Created)
			tr.must(layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)), true, Created)
			if err := fsck.Whole(t.Context(), tr.tree, fsck.Options{Deep: true, Provided: tr.mem.Provided}); err != nil {
				t.Error(err)
			}
		})
	}
}

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
		if _, err := tr.send(key, s.objects[key], strict); !errors.Is(err, down) || ReasonOf(err) != "" {
			t.Errorf("put: %v, want the upstream's error", err)
		}
	}
	if !slices.Equal(before, tr.mem.Keys()) {
		t.Error("the tree has changed")
	}
}

// The listing of a path that differs in form alone is published as it was sent.
func TestListings(t *testing.T) {
	s := newSample(t)
	p := s.path("source")
	key, record := layout.ListingKey(p), layout.NarInfoKey(p)
	ours := s.objects[key]
	loose := strings.ReplaceAll(ours, `"executable":false,`, "") + " "
	wrong := strings.ReplaceAll(ours, "README", "README2")
	for _, forget := range []bool{false, true} {
		tr := newTrial(t, func(c *Config) {
			if forget {
				c.Memory = 2048 // room for the listing, not for the notes
			}
		})
		tr.sendNARs(s)
		tr.refused(key, "{}", true, BadListing)
		tr.refused(key, strings.ReplaceAll(ours, `"version":1`, `"version":2`), true, BadListing)
		tr.must(key, wrong, true, Held)
		tr.refused(record, s.objects[record], true, ListingDiffers)
		tr.must(key, loose, true, Held)
		tr.must(record, s.objects[record], true, Created)
		if got := contents(t, tr.tree)[key]; got != loose {
			t.Errorf("the listing is\n%s, not as it was sent", got)
		}
		tr.refused(key, wrong, true, ListingDiffers)
		tr.must(key, ours, true, Replaced)
		tr.must(key, ours, true, Unchanged)
		tr.mem.Damage(key, func([]byte) []byte { return []byte("garbage") })
		tr.must(key, loose, true, Replaced)
		tr.mem.Damage(key, func([]byte) []byte { return nil })
		tr.must(key, loose, true, Created)
		tr.mem.Damage(key, func([]byte) []byte { return []byte(wrong) })
		tr.must(key, ours, true, Replaced)
	}
	if _, err := nar.ParseListing(strings.NewReader(loose), 1<<20); err != nil {
		t.Error(err)
	}
}

func TestDebugInfo(t *testing.T) {
	s := newSample(t)
	id, other := "abcdef0123456789abcdef0123456789abcdef01", "abffff0123456789abcdef0123456789abcdef01"
	none := "0000000000000000000000000000000000000000"
	key := layout.Key("debuginfo/" + id + ".debug")
	archive := s.nar(t, "lib-debug")
	right := s.objects[key]
	absent := layout.DebugLink{ID: none, Member: "lib/debug/.build-id/00/" + none[2:] + ".debug"}
	record := layout.NarInfoKey(s.path("lib-debug"))
	for _, required := range []bool{false, true} {
		tr := newTrial(t, func(c *Config) {
			c.Trusted, c.RequireSignature = signer.Trusted{s.key.Public()}, required
		})
		tr.refused(key, "{", true, BadDebugInfo)
		tr.refused(key, `{"archive":"../index.html","member":"x"}`, true, BadDebugInfo)
		tr.refused(key, strings.ReplaceAll(right, id[2:], other[2:]), true, BadDebugInfo)
		tr.must(absent.Keys()[0], string(absent.Marshal(archive)), true, Held)
		tr.must(key, right+" ", true, Held)
		tr.must(archive, s.objects[archive], true, Created)
		tr.refused(record, s.objects[record], true, BadDebugInfo)
		tr.must(record, s.objects[record], true, Created)
		for _, link := range []layout.Key{"debuginfo/" + layout.Key(id), "debuginfo/" + layout.Key(other), "debuginfo/" + layout.Key(other) + ".debug"} {
			if got := contents(t, tr.tree)[link]; got != s.objects[link] {
				t.Errorf("%s is %q", link, got)
			}
		}
		if got := contents(t, tr.tree)[key]; got != right+" " {
			t.Errorf("the link is %q, not as it was sent", got)
		}
		tr.refused(absent.Keys()[0], string(absent.Marshal(archive)), true, BadDebugInfo)
		tr.must(key, right, true, Replaced)
		tr.must(key, right, true, Unchanged)
		tr.mem.Damage(key, func([]byte) []byte { return nil })
		tr.must(key, right, true, Created)
	}
	// A link that leads nowhere is mended with the next upload of the path; one
	// that leads to another NAR stays.
	tr := newTrial(t, nil)
	gone := layout.NARKey(layout.Hash{9}, ".zst")
	elsewhere := s.nar(t, "source")
	link := layout.DebugLink{ID: id, Member: "lib/debug/.build-id/ab/" + id[2:] + ".debug"}
	tr.sendNARs(s)
	tr.mem.Damage(link.Keys()[0], func([]byte) []byte { return link.Marshal(gone) })
	tr.mem.Damage(link.Keys()[1], func([]byte) []byte { return link.Marshal(elsewhere) })
	tr.must(record, s.objects[record], true, Created)
	got := contents(t, tr.tree)
	if got[link.Keys()[0]] != right || got[link.Keys()[1]] != string(link.Marshal(elsewhere)) {
		t.Errorf("links are %q and %q", got[link.Keys()[0]], got[link.Keys()[1]])
	}
}

func TestLogsAndPages(t *testing.T) {
	tr := newTrial(t, nil)
	hash := strings.Repeat("0", 32)
	key := layout.Key("log/" + hash + "-we?ird.drv")
	short := layout.Key("log/" + hash + "-we")
	tr.must(key, "one", true, Created)
	tr.must(key, "one", true, Unchanged)
	tr.must(key, "two", true, Replaced)
	if got := contents(t, tr.tree); got[key] != "two" || got[short] != "two" {
		t.Errorf("the logs are %q and %q", got[key], got[short])
	}
	tr.must(short, "", true, Replaced)
	tr.must(layout.Key("log/"+hash+"-large.drv"), strings.Repeat("log ", keptInMemory), true, Created)
	tr.must(layout.Key("log/"+hash+"-large?r.drv"), strings.Repeat("log ", keptInMemory), true, Created)

	tr.must("index.html", "mine", false, Created)
	tr.must("index.html", "yours", false, Unchanged)
	if got := contents(t, tr.tree)["index.html"]; got != "mine" {
		t.Errorf("the page is %q", got)
	}
}

func TestCacheInfo(t *testing.T) {
	tr := newTrial(t, nil)
	tr.refused(layout.CacheInfoKey, "<html>", true, BadCacheInfo)
	tr.refused(layout.CacheInfoKey, "StoreDir: /gnu/store\n", true, WrongStoreDir)
	tr.must(layout.CacheInfoKey, "StoreDir: /nix/store\n", true, Unchanged)
	ours := string(layout.DefaultCacheInfo().Marshal())
	if got := contents(t, tr.tree)[layout.CacheInfoKey]; got != ours {
		t.Errorf("it is %q", got)
	}
	tr.mem.Damage(layout.CacheInfoKey, func([]byte) []byte { return nil })
	tr.must(layout.CacheInfoKey, "StoreDir: /nix/store\n", true, Created)
	if got := contents(t, tr.tree)[layout.CacheInfoKey]; got != ours {
		t.Errorf("it is %q", got)
	}
}

func TestRealisations(t *testing.T) {
	s := newSample(t)
	ours, err := signer.Generate("ours-1")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, func(c *Config) {
		c.Trusted = signer.Trusted{s.key.Public()}
		c.Writer.Keys = []signer.SecretKey{ours}
	})
	for key, text := range s.objects {
		if key.Kind() != layout.KindRealisation {
			continue
		}
		tr.refused(key, text[:len(text)-1], true, BadRealisation)
		tr.refused(key, "", true, Empty)
		r, err := layout.ParseRealisation(key, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		render := func(edit func(*layout.Realisation)) string {
			r := r
			edit(&r)
			text, err := realisationText(key, r)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		tr.refused(key, render(func(r *layout.Realisation) { r.OutPath = s.path("lib") }), true, BadSignature)
		unsigned := render(func(r *layout.Realisation) { r.Sigs, r.TraceSigs = nil, nil })
		tr.must(key, unsigned, true, Created)
		tr.must(key, text, true, Merged)
		tr.must(key, text, true, Unchanged)
		tr.must(key, unsigned, true, Unchanged)
		tr.refused(key, render(func(r *layout.Realisation) { r.OutPath, r.Sigs, r.TraceSigs = s.path("lib"), nil, nil }), true, Conflict)
		got, err := layout.ParseRealisation(key, []byte(contents(t, tr.tree)[key]))
		if err != nil || len(got.Sigs)+len(got.TraceSigs) != 2 {
			t.Errorf("%s has the signatures %q and %q, %v", key, got.Sigs, got.TraceSigs, err)
		}
		tr.mem.Damage(key, func([]byte) []byte { return []byte("garbage") })
		tr.must(key, text, true, Replaced)
	}
	// Of one with dependents and one without, as Nix 2.34 writes it, the former
	// stays with the signatures of both.
	r := layout.Realisation{OutPath: s.path("app"), Output: "out", DrvHash: layout.Hash{7}}
	key := layout.RealisationKey(r.ID())
	full := r
	full.Dependents = map[layout.DrvOutput]layout.StorePath{{DrvHash: layout.Hash{8}, Output: "out"}: s.path("lib")}
	for _, r := range []*layout.Realisation{&r, &full} {
		if err := r.Sign(s.key); err != nil {
			t.Fatal(err)
		}
	}
	for _, order := range [][]layout.Realisation{{r, full}, {full, r}} {
		tr := newTrial(t, func(c *Config) { c.Trusted = signer.Trusted{s.key.Public()} })
		for _, r := range order {
			text, err := realisationText(key, r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tr.send(key, string(text), true); err != nil {
				t.Fatal(err)
			}
		}
		want, err := realisationText(key, full)
		if err != nil {
			t.Fatal(err)
		}
		if got := contents(t, tr.tree)[key]; got != string(want) {
			t.Errorf("the realisation is\n%s, want\n%s", got, want)
		}
	}
}

// A body that breaks off, or has another size than announced, changes nothing
// and is the client's trouble.
func TestBrokenBodies(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	before := tr.mem.Keys()
	broken := errors.New("connection reset")
	for key, text := range s.objects {
		half := strings.NewReader(text[:len(text)/2])
		bodies := map[string]struct {
			r    io.Reader
			size int64
		}{
			"reset":     {io.MultiReader(half, iotest.ErrReader(broken)), -1},
			"too short": {strings.NewReader(text), int64(len(text)) + 1},
		}
		if len(text) > 0 {
			bodies["too long"] = struct {
				r    io.Reader
				size int64
			}{strings.NewReader(text), int64(len(text)) - 1}
		}
		for name, body := range bodies {
			_, err := tr.Put(t.Context(), key, body.r, Options{Size: body.size})
			if b := (*BodyError)(nil); !errors.As(err, &b) {
				t.Errorf("%s, %s: %v, want a BodyError", key, name, err)
			}
		}
	}
	if after := tr.mem.Keys(); !slices.Equal(before, after) {
		t.Errorf("the tree has %v", after)
	}
}
