package layout_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	gonarinfo "github.com/nix-community/go-nix/pkg/narinfo"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
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
