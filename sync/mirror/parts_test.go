package mirror

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

func TestLedger(t *testing.T) {
	name := filepath.Join(t.TempDir(), "deep", "ledger")
	m := markOf("one", "two")
	if m == markOf("on", "etwo") || markOf("", "x") != (mark{}) {
		t.Error("marks are mixed up")
	}
	write := func(keys ...layout.Key) {
		t.Helper()
		l := openLedger(name)
		for _, key := range keys {
			l.has(key, m)
			l.add(key, m)
		}
		if err := l.commit(); err != nil {
			t.Fatal(err)
		}
	}
	has := func(key layout.Key) bool {
		l := openLedger(name)
		defer l.discard()
		return l.has(key, m)
	}
	write("a", "b", "log/x")
	if !has("a") || !has("b") || !has("log/x") || has("c") || has("aa") {
		t.Error("what was remembered is not known, or more is")
	}
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	write("a", "b", "log/x")
	if after, err := os.Stat(name); err != nil || !os.SameFile(before, after) {
		t.Errorf("written anew though nothing changed: %v", err)
	}
	write("b")
	if has("a") || !has("b") {
		t.Error("what went is still known")
	}
	l := openLedger(name)
	if l.has("b", markOf("other", "two")) || l.has("b", mark{}) {
		t.Error("another version counts as equal")
	}
	l.discard()
	if left, _ := filepath.Glob(name + ledgerNew + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// FuzzLedger: whatever the file holds, only what stands in it is known.
func FuzzLedger(f *testing.F) {
	good := ledgerHeader + "AAAAAAAAAAAAAAAAAAAAAQ nix-cache-info\n"
	for _, text := range []string{"", ledgerHeader, good, good + good, good[:len(good)-5], "\n" + good, ledgerHeader + " \n", ledgerHeader + "x y\n"} {
		f.Add([]byte(text))
	}
	name := filepath.Join(f.TempDir(), "ledger")
	m := mark{15: 1}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		l := openLedger(name)
		defer l.discard()
		if l.has(layout.CacheInfoKey, m) && !bytes.Contains(text, []byte("AAAAAAAAAAAAAAAAAAAAAQ nix-cache-info")) {
			t.Error("known without a word of it")
		}
		l.add("x", m)
		if err := l.commit(); err != nil {
			t.Error(err)
		}
	})
}

func TestDiff(t *testing.T) {
	list := func(keys ...layout.Key) listing {
		return func(yield func(layout.Info, error) bool) {
			for _, key := range keys {
				if key == "!" {
					yield(layout.Info{}, io.ErrUnexpectedEOF)
					return
				}
				if !yield(layout.Info{Key: key}, nil) {
					return
				}
			}
		}
	}
	const a, b, c = "index.html", "nix-cache-info", "robots.txt"
	for _, x := range []struct {
		src, dst listing
		want     string
	}{
		{list(), list(), ""},
		{list(a, b), list(a, b), "=index.html =nix-cache-info"},
		{list(a, c), list(b), "+index.html -nix-cache-info +robots.txt"},
		{list(".foreign", a), list("zzz"), "+index.html"},
		{list(b, a), list(), "+nix-cache-info error"},
		{list(a, a), list(), "+index.html error"},
		{list(a, "!"), list(a), "=index.html error"},
		{list(), list("!"), "error"},
	} {
		var got []string
		for p, err := range diff(x.src, x.dst) {
			switch {
			case err != nil:
				got = append(got, "error")
			case p.inSrc && p.inDst:
				got = append(got, "="+string(p.key))
			case p.inSrc:
				got = append(got, "+"+string(p.key))
			default:
				got = append(got, "-"+string(p.key))
			}
		}
		if diff := cmp.Diff(x.want, strings.Join(got, " ")); diff != "" {
			t.Error(diff)
		}
	}
}
