//go:build real

package serve_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// exportedTree returns a tree of somePaths that export made with the same key:
// the measure of what serve makes of an upload.
func exportedTree(t testing.TB, key nixtest.Key) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "exported")
	newest(t).Output(t, append([]string{"export", "--quiet", "--store", peers.Closure(t).Root, "--to", dir,
		"-k", key.File, "--debug-info"}, somePaths(t)...)...)
	return dir
}

// For any settings of a Nix about compression, listings and debug files, the tree
// is the one that export makes, but for the compressed bytes; and the same Nix
// copies all of it back with signatures required.
func TestPush(t *testing.T) {
	for i, nix := range peers.Nixes(t) {
		queries := []string{"compression=zstd", "compression=xz&write-nar-listing=true", "compression=none&index-debug-info=true",
			"compression=zstd&parallel-compression=true&write-nar-listing=true&index-debug-info=true"}
		if i == len(peers.Nixes(t))-1 {
			// Since 2.32, records, listings and logs may come encoded.
			queries = append(queries, "narinfo-compression=gzip&ls-compression=zstd&log-compression=br&write-nar-listing=true&compression=br")
		}
		for _, query := range queries {
			t.Run(nix.Version+" "+query, func(t *testing.T) {
				t.Parallel()
				s, nix := start(t), fresh(t, nix)
				push(t, nix, s.upload(query), somePaths(t)...)
				verify(t, s.Tree, s.Key.Public)
				compareTrees(t, exportedTree(t, s.Key), s.Tree, strings.Contains(query, "index-debug-info"))
				pull(t, fresh(t, nix), s.URL, s.Key.Public, somePaths(t)...)
			})
		}
	}
}

// compareTrees compares two trees but for how NARs are compressed.
func compareTrees(t testing.TB, want, got string, debugInfo bool) {
	t.Helper()
	if diff := cmp.Diff(narinfos(t, want), narinfos(t, got)); diff != "" {
		t.Errorf("the records (-export +upload):\n%s", diff)
		return
	}
	for _, name := range narinfos(t, want) {
		a, b := readFile(t, want, name), readFile(t, got, name)
		for _, field := range []string{"StorePath", "NarHash", "NarSize", "References", "Deriver", "Sig", "CA"} {
			if diff := cmp.Diff(lines(a, field), lines(b, field)); diff != "" {
				t.Errorf("%s of %s (-export +upload):\n%s", field, name, diff)
			}
		}
		list := strings.TrimSuffix(name, ".narinfo") + ".ls"
		if diff := cmp.Diff(listing(t, want, list), listing(t, got, list)); diff != "" {
			t.Errorf("%s (-export +upload):\n%s", list, diff)
		}
	}
	if debugInfo {
		links := func(tree string) map[string]string {
			members := map[string]string{}
			entries, err := os.ReadDir(filepath.Join(tree, "debuginfo"))
			if err != nil {
				t.Error(err)
			}
			for _, e := range entries {
				var link struct{ Member string }
				if err := json.Unmarshal([]byte(readFile(t, tree, "debuginfo", e.Name())), &link); err != nil {
					t.Error(err)
				}
				members[strings.TrimSuffix(e.Name(), ".debug")] = link.Member
			}
			return members
		}
		if diff := cmp.Diff(links(want), links(got)); diff != "" {
			t.Errorf("links to debug files (-export +upload):\n%s", diff)
		}
	}
}

// listing reads a listing; what a Nix before 2.35 leaves out is false.
func listing(t testing.TB, tree, name string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(readFile(t, tree, name)), &v); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	dropFalse(v)
	return v
}

func dropFalse(node any) {
	if m, ok := node.(map[string]any); ok {
		if m["executable"] == false {
			delete(m, "executable")
		}
		for _, child := range m {
			dropFalse(child)
		}
	}
}

// A derivation goes as itself, with its closure.
func TestPushDerivation(t *testing.T) {
	s := start(t)
	drv := peers.Closure(t).Named(t, "second.drv")
	for _, nix := range peers.Nixes(t) {
		nix.Output(t, "nix", append(copyArgs(t, s.upload(), drv), "--derivation")...)
	}
	if n := len(narinfos(t, s.Tree)); n != 3 {
		t.Errorf("%d records, want those of two derivations and a script", n)
	}
	verify(t, s.Tree, s.Key.Public)
}

// Signatures of others are added to what is there, by each Nix, and none is
// lost: each of them writes back the whole record that it has read.
func TestStoreSign(t *testing.T) {
	s := start(t)
	push(t, peers.Old(t), s.upload(), somePaths(t)...)
	keys := []string{s.Key.Public}
	for _, nix := range peers.Nixes(t) {
		nix = fresh(t, nix)
		key := newest(t).NewKey(t, "other-"+nix.Version)
		nix.Output(t, "nix", append([]string{"store", "sign", "--recursive", "--store", s.upload(), "-k", key.File}, somePaths(t)...)...)
		keys = append(keys, key.Public)
	}
	for _, key := range keys {
		verify(t, s.Tree, key)
	}
	pull(t, peers.Newest(t), s.URL, keys[2], somePaths(t)...)
}

// No client sends again what is there already; an upload to the reading URL is
// refused with a reason.
func TestPushAgain(t *testing.T) {
	s := start(t)
	for _, nix := range peers.Nixes(t) {
		push(t, nix, s.upload(), somePaths(t)...)
	}
	for _, line := range s.metric(t, `nixstatic_uploads_total{kind="nar"`) {
		if strings.Contains(line, `"created"`) != !strings.HasSuffix(line, " 0") {
			t.Errorf("NARs were sent more than once: %s", line)
		}
	}
	for _, nix := range peers.Nixes(t) {
		out := pushRefused(t, fresh(t, nix), strings.Replace(s.upload(), "/upload", "", 1), named(t, "libaudit-common-")...)
		if !strings.Contains(out, "this URL is for reading, uploads go to /upload/") {
			t.Errorf("Nix %s does not tell where uploads go:\n%s", nix.Version, out)
		}
	}
	verify(t, s.Tree, s.Key.Public)
}

// With one URL for both, which is warned of, everything works for those who do
// only one of the two; and with another prefix the old one is gone.
func TestUploadPrefix(t *testing.T) {
	s := start(t, "--upload-prefix", "/")
	if !strings.Contains(s.log.String(), "readers and uploading clients share one URL") {
		t.Errorf("no warning:\n%s", s.log)
	}
	for _, nix := range peers.Nixes(t) {
		push(t, nix, strings.Replace(s.upload("compression=none"), "/upload", "", 1), somePaths(t)...)
		pull(t, fresh(t, nix), s.URL, s.Key.Public, somePaths(t)...)
	}
	verify(t, s.Tree, s.Key.Public)

	s = start(t, "--upload-prefix", "ci/push")
	push(t, peers.Old(t), strings.Replace(s.upload("compression=none"), "/upload", "/ci/push", 1), somePaths(t)...)
	pull(t, peers.Old(t), s.URL, s.Key.Public, somePaths(t)...)
	if status, _ := get(t, s.URL+"/upload/nix-cache-info"); status != 404 {
		t.Errorf("at the prefix that was given up: status %d", status)
	}
}
