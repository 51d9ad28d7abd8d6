package layout_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

func TestParseCacheInfo(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       layout.CacheInfo
		bad        bool
	}{
		{name: "cache.nixos.org", text: "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n", want: layout.CacheInfo{StoreDir: "/nix/store", WantMassQuery: true, Priority: 40}},
		{name: "what Nix puts", text: "StoreDir: /nix/store\n", want: layout.CacheInfo{StoreDir: "/nix/store"}},
		{name: "other store", text: "StoreDir: /gnu/store\n", want: layout.CacheInfo{StoreDir: "/gnu/store"}},
		{name: "CRLF, no blanks", text: "StoreDir:/nix/store\r\nPriority:30\r\n", want: layout.CacheInfo{StoreDir: "/nix/store", Priority: 30}},
		{name: "no newline at the end", text: "Priority: 10", want: layout.CacheInfo{StoreDir: "/nix/store", Priority: 10}},
		{name: "unknown fields and lines", text: "hello\nVersion: 2\nWantMassQuery: 1\n", want: layout.CacheInfo{StoreDir: "/nix/store", WantMassQuery: true}},
		{name: "mass query is exactly 1", text: "WantMassQuery: yes\n", want: layout.CacheInfo{StoreDir: "/nix/store"}},
		{name: "negative priority", text: "Priority: -5\n", want: layout.CacheInfo{StoreDir: "/nix/store", Priority: -5}},
		{name: "empty", text: "", bad: true},
		{name: "web page", text: "<!DOCTYPE html>\n<html>\n<title>Login: required</title>", bad: true},
		{name: "case of letters", text: "storedir: /nix/store\n", bad: true},
		{name: "priority is a word", text: "StoreDir: /nix/store\nPriority: high\n", bad: true},
		{name: "trailing slash", text: "StoreDir: /nix/store/\n", bad: true},
		{name: "relative store", text: "StoreDir: nix/store\n", bad: true},
		{name: "empty store", text: "StoreDir: \n", bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := layout.ParseCacheInfo([]byte(c.text))
			if (err != nil) != c.bad {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(c.want, got); err == nil && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestInit(t *testing.T) {
	tree := treetest.NewMem(t)
	if _, err := layout.ReadCacheInfo(t.Context(), tree); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadCacheInfo of an empty tree: %v", err)
	}
	first := layout.CacheInfo{StoreDir: "/nix/store", WantMassQuery: true, Priority: 30}
	if got, err := layout.Init(t.Context(), tree, first); err != nil || got != first {
		t.Errorf("Init = %+v, %v", got, err)
	}
	if text, _ := layout.ReadAll(t.Context(), tree, layout.CacheInfoKey); string(text) != "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n" {
		t.Errorf("nix-cache-info = %q", text)
	}
	if got, err := layout.Init(t.Context(), tree, layout.DefaultCacheInfo()); err != nil || got != first {
		t.Errorf("the second Init = %+v, %v, want what is there", got, err)
	}
	if _, err := layout.Init(t.Context(), tree, layout.CacheInfo{StoreDir: "/gnu/store"}); err == nil || !strings.Contains(err.Error(), "/gnu/store") {
		t.Errorf("Init for another store: %v", err)
	}
	if _, err := layout.Init(t.Context(), tree, layout.CacheInfo{}); err == nil {
		t.Error("Init without a store directory succeeded")
	}
	// Both ways to fail, then again.
	for _, done := range []bool{false, true} {
		tree := treetest.NewMem(t)
		if _, err := layout.Init(t.Context(), &treetest.Faulty{Tree: tree, Fault: treetest.Fault{At: 1, Done: done}}, first); err == nil {
			t.Error("Init hides the fault")
		}
		if got, err := layout.Init(t.Context(), tree, first); err != nil || got != first {
			t.Errorf("Init again = %+v, %v", got, err)
		}
	}
}

func FuzzParseCacheInfo(f *testing.F) {
	for _, text := range []string{"StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n", "StoreDir: /nix/store\n", "Priority:-1\r\n", "<html>", ""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := layout.ParseCacheInfo(text)
		if err != nil {
			return
		}
		again, err := layout.ParseCacheInfo(c.Marshal())
		if err != nil || again != c {
			t.Errorf("%q reads as %+v, which reads back as %+v, %v", text, c, again, err)
		}
	})
}
