package forge

import (
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

func TestNames(t *testing.T) {
	const hash = "00000000000000000000000000000000"
	for key, name := range map[layout.Key]string{
		"nix-cache-info":                         "nix-cache-info",
		hash + ".narinfo":                        hash + ".narinfo",
		"nar/x.nar.zst":                          "x.nar.zst",
		"nar/x.nar?hash=y":                       "x.nar^3Fhash=y",
		layout.Key("log/" + hash + "-a?b^c.drv"): "log&" + hash + "-a^3Fb^5Ec.drv",
		".nixstatic/gc/plan":                     ".nixstatic&gc&plan",
		".nixstatic/quarantine/nar/x.nar~1":      ".nixstatic&quarantine&nar&x.nar~1",
	} {
		if got := nameOf(key); got != name {
			t.Errorf("%s is called %s, want %s", key, got, name)
		}
		if key.Kind() == layout.KindForeign {
			continue
		}
		if got, ok := keyOf(name); !ok || got != key {
			t.Errorf("%s is %s, %t, want %s", name, got, ok, key)
		}
	}
	for _, name := range []string{"letter.txt", "nar&x.nar", "..", "a&&b", "^", "^zz"} {
		if key, ok := keyOf(name); ok {
			t.Errorf("%s is %s", name, key)
		}
	}
}

func TestRecords(t *testing.T) {
	for tree, registry := range map[string]string{
		"StorePath: a\nURL: nar/x.nar.zst\nCompression: zstd\n": "StorePath: a\nURL: x.nar.zst\nCompression: zstd\n",
		"URL: nar/x.nar\n":            "URL: x.nar\n",
		"no record":                   "no record",
		"URL: https://h/nar/x.nar\n":  "URL: https://h/nar/x.nar\n",
		"StorePath: a\nURL: other/\n": "StorePath: a\nURL: other/\n",
	} {
		if got := string(outward([]byte(tree))); got != registry {
			t.Errorf("%q is put as %q, want %q", tree, got, registry)
		}
		if got := string(inward([]byte(registry))); got != tree {
			t.Errorf("%q is read as %q, want %q", registry, got, tree)
		}
	}
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"gitea+https://host/acme/cache?version=2":      "https://host/api/packages/acme/generic/cache/2",
		"forgejo+http://host:3000/sub/acme/cache":      "http://host:3000/sub/api/packages/acme/generic/cache/1",
		"gitea+https://me:pw@host/acme/c?version=a%20": "https://host/api/packages/acme/generic/c/a%20",
	} {
		if l, err := ParseURL(text); err != nil || l.URL() != want {
			t.Errorf("%s is %s, %v, want %s", text, l.URL(), err, want)
		}
	}
	for _, text := range []string{"https://host/a/b", "gitea+https://host/a", "gitea+https://host", "gitea+ftp://h/a/b", "gitea+https://h/a/b?x=y",
		"gitea+https://h/a/b?version=../c", "gitea+https://h/a/b?version=..", "gitea+https://h/a/../b"} {
		if l, err := ParseURL(text); err == nil {
			t.Errorf("%s is %s", text, l.URL())
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("x.nar.zst")
	f.Add("log&00000000000000000000000000000000-a^3F.drv")
	f.Fuzz(func(t *testing.T, name string) {
		if key, ok := keyOf(name); ok && nameOf(key) != name {
			t.Errorf("%q is %q, which is called %q", name, key, nameOf(key))
		}
		if got := inward(outward(inward([]byte(name)))); string(got) != string(inward([]byte(name))) {
			t.Errorf("%q comes back as %q", name, got)
		}
	})
}
