package layout_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	gonarinfo "github.com/nix-community/go-nix/pkg/narinfo"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// Records as cache.nixos.org serves them, with its key.
const (
	nixosKey = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="

	netTools = `StorePath: /nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools-1.60_p20170221182432
URL: nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz
Compression: xz
FileHash: sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d
FileSize: 114980
NarHash: sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6
NarSize: 464152
References: 7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27
Deriver: 10dx1q4ivjb115y3h90mipaaz533nr0d-net-tools-1.60_p20170221182432.drv
Sig: cache.nixos.org-1:sn5s/RrqEI+YG6/PjwdbPjcAC7rcta7sJU4mFOawGvJBLsWkyLtBrT2EuFt/LJjWkTZ+ZWOI9NTtjo/woMdvAg==
`
	curl = `StorePath: /nix/store/syd87l2rxw8cbsxmxl853h0r6pdwhwjr-curl-7.82.0-bin
URL: nar/05ra3y72i3qjri7xskf9qj8kb29r6naqy1sqpbs3azi3xcigmj56.nar.xz
Compression: xz
FileHash: sha256:05ra3y72i3qjri7xskf9qj8kb29r6naqy1sqpbs3azi3xcigmj56
FileSize: 68852
NarHash: sha256:1b4sb93wp679q4zx9k1ignby1yna3z7c4c2ri3wphylbc2dwsys0
NarSize: 196040
References: 0jqd0rlxzra1rs38rdxl43yh6rxchgc6-curl-7.82.0 6w8g7njm4mck5dmjxws0z1xnrxvl81xa-glibc-2.34-115 j5jxw3iy7bbz4a57fh9g2xm2gxmyal8h-zlib-1.2.12 yxvjs9drzsphm9pcf42a4byzj1kb9m7k-openssl-1.1.1n
Deriver: 5rwxzi7pal3qhpsyfc16gzkh939q1np6-curl-7.82.0.drv
Sig: cache.nixos.org-1:TsTTb3WGTZKphvYdBHXwo6weVILmTytUjLB+vcX89fOjjRicCHmKA4RCPMVLkj6TMJ4GMX3HPVWRdD1hkeKZBQ==
`
)

func mustParse(t testing.TB, text string) *layout.NarInfo {
	t.Helper()
	n, err := layout.ParseNarInfo([]byte(text), layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRealNarInfos: what cache.nixos.org serves is read, written back byte for
// byte, and its signatures are good.
func TestRealNarInfos(t *testing.T) {
	trusted, err := signer.ParseTrusted(nixosKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{netTools, curl} {
		n := mustParse(t, text)
		if diff := cmp.Diff(text, string(n.Marshal(layout.DefaultStoreDir))); diff != "" {
			t.Errorf("written back (-want +got):\n%s", diff)
		}
		fingerprint := n.Fingerprint(layout.DefaultStoreDir)
		if name, ok := trusted.Verify(fingerprint, n.Sigs); !ok || name != "cache.nixos.org-1" {
			t.Errorf("%s: no good signature", n.Path)
		}
		theirs, err := gonarinfo.Parse(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if fingerprint != theirs.Fingerprint() {
			t.Errorf("fingerprint %s, go-nix makes %s", fingerprint, theirs.Fingerprint())
		}
		shuffled := *n
		shuffled.References = slices.Clone(n.References)
		slices.Reverse(shuffled.References)
		if shuffled.Fingerprint(layout.DefaultStoreDir) != fingerprint {
			t.Error("the fingerprint depends on the order of the references")
		}
		if n.Fingerprint("/gnu/store") == fingerprint {
			t.Error("the fingerprint does not depend on the store directory")
		}
	}
}

// TestNarInfoVariants goes through what writers of narinfos get wrong. What is
// accepted here every Nix must accept: they are asked.
func TestNarInfoVariants(t *testing.T) {
	const base = `StorePath: /nix/store/HASH-med-1.0
URL: nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz
Compression: xz
FileHash: sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d
FileSize: 114980
NarHash: sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73
NarSize: 464152
References: HASH-med-1.0
`
	const sig = "Sig: cache.nixos.org-1:sn5s/RrqEI+YG6/PjwdbPjcAC7rcta7sJU4mFOawGvJBLsWkyLtBrT2EuFt/LJjWkTZ+ZWOI9NTtjo/woMdvAg==\n"
	edit := func(old, new string) string {
		if !strings.Contains(base, old) {
			t.Fatalf("no %q in the record", old)
		}
		return strings.Replace(base, old, new, 1)
	}
	without := func(field string) string {
		var lines []string
		for line := range strings.Lines(base) {
			if !strings.HasPrefix(line, field+":") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	var paths []string
	cache := t.TempDir()
	if err := os.WriteFile(filepath.Join(cache, "nix-cache-info"), []byte("StoreDir: /nix/store\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		name string
		text string
		ok   bool
	}{
		{"plain", base, true},
		{"signed", base + sig, true},
		{"signed twice by one key", base + sig + strings.Replace(sig, "sn5s", "sn5t", 1), true},
		{"no newline at the end", strings.TrimSuffix(base, "\n"), false},
		{"no newline after the deriver", base + "Deriver: HASH-x.drv", false},
		{"CRLF", strings.ReplaceAll(base, "\n", "\r\n"), false},
		{"blank line at the end", base + "\n", false},
		{"blank line in the middle", edit("\nNarHash", "\n\nNarHash"), false},
		{"comment", base + "# hello\n", false},
		{"unknown field", base + "X-Note: a: b\n", true},
		{"unknown field twice", base + "X-Note: a\nX-Note: b\n", true},
		{"long unknown field", base + "X-Note: " + strings.Repeat("x", 10_000) + "\n", true},
		{"System of Nix before 2.10", base + "System: x86_64-linux\n", true},
		{"no FileHash", without("FileHash"), true},
		{"no FileSize", without("FileSize"), true},
		{"no Compression", without("Compression"), true},
		{"empty Compression", edit("Compression: xz", "Compression: "), true},
		{"no StorePath", without("StorePath"), false},
		{"no URL", without("URL"), false},
		{"no NarHash", without("NarHash"), false},
		{"no NarSize", without("NarSize"), false},
		{"NarSize 0", edit("464152", "0"), false},
		{"NarSize with a blank", edit("464152", "464152 "), false},
		{"NarSize with a plus", edit("464152", "+464152"), false}, // Nix takes it
		{"NarSize negative", edit("464152", "-1"), false},
		{"NarSize of 2^63", edit("464152", "9223372036854775808"), false}, // no file is so large
		{"FileSize negative", edit("114980", "-1"), false},
		{"FileSize in words", edit("114980", "many"), false},
		{"FileSize large", edit("114980", "99999999999"), true},
		{"no References", without("References"), false}, // Nix takes it, and writes none such
		{"no References, empty", edit("References: HASH-med-1.0", "References: "), true},
		{"References without the blank", edit("References: HASH-med-1.0", "References:"), false},
		{"References without the blank, then a signature", edit("References: HASH-med-1.0", "References:") + sig, false},
		{"References twice", base + "References: HASH-med-1.0\n", false},
		{"References with full paths", edit("References: ", "References: /nix/store/"), false},
		{"References with blanks around", edit("References: HASH-med-1.0", "References:   HASH-med-1.0  00bgd045z0d4icpbc2yyz4gx48ak44la-x "), true},
		{"References with a tab", edit("References: HASH-med-1.0", "References: HASH-med-1.0\t00bgd045z0d4icpbc2yyz4gx48ak44la-x"), false},
		{"unknown deriver", base + "Deriver: unknown-deriver\n", true},
		{"empty deriver", base + "Deriver: \n", false},
		{"deriver with a full path", base + "Deriver: /nix/store/HASH-x.drv\n", false},
		{"malformed deriver", base + "Deriver: zzz\n", false},
		{"deriver", base + "Deriver: HASH-x.drv\n", true},
		{"signature without a colon", base + "Sig: hello\n", false},
		{"empty signature", base + "Sig: \n", false},
		{"signature not base64", base + "Sig: a-1:!!!\n", false},
		{"short signature", base + "Sig: a-1:aGVsbG8=\n", false}, // Nix takes it, and can verify none such
		{"NarHash in hexadecimal", edit("sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73", "sha256:"+emptyHex), true},
		{"NarHash in base64", edit("sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73", "sha256:"+emptyBase64), true},
		{"NarHash as SRI", edit("sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73", "sha256-"+emptyBase64), true},
		{"NarHash without its algorithm", edit("NarHash: sha256:", "NarHash: "), false},
		{"malformed NarHash", edit("NarHash: sha256:0", "NarHash: sha256:"), false},
		{"NarHash by SHA-512", edit("sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73", "sha512:"+emptyHex+emptyHex), false},
		{"FileHash as SRI", edit("FileHash: sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d", "FileHash: sha256-"+emptyBase64), true},
		{"malformed FileHash", edit("FileHash: sha256:1", "FileHash: sha256:"), false},
		{"empty CA", base + "CA: \n", true},
		{"malformed CA", base + "CA: foo:sha256:x\n", false},
		{"fixed CA", base + "CA: fixed:r:sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73\n", true},
		{"text CA", base + "CA: text:sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73\n", true},
		{"CA twice", strings.Repeat("CA: text:sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73\n", 2), false},
		{"StorePath elsewhere", edit("/nix/store/", "/nix/other/"), false},
		{"StorePath below one", edit("HASH-med-1.0\nURL", "HASH-med-1.0/foo\nURL"), false},
		{"URL twice", base + "URL: nar/x\n", false}, // Nix takes the last
		{"empty URL", edit("URL: nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz", "URL: "), false},
		{"URL with a blank", edit("URL: nar/", "URL: nar/ "), false},
		{"URL with a query", edit(".nar.xz", ".nar.xz?hash=x"), true},
		{"absolute URL", edit("URL: nar", "URL: https://example.org/nar"), true},
		{"tab for the blank", edit("StorePath: ", "StorePath:\t"), false}, // Nix looks at neither
		{"no blank", edit("StorePath: ", "StorePath:"), false},
		{"fields in small letters", strings.ToLower(base), false},
		{"web page", "<!DOCTYPE html>\n<html><body>Log in: here</body></html>\n", false},
		{"empty", "", false},
		{"byte order mark", "\ufeff" + base, false},
		{"blank before the first field", " " + base, false},
		{"NUL", edit("Compression: xz", "Compression: xz\x00"), false},
		{"unknown compression", edit("Compression: xz", "Compression: magic"), false},
		{"too large", base + "X: " + strings.Repeat("x", layout.MaxNarInfo) + "\n", false},
	} {
		hash := fmt.Sprintf("%032d", i)
		text := strings.ReplaceAll(c.text, "HASH", hash)
		n, err := layout.ParseNarInfo([]byte(text), layout.DefaultStoreDir)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v, want ok %t", c.name, err, c.ok)
		}
		if syntax := (*layout.SyntaxError)(nil); err != nil && !errors.As(err, &syntax) {
			t.Errorf("%s: %v is no SyntaxError", c.name, err)
		}
		if err != nil {
			continue
		}
		if back := mustParse(t, string(n.Marshal(layout.DefaultStoreDir))); !cmp.Equal(n, back) {
			t.Errorf("%s: reads back differently:\n%s", c.name, cmp.Diff(n, back))
		}
		if err := os.WriteFile(filepath.Join(cache, hash+".narinfo"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, "/nix/store/"+hash+"-med-1.0")
	}
	for _, nix := range []peers.Nix{peers.Old(t), peers.Newest(t)} {
		args := append([]string{"path-info", "--store", "file://" + cache}, paths...)
		if got := strings.Fields(nix.Output(t, "nix", args...)); len(got) != len(paths) {
			t.Errorf("Nix %s sees %d of %d paths", nix.Version, len(got), len(paths))
		}
	}
}

func TestParseNarInfoStoreDir(t *testing.T) {
	elsewhere := strings.Replace(netTools, "/nix/store", "/gnu/store", 1)
	if _, err := layout.ParseNarInfo([]byte(elsewhere), ""); err != nil {
		t.Errorf("any store directory: %v", err)
	}
	if _, err := layout.ParseNarInfo([]byte(elsewhere), "/nix/store"); err == nil {
		t.Error("a record of another store was accepted")
	}
	for _, dir := range []string{"", "/", "x", "/a/../b", "/nix/store/"} {
		text := strings.Replace(netTools, "/nix/store", dir, 1)
		if n, err := layout.ParseNarInfo([]byte(text), ""); err == nil {
			t.Errorf("store directory %q: accepted as %s", dir, n.Path)
		}
	}
}

// TestAddSigs: order and repetition do not matter, and records do not share.
func TestAddSigs(t *testing.T) {
	a := mustParse(t, netTools)
	b := *a
	b.AddSigs("z-1:x", "a-1:x", "z-1:x")
	b.AddSigs(a.Sigs...)
	if diff := cmp.Diff([]string{"a-1:x", a.Sigs[0], "z-1:x"}, b.Sigs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(a.Sigs) != 1 {
		t.Errorf("the copy's signatures are in the original: %q", a.Sigs)
	}
}

func TestNARKeyOf(t *testing.T) {
	for url, ok := range map[string]bool{
		"nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz":     true,
		"nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz?a=b": false,
		"/nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz":    false,
		"../nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz":  false,
		"nar/../../etc/passwd":                     false,
		"https://example.org/nar/x.nar.xz":         false,
		"nix-cache-info":                           false,
		"00000000000000000000000000000000.narinfo": false,
		".nixstatic/staging/1/2":                   false,
	} {
		n := layout.NarInfo{URL: url}
		if key, err := n.NARKey(); (err == nil) != ok {
			t.Errorf("%s: key %q, %v", url, key, err)
		}
	}
}

func FuzzParseNarInfo(f *testing.F) {
	for _, text := range []string{netTools, curl, netTools + "CA: fixed:r:sha256:" + emptyNix32 + "\n",
		strings.Replace(curl, "sha256:", "sha256-", 1), "StorePath: x\n", ""} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	f.Fuzz(func(t *testing.T, text []byte, any bool) {
		dir := layout.DefaultStoreDir
		if any {
			dir = ""
		}
		n, err := layout.ParseNarInfo(text, dir)
		if err != nil {
			return
		}
		once := n.Marshal(layout.DefaultStoreDir)
		back, err := layout.ParseNarInfo(once, layout.DefaultStoreDir)
		if err != nil {
			t.Fatalf("%q is written as %q: %v", text, once, err)
		}
		if twice := back.Marshal(layout.DefaultStoreDir); !bytes.Equal(once, twice) {
			t.Fatalf("%q, then %q", once, twice)
		}
		if n.Fingerprint("/s") != back.Fingerprint("/s") {
			t.Fatalf("%q: the fingerprint changed", text)
		}
	})
}
