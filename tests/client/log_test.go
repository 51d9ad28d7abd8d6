//go:build real

package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestUploadLog: the log names who sent which path, and for which root.
func TestUploadLog(t *testing.T) {
	store := peers.Closure(t)
	path, other := store.Named(t, "libaudit-common-"), store.Named(t, "odd?name")
	for _, nix := range peers.Nixes(t) {
		dir := t.TempDir()
		s := startServe(t, cache{tree: filepath.Join(dir, "cache")}, "--log-level", "info")
		netrc := filepath.Join(dir, "netrc")
		if err := os.WriteFile(netrc, []byte("machine 127.0.0.1 login x password "+s.token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		nix.Output(t, "nix", "--extra-experimental-features", "nix-command", "copy", "--no-check-sigs", "--store", store.Root, "--to", s.url+"/upload", "--option", "netrc-file", netrc, path)
		wantLine(t, s.log.String, "msg=upload ", "path="+path, "outcome=created", "token=ci", "client=127.0.0.1:")

		// A program that copies files sends them in an order of its own, here the
		// narinfo first.
		made := filepath.Join(dir, "made")
		nixtest.Program{Nix: nix}.Output(t, "export", "--store", store.Root, "--to", made, other)
		put := func(at, name string) {
			t.Helper()
			args := []string{"-sSf", "--netrc-file", netrc, "-T", filepath.Join(made, name), s.url + at + name}
			if out, err := exec.Command(peers.Program(t, "curl"), args...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		narinfo := filepath.Base(other)[:32] + ".narinfo"
		nars, err := os.ReadDir(filepath.Join(made, "nar"))
		if err != nil || len(nars) != 1 {
			t.Fatal(nars, err)
		}
		put("/upload/root/ci/main/42/", narinfo)
		wantLine(t, s.log.String, "msg=upload ", other, "root=ci/main@42", "outcome=held", "token=ci")
		put("/upload/", "nar/"+nars[0].Name())
		wantLine(t, s.log.String, "a narinfo that waited is published", other)

		// So does a refusal.
		if err := os.WriteFile(filepath.Join(made, narinfo), []byte("StorePath: x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(peers.Program(t, "curl"), "-sS", "--netrc-file", netrc, "-T", filepath.Join(made, narinfo), s.url+"/upload/"+narinfo).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "bad narinfo") {
			t.Errorf("a broken narinfo: %v, %s", err, out)
		}
		wantLine(t, s.log.String, `msg="upload refused"`, "key="+narinfo, "token=ci")
	}
}

// wantLine wants one line of a log that has all the words, and waits for it: what a server
// writes takes a moment to come here.
func wantLine(t testing.TB, log func() string, words ...string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		text := log()
		for line := range strings.Lines(text) {
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
				return
			}
		}
		if time.Now().After(end) {
			t.Errorf("no line has all of %q:\n%s", words, text)
			return
		}
	}
}
