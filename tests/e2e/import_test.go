//go:build real

package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A foreign cache is one that nix copy made: xz, and signed with a key that is
// not ours.
type foreign struct {
	Dir string
	Key nixtest.Key
}

func foreignCache(t testing.TB, query string, paths ...string) foreign {
	t.Helper()
	p := newest(t)
	f := foreign{t.TempDir(), p.NewKey(t, "theirs-1")}
	p.Nix.Output(t, "nix", append([]string{"copy", "--no-check-sigs", "--store", peers.Closure(t).Root,
		"--to", fileURL(f.Dir) + "?compression=xz&secret-key=" + f.Key.File + query}, paths...)...)
	return f
}

// A part of another cache comes over as it is: the same NAR files, the same
// facts, their signatures and ours. From a directory and over HTTP alike.
func TestImport(t *testing.T) {
	store := peers.Closure(t)
	theirs := foreignCache(t, "", somePaths(t)...)
	server := nixtest.ServeNginx(t, theirs.Dir)
	app := store.Named(t, "libgcc-s1-")
	want := closureOf(t, peers.Newest(t), store.Root, app)
	for name, from := range map[string]string{"directory": theirs.Dir, "file URL": fileURL(theirs.Dir), "HTTP": server.URL} {
		t.Run(name, func(t *testing.T) {
			p := newest(t)
			ours := p.NewKey(t, "ours-1")
			tree := filepath.Join(t.TempDir(), "cache")
			p.Output(t, "export", "--from", from, "--to", tree, "-k", ours.File, "--trusted-public-key", theirs.Key.Public, app)
			p.Output(t, "verify", "--deep", "--trusted-public-key", ours.Public, tree)
			if got := snap(t, tree).names(".narinfo"); len(got) != len(want) {
				t.Errorf("%d paths came over, want %d", len(got), len(want))
			}
			for _, path := range want {
				got, want := readRecord(t, tree, path), readRecord(t, theirs.Dir, path)
				if diff := cmp.Diff([]string{"ours-1", "theirs-1"}, got.signedBy()); diff != "" {
					t.Errorf("%s: signed by (-want +got):\n%s", path, diff)
				}
				delete(got, "Sig")
				delete(want, "Sig")
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: the record (-theirs +ours):\n%s", path, diff)
				}
			}
			root := peers.StoreRoot(t)
			p.Nix.Output(t, "nix", copyArgs(fileURL(tree), root, ours.Public, app)...)
			checkCopy(t, p.Nix, root, want)
		})
	}
}

// A cache behind TLS and a password.
func TestImportFromHTTPS(t *testing.T) {
	store := peers.Closure(t)
	app := store.Named(t, "libgcc-s1-")
	theirs := foreignCache(t, "", app)
	files := http.FileServer(http.Dir(theirs.Dir))
	const user, password = "reader", "s3cret-word"
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="cache"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	authority := write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	netrc := write("netrc", fmt.Sprintf("machine 127.0.0.1\nlogin %s\npassword %s\n", user, password))
	tree := filepath.Join(dir, "cache")
	run := func(trust bool, args ...string) nixtest.Result {
		t.Helper()
		p := newest(t)
		cmd := p.Command(t, append([]string{"export", "--from", server.URL, "--to", tree, "--trusted-public-key", theirs.Key.Public, app}, args...)...)
		if trust {
			cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+authority)
		}
		r := nixtest.Wait(t, cmd)
		// Once in the clear, and once as it goes over the wire.
		for _, secret := range []string{password, base64.StdEncoding.EncodeToString([]byte(user + ":" + password))} {
			if strings.Contains(r.Stdout+r.Stderr, secret) {
				t.Errorf("the output holds the password: %s", r.Stderr)
			}
		}
		return r
	}
	run(false, "--netrc-file", netrc).Refused(t, "certificate")
	run(true).Refused(t, "401")
	if _, err := os.Stat(tree); err == nil {
		t.Error("there is a tree after refusals")
	}
	run(true, "--netrc-file", netrc).Want(t, 0)
	newest(t).Output(t, "verify", "--deep", tree)
}

// An import believes the cache only as far as a signature or the content itself
// bears it out. A refusal leaves the tree as it was.
func TestImportRefuses(t *testing.T) {
	store := peers.Closure(t)
	app, debug := store.Named(t, "libgcc-s1-"), store.Named(t, "hello-2.10-debug")
	theirs := foreignCache(t, "&compression=none", app, debug)
	p := newest(t)
	other := p.NewKey(t, "theirs-1") // the right name
	base := filepath.Join(t.TempDir(), "cache")
	p.Output(t, "export", "--from", theirs.Dir, "--to", base, "--trusted-public-key", theirs.Key.Public, debug)

	good := readRecord(t, theirs.Dir, app)
	edit := func(field, to string) func(string) string {
		return func(text string) string {
			from := field + ": " + good.one(t, field) + "\n"
			if !strings.Contains(text, from) {
				t.Fatalf("no %q in %s", from, text)
			}
			if to != "" {
				to = field + ": " + to + "\n"
			}
			return strings.Replace(text, from, to, 1)
		}
	}
	flip := func(text string) string {
		b := []byte(text)
		b[len(b)/2] ^= 1
		return string(b)
	}
	otherHash := "sha256:" + strings.Repeat("0", 51) + "1"
	for _, test := range []struct {
		name    string
		narinfo func(string) string // nil for as it is
		nar     func(string) string
		flags   []string // nil for trusting their key
		want    []string // in the error
		always  bool     // --no-check-sigs does not help
		late    bool     // it takes the NAR to find out
	}{
		{name: "no key of theirs", flags: []string{}, want: []string{"no trusted key", "theirs-1"}},
		{name: "another key of that name", flags: []string{"--trusted-public-key", other.Public}, want: []string{"no trusted key", "theirs-1"}},
		{name: "no signature", narinfo: edit("Sig", ""), want: []string{"not signed"}},
		{name: "other references", narinfo: edit("References", ""), want: []string{app[11:]}},
		{name: "other NarHash", narinfo: edit("NarHash", otherHash), want: []string{app[11:]}},
		{name: "other NarSize", narinfo: edit("NarSize", "1"), want: []string{app[11:]}},
		{name: "a content address that is none", narinfo: func(text string) string {
			return edit("Sig", "")(text) + "CA: fixed:r:" + otherHash + "\n"
		}, want: []string{app[11:], "does not prove"}, late: true},
		{name: "NAR with a flipped bit", nar: flip, want: []string{app[11:]}, always: true, late: true},
		{name: "NAR cut off", nar: func(s string) string { return s[:len(s)-8] }, want: []string{app[11:]}, always: true, late: true},
		{name: "NAR with more behind", nar: func(s string) string { return s + "12345678" }, want: []string{app[11:]}, always: true, late: true},
		{name: "empty NAR", nar: func(string) string { return "" }, want: []string{app[11:]}, always: true, late: true},
		{name: "narinfo cut off", narinfo: func(s string) string { return s[:len(s)/2] }, want: []string{hashPart(app)}, always: true},
		{name: "web page", narinfo: func(string) string { return "<!doctype html>\n<title>404</title>\n" }, want: []string{hashPart(app)}, always: true},
		{name: "narinfo of another path", narinfo: edit("StorePath", debug), want: []string{hashPart(app)}, always: true},
		{name: "URL that leads out", narinfo: edit("URL", "../../../../etc/passwd"), want: []string{hashPart(app)}, always: true, late: true},
		{name: "unknown compression", narinfo: edit("Compression", "rot13"), want: []string{hashPart(app)}, always: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, tree := t.TempDir(), t.TempDir()
			if err := errors.Join(os.CopyFS(dir, os.DirFS(theirs.Dir)), os.CopyFS(tree, os.DirFS(base))); err != nil {
				t.Fatal(err)
			}
			before := snap(t, tree)
			change(t, filepath.Join(dir, hashPart(app)+".narinfo"), test.narinfo)
			change(t, filepath.Join(dir, good.one(t, "URL")), test.nar)
			flags := test.flags
			if flags == nil {
				flags = []string{"--trusted-public-key", theirs.Key.Public}
			}
			runs := [][]string{flags, append([]string{"-c", "zstd"}, flags...)}
			if test.always {
				runs = append(runs, []string{"--no-check-sigs"})
			}
			for _, flags := range runs {
				p.Run(t, append([]string{"export", "--from", dir, "--to", tree, app}, flags...)...).Refused(t, test.want...)
				p.Output(t, "verify", "--deep", tree)
				after := snap(t, tree)
				if test.late {
					// The paths that it refers to came first, rightly.
					if _, ok := after[hashPart(app)+".narinfo"]; ok {
						t.Errorf("with %q it was published", flags)
					}
				} else if diff := cmp.Diff(before, after); diff != "" {
					t.Errorf("with %q the tree changed (-before +after):\n%s", flags, diff)
				}
			}
		})
	}
	// As it is, it is taken.
	p.Output(t, "export", "--from", theirs.Dir, "--to", base, "--trusted-public-key", theirs.Key.Public, app)
	p.Output(t, "verify", "--deep", base)
}

// change rewrites a file in place, and where its name is the hash of its bytes
// that is wrong as well: who tampers need not be so kind as to rename.
func change(t testing.TB, file string, edit func(string) string) {
	t.Helper()
	if edit == nil {
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := edit(string(text))
	if bytes.Equal(text, []byte(changed)) {
		t.Fatalf("%s: the edit changes nothing", file)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Content-addressed paths of every kind prove themselves; they need no signature. A
// client of ours needs no key for them either.
func TestImportContentAddressed(t *testing.T) {
	store := peers.Closure(t)
	p := newest(t)
	paths := []string{store.Named(t, "second.drv"), store.Named(t, "tree"), store.Named(t, "flat")}
	theirs := t.TempDir()
	p.Nix.Output(t, "nix", append([]string{"copy", "--no-check-sigs", "--store", store.Root, "--to", fileURL(theirs)}, paths...)...)
	tree := filepath.Join(t.TempDir(), "cache")
	p.Output(t, append([]string{"export", "--from", theirs, "--to", tree}, paths...)...)
	want := closureOf(t, p.Nix, store.Root, paths...)
	kinds := map[string]bool{}
	for _, path := range want {
		r := readRecord(t, tree, path)
		if len(r["Sig"]) > 0 {
			t.Errorf("%s: signed by %v", path, r.signedBy())
		}
		kinds[strings.TrimSuffix(r.one(t, "CA"), r.one(t, "CA")[strings.LastIndex(r.one(t, "CA"), ":"):])] = true
	}
	if diff := cmp.Diff([]string{"fixed:r:sha256", "fixed:sha256", "text:sha256"}, slices.Sorted(maps.Keys(kinds))); diff != "" {
		t.Errorf("kinds of content addresses (-want +got):\n%s", diff)
	}
	for _, nix := range peers.Nixes(t) {
		root := peers.StoreRoot(t)
		copyFrom(t, nix, fileURL(tree), root, "", paths...)
		checkCopy(t, nix, root, want)
	}
}
