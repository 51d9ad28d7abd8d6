//go:build real

package webdav

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// program runs a client to its end, at home in a folder of its own.
func program(t *testing.T, stdin, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), peers.Program(t, name), args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "XDG_CONFIG_HOME="+cmd.Dir, "LC_ALL=C.UTF-8", "TESTS=http")
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// rclone brings a whole tree here whatever order it takes, brings nothing the
// second time, finds no difference, and reads it all back.
func TestRclone(t *testing.T) {
	dir, _ := example(t)
	for _, order := range []string{"name,ascending", "name,descending", "size,mixed,50"} {
		r := newRig(t, nil)
		remote := func(path string) string { return fmt.Sprintf(":webdav,url='%s%s',vendor=other:", r.URL, path) }
		for i := range 2 {
			out, err := program(t, "", "rclone", "copy", dir, remote("/upload/"), "--exclude", ".nixstatic/**", "--transfers", "8",
				"--order-by", order, "--retries", "1", "--low-level-retries", "1", "-v")
			if err != nil || i == 1 && !strings.Contains(out, "0 B / 0 B") {
				t.Errorf("copy %d, %s: %v\n%s", i+1, order, err, out)
			}
		}
		if out, err := program(t, "", "rclone", "check", dir, remote("/upload/"), "--exclude", ".nixstatic/**", "--size-only"); err != nil {
			t.Errorf("check: %v\n%s", err, out)
		}
		back := t.TempDir()
		if out, err := program(t, "", "rclone", "copy", remote("/"), back, "--retries", "1"); err != nil {
			t.Errorf("copy back: %v\n%s", err, out)
		}
		if here, there := keysOf(t, r.dir), keysOf(t, back); len(here) != len(there) || len(here) != len(keysOf(t, dir)) {
			t.Errorf("%d objects came back of %d", len(there), len(here))
		}
		r.whole(t)
	}
}

func TestCadaver(t *testing.T) {
	dir, paths := example(t)
	r := newRig(t, nil)
	var script strings.Builder
	fmt.Fprintf(&script, "open %s/upload/\nls\n", r.URL)
	for _, p := range paths.Paths {
		record, err := os.ReadFile(filepath.Join(dir, string(layout.NarInfoKey(p.Info.Path))))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := layout.ParseNarInfo(record, layout.DefaultStoreDir)
		if err != nil {
			t.Fatal(err)
		}
		// The narinfo first, out of order.
		for _, key := range []layout.Key{layout.NarInfoKey(p.Info.Path), layout.Key(parsed.URL)} {
			fmt.Fprintf(&script, "put %s %s\n", filepath.Join(dir, string(key)), key)
		}
	}
	app := string(layout.NarInfoKey(paths.Named("app").Info.Path))
	got := filepath.Join(t.TempDir(), "got")
	fmt.Fprintf(&script, "lock %s\ndiscover %s\nunlock %s\ndelete %s\nget %s %s\nput /etc/passwd passwd\nls nar\nquit\n", app, app, app, app, app, got)
	out, err := program(t, script.String(), "cadaver")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, want := range []string{"Locking `" + app + "': succeeded", "Lock token <opaquelocktoken:", "Unlocking `" + app + "': succeeded",
		"Deleting `" + app + "': failed", "403 Forbidden", "Downloading `/upload/" + app + "'"} {
		if !strings.Contains(out, want) {
			t.Errorf("cadaver did not say %q:\n%s", want, out)
		}
	}
	if n := strings.Count(out, "failed"); n != 2 {
		t.Errorf("%d commands failed, want the delete and the put of a stranger:\n%s", n, out)
	}
	if text, err := os.ReadFile(got); err != nil || !strings.HasPrefix(string(text), "StorePath: ") {
		t.Errorf("get: %q, %v", text, err)
	}
	r.whole(t)
}

// The part of litmus that does not ask for names of its own choice.
func TestLitmus(t *testing.T) {
	r := newRig(t, nil)
	if out, err := program(t, "", "litmus", "-k", r.URL+"/upload/build-trace-v2/"); err != nil || strings.Contains(out, "FAIL") {
		t.Errorf("%v\n%s", err, out)
	}
}

// secure serves a handler by HTTP/2, and returns the URL and the file of the
// certificate to trust.
func secure(t *testing.T, s *httptest.Server) (url, certificate string) {
	t.Helper()
	tls := httptest.NewUnstartedServer(s.Config.Handler)
	tls.EnableHTTP2 = true
	tls.StartTLS()
	t.Cleanup(tls.Close)
	certificate = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw})
	if err := os.WriteFile(certificate, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return tls.URL, certificate
}

// copyTo runs nix copy, and returns what it said.
func copyTo(t *testing.T, nix peers.Nix, root, url, certificate, path string) (string, error) {
	t.Helper()
	cmd := nix.Command(t, "nix", "--extra-experimental-features", "nix-command", "--store", root, "copy", "--no-check-sigs", "--to", url, path)
	cmd.Env = append(cmd.Env, "NIX_SSL_CERT_FILE="+certificate, "HOME="+t.TempDir())
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// bigPath makes a store with one path that does not compress.
func bigPath(t *testing.T, size int) (root, path string) {
	t.Helper()
	root = peers.StoreRoot(t)
	big := filepath.Join(t.TempDir(), "big")
	text := make([]byte, size)
	for i, x := 0, uint32(1); i < len(text); i++ {
		x = x*1664525 + 1013904223
		text[i] = byte(x >> 24)
	}
	if err := os.WriteFile(big, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return root, peers.Old(t).Output(t, "nix", "--extra-experimental-features", "nix-command", "--store", root, "store", "add-file", big)
}

// Every Nix shows why it was refused, before the body, in the middle of it and
// at its end, over HTTP/1.1 and HTTP/2.
func TestNixShowsRefusals(t *testing.T) {
	root, path := bigPath(t, 30<<20)
	atEnd := func(_ layout.Key, from io.Reader) (inbox.Outcome, error) {
		if _, err := io.Copy(io.Discard, from); err != nil {
			return 0, &inbox.BodyError{Err: err}
		}
		return 0, &inbox.Refusal{Reason: inbox.BadFile, Msg: "not what its name says"}
	}
	for name, test := range map[string]struct {
		edit func(*Config, *inbox.Config)
		take func(layout.Key, io.Reader) (inbox.Outcome, error)
		want string
	}{
		"by size":       {edit: func(_ *Config, in *inbox.Config) { in.MaxFile = 1 << 20 }, want: "too large: this cache takes no nar"},
		"in the middle": {edit: func(_ *Config, in *inbox.Config) { in.MaxNarSize = 1 << 20 }, want: "too large: the NAR has more"},
		"at the end":    {take: atEnd, want: "not what its name says"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, test.edit)
			if test.take != nil {
				r.Server = newServer(t, newHandler(Config{Tree: r.tree, Auth: AllowAll, Log: quiet}, fakeInbox{Lister: r.tree, take: test.take}))
			}
			url, certificate := secure(t, r.Server)
			for _, nix := range peers.Nixes(t) {
				for _, at := range []string{r.URL, url} {
					out, err := copyTo(t, nix, root, at+"/upload?compression=none", certificate, path)
					if err == nil || !strings.Contains(out, test.want) {
						t.Errorf("Nix %s to %s: %v\n%s", nix.Version, at, err, out)
					}
				}
			}
			if keys := keysOf(t, r.dir); len(keys) != 1 {
				t.Errorf("it left %q", keys)
			}
		})
	}
}

// When the storage fails once, a Nix that can send again does so, and succeeds;
// one that would hang is told to give up.
func TestNixAndTrouble(t *testing.T) {
	root, path := bigPath(t, 2<<20)
	mem := treetest.NewMem(nil)
	if _, err := layout.Init(t.Context(), mem, layout.DefaultCacheInfo()); err != nil {
		t.Fatal(err)
	}
	var failed atomic.Bool
	var mu sync.Mutex
	h := newHandler(Config{Tree: mem, Auth: AllowAll, Log: quiet}, fakeInbox{Lister: mem, take: func(key layout.Key, from io.Reader) (inbox.Outcome, error) {
		mu.Lock()
		defer mu.Unlock()
		text, err := io.ReadAll(from)
		if err != nil {
			return 0, &inbox.BodyError{Err: err}
		}
		if key.Kind() == layout.KindNAR && failed.CompareAndSwap(false, true) {
			return 0, errors.New("input/output error")
		}
		return inbox.Created, mem.Put(t.Context(), key, layout.Bytes(text), layout.PutOptions{})
	}})
	server := newServer(t, h)
	url, certificate := secure(t, server)
	for _, nix := range peers.Nixes(t) {
		for _, at := range []string{server.URL, url} {
			for _, key := range mem.Keys() {
				if key.Kind() != layout.KindCacheInfo {
					mem.Damage(key, func([]byte) []byte { return nil })
				}
			}
			failed.Store(false)
			out, err := copyTo(t, nix, root, at+"/upload?compression=none", certificate, path)
			switch {
			case nix.Version == peers.Newest(t).Version && err != nil:
				t.Errorf("Nix %s to %s: %v\n%s", nix.Version, at, err, out)
			case nix.Version != peers.Newest(t).Version && (err == nil || !strings.Contains(out, "trouble with its storage")):
				t.Errorf("Nix %s to %s: %v\n%s", nix.Version, at, err, out)
			}
		}
	}
}
