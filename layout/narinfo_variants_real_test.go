//go:build real

package layout_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/peers"
)

const (
	variant = `StorePath: /nix/store/HASH-med-1.0
URL: nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz
Compression: xz
FileHash: sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d
FileSize: 114980
NarHash: sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73
NarSize: 464152
References: HASH-med-1.0
`
	variantSig = "Sig: cache.nixos.org-1:sn5s/RrqEI+YG6/PjwdbPjcAC7rcta7sJU4mFOawGvJBLsWkyLtBrT2EuFt/LJjWkTZ+ZWOI9NTtjo/woMdvAg==\n"
	variantX   = "00bgd045z0d4icpbc2yyz4gx48ak44la-x"
)

// Which versions of Nix take a record.
const (
	every    = "2.8 2.26 2.34"
	none     = ""
	until233 = "2.8 2.26"
	only28   = "2.8"
	from226  = "2.26 2.34"
)

// A narInfoVariant is a record as some writer may make it.
type narInfoVariant struct {
	name string
	text string
	ours bool   // we take it
	nix  string // the versions of Nix that do
	why  string // where we and Nix differ
}

func narInfoVariants(t *testing.T) []narInfoVariant {
	edit := func(old, new string) string {
		t.Helper()
		if !strings.Contains(variant, old) {
			t.Fatalf("no %q in the record", old)
		}
		return strings.Replace(variant, old, new, 1)
	}
	without := func(fields ...string) string {
		var b strings.Builder
		for line := range strings.Lines(variant) {
			if field, _, _ := strings.Cut(line, ":"); !slices.Contains(fields, field) {
				b.WriteString(line)
			}
		}
		return b.String()
	}
	reversed := slices.Collect(strings.Lines(variant))
	slices.Reverse(reversed)
	narHash := func(hash string) string { return edit("NarHash: sha256:"+emptyNix32, "NarHash: "+hash) }
	fileHash := func(hash string) string {
		return edit("FileHash: sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d", "FileHash: "+hash)
	}
	references := func(text string) string { return edit("References: HASH-med-1.0", text) }
	url := func(text string) string {
		return edit("nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz", text)
	}
	const (
		ignored   = "it may be ignored: a signature that cannot be verified proves nothing"
		address   = "it may be ignored: an address of an unknown kind proves nothing"
		noNAR     = "Nix takes the record, and cannot read its NAR"
		noHash    = "Nix takes the record, and can neither verify nor import the path: both take SHA-256 alone"
		otherHash = "it may be ignored: no Nix compares it"
	)
	return []narInfoVariant{
		{"plain", variant, true, every, ""},
		{"what Nix requires alone", without("Compression", "FileHash", "FileSize", "References"), true, every, ""},
		{"in the opposite order", strings.Join(reversed, ""), true, every, ""},
		{"signed", variant + variantSig, true, every, ""},
		{"signed twice by one key", variant + variantSig + strings.Replace(variantSig, "sn5s", "sn5t", 1), true, every, ""},

		{"no StorePath", without("StorePath"), false, none, ""},
		{"StorePath elsewhere", edit("/nix/store/", "/nix/other/"), false, none, ""},
		{"StorePath below one", edit("HASH-med-1.0\nURL", "HASH-med-1.0/foo\nURL"), false, none, ""},
		{"StorePath with slashes", edit("/nix/store/HASH-med-1.0\n", "/nix//store/HASH-med-1.0/\n"), true, every, ""},
		{"StorePath with dots", edit("/nix/store/", "/nix/x/../store/./"), true, every, ""},
		{"StorePath with a blank", edit("HASH-med-1.0\n", "HASH-med-1.0 \n"), false, none, ""},
		{"StorePath without its directory", edit("/nix/store/", ""), false, none, ""},
		{"StorePath twice", "StorePath: /nix/store/" + variantX + "\n" + variant, true, every, ""},

		{"no URL", without("URL"), false, none, ""},
		{"empty URL", url(""), false, none, ""},
		{"URL twice", variant + "URL: nar/x\n", true, every, ""},
		{"URL with a blank", url("nar/a b.nar"), true, every, ""},
		{"URL with a query", url("nar/x.nar?hash=y"), true, every, ""},
		{"URL with a slash", url("/nar/x.nar"), true, every, ""},
		{"URL with dots", url("../x/nar/x.nar"), true, every, ""},
		{"URL with escapes", url("nar/%61.nar"), true, every, ""},
		{"absolute URL", url("https://example.org/nar/x.nar"), true, every, ""},
		{"URL with a carriage return", url("nar/x.nar\r"), true, every, ""},

		{"no Compression", without("Compression"), true, every, ""},
		{"empty Compression", edit("Compression: xz", "Compression: "), true, every, ""},
		{"Compression twice", variant + "Compression: zstd\n", true, every, ""},
		{"Compression that only Nix reads", edit("Compression: xz", "Compression: lzip"), true, every, ""},
		{"unknown Compression", edit("Compression: xz", "Compression: magic"), false, every, noNAR},
		{"Compression in capitals", edit("Compression: xz", "Compression: XZ"), false, every, noNAR},
		{"Compression with a carriage return", edit("Compression: xz", "Compression: xz\r"), false, every, noNAR},
		{"Compression with a NUL", edit("Compression: xz", "Compression: xz\x00"), false, every, noNAR},

		{"no FileHash", without("FileHash"), true, every, ""},
		{"empty FileHash", fileHash(""), false, none, ""},
		{"FileHash in hexadecimal", fileHash("sha256:" + emptyHex), true, every, ""},
		{"FileHash as SRI", fileHash("sha256-" + emptyBase64), true, every, ""},
		{"FileHash by SHA-512", fileHash("sha512:" + emptyHex + emptyHex), true, every, ""},
		{"FileHash by BLAKE3", fileHash("blake3:" + emptyNix32), true, none, otherHash},
		{"FileHash without its algorithm", fileHash(emptyNix32), false, none, ""},
		{"malformed FileHash", fileHash("sha256:" + emptyNix32[1:]), false, none, ""},
		{"no FileSize", without("FileSize"), true, every, ""},
		{"empty FileSize", edit("114980", ""), false, none, ""},
		{"FileSize 0", edit("114980", "0"), true, every, ""},
		{"FileSize negative", edit("114980", "-1"), false, none, ""},
		{"FileSize in words", edit("114980", "many"), false, none, ""},
		{"FileSize large", edit("114980", "99999999999"), true, every, ""},
		{"FileSize of 2^63", edit("114980", "9223372036854775808"), true, every, ""},
		{"FileSize of 2^64", edit("114980", "18446744073709551616"), false, none, ""},

		{"no NarHash", without("NarHash"), false, none, ""},
		{"NarHash in hexadecimal", narHash("sha256:" + emptyHex), true, every, ""},
		{"NarHash in capital hexadecimal", narHash("sha256:" + strings.ToUpper(emptyHex)), true, every, ""},
		{"NarHash in base64", narHash("sha256:" + emptyBase64), true, every, ""},
		{"NarHash in base64 without padding", narHash("sha256:" + strings.TrimSuffix(emptyBase64, "=")), false, none, ""},
		{"NarHash in base64 of 33 bytes", narHash("sha256:" + strings.TrimSuffix(emptyBase64, "=") + "A"), false, none, ""},
		{"NarHash as SRI of 33 bytes", narHash("sha256-" + strings.TrimSuffix(emptyBase64, "=") + "A"), false, none, ""},
		{"NarHash as SRI", narHash("sha256-" + emptyBase64), true, every, ""},
		{"NarHash as SRI without padding", narHash("sha256-" + strings.TrimSuffix(emptyBase64, "=")), true, every, ""},
		{"NarHash as SRI with options", narHash("sha256-" + emptyBase64 + "?x"), true, every, ""},
		{"NarHash as SRI in hexadecimal", narHash("sha256-" + emptyHex), false, none, ""},
		{"NarHash without its algorithm", narHash(emptyNix32), false, none, ""},
		{"malformed NarHash", narHash("sha256:" + emptyNix32[1:]), false, none, ""},
		{"NarHash of more than 256 bits", narHash("sha256:z" + emptyNix32[1:]), false, none, ""},
		{"NarHash with a blank", narHash("sha256:" + emptyNix32 + " "), false, none, ""},
		{"NarHash of zeros", narHash("sha256:" + strings.Repeat("0", 52)), false, every, "no NAR hashes to that"},
		{"NarHash by SHA-512", narHash("sha512:" + emptyHex + emptyHex), false, every, noHash},
		{"NarHash by MD5", narHash("md5:d41d8cd98f00b204e9800998ecf8427e"), false, every, noHash},
		{"NarHash by BLAKE3", narHash("blake3:" + emptyNix32), false, none, ""},
		{"NarHash twice", "NarHash: sha256:" + strings.Repeat("1", 52) + "\n" + variant, true, every, ""},
		{"no NarSize", without("NarSize"), false, none, ""},
		{"NarSize 0", edit("464152", "0"), false, none, ""},
		{"NarSize with zeros", edit("464152", "000464152"), true, every, ""},
		{"NarSize with a plus", edit("464152", "+464152"), true, every, ""},
		{"NarSize negative", edit("464152", "-1"), false, none, ""},
		{"NarSize with a blank", edit("464152", "464152 "), false, none, ""},
		{"NarSize with a blank before", edit("464152", " 464152"), false, none, ""},
		{"NarSize in hexadecimal", edit("464152", "0x10"), false, none, ""},
		{"NarSize of 2^63", edit("464152", "9223372036854775808"), false, every, "no file is so large"},
		{"NarSize of 2^64", edit("464152", "18446744073709551616"), false, none, ""},
		{"NarSize twice", "NarSize: 7\n" + variant, true, every, ""},

		{"no References", without("References"), true, every, ""},
		{"empty References", references("References: "), true, every, ""},
		{"empty References, then others", references("References: \nReferences: " + variantX), true, every, ""},
		{"References, then none", variant + "References: \n", false, none, ""},
		{"References twice", variant + "References: HASH-med-1.0\n", false, none, ""},
		{"References not sorted", references("References: HASH-med-1.0 " + variantX + " HASH-med-1.0"), true, every, ""},
		{"References with blanks around", references("References:   HASH-med-1.0  " + variantX + " "), true, every, ""},
		{"References with a tab", references("References: HASH-med-1.0\t" + variantX), false, none, ""},
		{"References with full paths", references("References: /nix/store/HASH-med-1.0"), false, none, ""},
		{"References to a name of dots", references("References: HASH-.-x"), false, only28, "newer Nix takes no such name"},
		{"References without the blank", references("References:"), false, none, ""},
		{"References without the blank, then a signature", references("References:") + variantSig, false, none, ""},

		{"deriver", variant + "Deriver: HASH-x.drv\n", true, every, ""},
		{"deriver that is not a derivation", variant + "Deriver: HASH-x\n", true, every, ""},
		{"unknown deriver", variant + "Deriver: unknown-deriver\n", true, every, ""},
		{"deriver twice", variant + "Deriver: HASH-x.drv\nDeriver: HASH-y.drv\nDeriver: unknown-deriver\n", true, every, ""},
		{"empty deriver", variant + "Deriver: \n", false, none, ""},
		{"deriver with a full path", variant + "Deriver: /nix/store/HASH-x.drv\n", false, none, ""},
		{"malformed deriver", variant + "Deriver: zzz\n", false, none, ""},

		{"signature without a colon", variant + "Sig: hello\n", true, until233, ignored},
		{"empty signature", variant + "Sig: \n", true, until233, ignored},
		{"signature not base64", variant + "Sig: a-1:!!!\n", true, until233, ignored},
		{"signature with two colons", variant + "Sig: v2:a-1:aGVsbG8=\n", true, until233, ignored},
		{"short signature", variant + "Sig: a-1:aGVsbG8=\n", true, every, ""},
		{"long signature", variant + "Sig: a-1:" + base64.StdEncoding.EncodeToString(make([]byte, 2420)) + "\n", true, every, ""},
		{"signature without padding", variant + strings.Replace(variantSig, "==", "", 1), true, every, ""},
		{"signature with a carriage return", variant + strings.Replace(variantSig, "\n", "\r\n", 1), true, every, ""},
		{"signature of another name", variant + "Signature: 1;hydra.gnu.org;KHNpZ25hdHVy\n", true, every, ""},

		{"empty CA", variant + "CA: \n", true, every, ""},
		{"fixed CA", variant + "CA: fixed:r:sha256:" + emptyNix32 + "\n", true, every, ""},
		{"fixed CA in hexadecimal", variant + "CA: fixed:r:sha256:" + emptyHex + "\n", true, every, ""},
		{"text CA", variant + "CA: text:sha256:" + emptyNix32 + "\n", true, every, ""},
		{"text CA by SHA-1", variant + "CA: text:sha1:" + strings.Repeat("0", 32) + "\n", true, from226, address},
		{"git CA", variant + "CA: fixed:git:sha1:" + strings.Repeat("0", 32) + "\n", true, none, address + " to a Nix with other settings"},
		{"CA by BLAKE3", variant + "CA: fixed:r:blake3:" + emptyNix32 + "\n", true, none, address + " to a Nix with other settings"},
		{"CA by an unknown method", variant + "CA: fixed:x:sha256:" + emptyNix32 + "\n", true, none, address},
		{"CA of an unknown kind", variant + "CA: foo:sha256:" + emptyNix32 + "\n", true, none, address},
		{"malformed CA", variant + "CA: fixed:r:sha256:zz\n", false, none, ""},
		{"CA in words", variant + "CA: fixed by hand\n", false, none, ""},
		{"CA twice", variant + strings.Repeat("CA: text:sha256:"+emptyNix32+"\n", 2), false, none, ""},
		{"empty CA, then another", variant + "CA: \nCA: text:sha256:" + emptyNix32 + "\n", true, every, ""},

		{"unknown field", variant + "X-Note: a: b\n", true, every, ""},
		{"unknown field twice", variant + "X-Note: a\nX-Note: b\n", true, every, ""},
		{"unknown field without a value", variant + "X-Note: \n", true, every, ""},
		{"unknown field without a blank", variant + "X-Note:a\n", true, every, ""},
		{"unknown field in front", "X-Note: a\n" + variant, true, every, ""},
		{"unknown field of bytes", variant + "X-Note: \xff\x00\r\n", true, every, ""},
		{"long unknown field", variant + "X-Note: " + strings.Repeat("x", 10_000) + "\n", true, every, ""},
		{"System of Nix before 2.10", variant + "System: x86_64-linux\n", true, every, ""},
		{"comment", variant + "# hello\n", false, none, ""},
		{"comment with a colon", variant + "# hello: world\n", true, every, ""},
		{"comment, then a field", variant + "# hello\nX-Note: a\n", true, every, ""},
		{"unknown field that takes the next line", variant + "X-Note:\n" + variantSig, true, every, ""},
		{"tab for the blank", edit("StorePath: ", "StorePath:\t"), true, every, ""},
		{"no blank", edit("StorePath: ", "StorePath:"), false, none, ""},
		{"two blanks", edit("StorePath: ", "StorePath:  "), false, none, ""},
		{"blank before the colon", edit("FileSize: ", "FileSize : "), true, every, ""},
		{"fields in small letters", strings.ToLower(variant), false, none, ""},

		{"no newline at the end", strings.TrimSuffix(variant, "\n"), false, none, ""},
		{"no newline after the deriver", variant + "Deriver: HASH-x.drv", false, none, ""},
		{"CRLF", strings.ReplaceAll(variant, "\n", "\r\n"), false, none, ""},
		{"blank line at the end", variant + "\n", false, none, ""},
		{"blank line in the middle", edit("\nNarHash", "\n\nNarHash"), false, none, ""},
		{"bytes after the end", variant + "\x00", false, none, ""},
		{"web page", "<!DOCTYPE html>\n<html><body>Log in: here</body></html>\n", false, none, ""},
		{"empty", "", false, none, ""},
		{"byte order mark", "\ufeff" + variant, false, none, ""},
		{"blank before the first field", " " + variant, false, none, ""},
		{"too large", variant + "X: " + strings.Repeat("x", layout.MaxNarInfo) + "\n", false, every, "what comes from outside has a limit"},
	}
}

// TestNarInfoVariants goes through what writers of narinfos do, and has each
// version of Nix read the same: where the answers differ the table says why. Both
// read the same from the records that both take.
func TestNarInfoVariants(t *testing.T) {
	cache := t.TempDir()
	if err := os.WriteFile(filepath.Join(cache, "nix-cache-info"), []byte("StoreDir: /nix/store\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	all := narInfoVariants(t)
	parsed := map[string]*layout.NarInfo{}
	for i, c := range all {
		hash := fmt.Sprintf("%032d", i)
		text := []byte(strings.ReplaceAll(c.text, "HASH", hash))
		n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
		if (err == nil) != c.ours {
			t.Errorf("%s: %v, want ok %t", c.name, err, c.ours)
		}
		if (c.why == "") != (c.nix == every && c.ours || c.nix == none && !c.ours) {
			t.Errorf("%s: taken by us %t, by Nix %q, because %q", c.name, c.ours, c.nix, c.why)
		}
		if syntax := (*layout.SyntaxError)(nil); err != nil && !errors.As(err, &syntax) {
			t.Errorf("%s: %v is not a SyntaxError", c.name, err)
		}
		if err == nil {
			parsed[hash] = n
			if back := mustParse(t, string(n.Marshal(layout.DefaultStoreDir))); !cmp.Equal(n, back) {
				t.Errorf("%s: reads back differently:\n%s", c.name, cmp.Diff(n, back))
			}
		}
		if err := os.WriteFile(filepath.Join(cache, hash+".narinfo"), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			args := []string{"path-info", "--json", "--store", "file://" + cache}
			taken := args
			for i, c := range all {
				path := fmt.Sprintf("/nix/store/%032d-med-1.0", i)
				if slices.ContainsFunc(strings.Fields(c.nix), func(v string) bool { return strings.HasPrefix(nix.Version, v+".") }) {
					taken = append(taken, path)
				} else if _, err := nix.Command(t, "nix", append(args, path)...).Output(); err == nil {
					t.Errorf("%s: Nix takes it", c.name)
				}
			}
			for path, theirs := range pathInfos(t, nix.Output(t, "nix", taken...)) {
				i := strings.TrimPrefix(path, "/nix/store/")[:32]
				if ours := parsed[i]; ours != nil {
					if diff := cmp.Diff(theirs, infoOf(t, ours)); diff != "" {
						t.Errorf("%s: (-Nix +ours):\n%s", path, diff)
					}
				}
			}
		})
	}
}

// A pathInfo is what Nix tells of a path in JSON, as far as all versions do.
type pathInfo struct {
	Path, NarHash, CA, Deriver, URL string
	NarSize                         uint64
	References, Signatures          []string
}

// pathInfos reads the JSON of any version: a list, or an object by paths.
func pathInfos(t *testing.T, text string) map[string]pathInfo {
	t.Helper()
	byPath := map[string]pathInfo{}
	var list []pathInfo
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		if err := json.Unmarshal([]byte(text), &byPath); err != nil {
			t.Fatal(err)
		}
	}
	for _, info := range list {
		byPath[info.Path] = info
	}
	for path, info := range byPath {
		info.Path = ""
		slices.Sort(info.References)
		if len(info.References) == 0 {
			info.References = nil
		}
		// Nix keeps signatures as they are written, and those that nothing can verify.
		info.Signatures = nil
		byPath[path] = info
	}
	return byPath
}

func infoOf(t *testing.T, n *layout.NarInfo) pathInfo {
	t.Helper()
	info := pathInfo{NarHash: "sha256-" + base64.StdEncoding.EncodeToString(n.NarHash[:]), CA: n.CA, URL: n.URL, NarSize: uint64(n.NarSize)}
	for _, ref := range n.References {
		info.References = append(info.References, ref.Abs(layout.DefaultStoreDir))
	}
	if n.Deriver != "" {
		info.Deriver = n.Deriver.Abs(layout.DefaultStoreDir)
	}
	return info
}
