//go:build real

package builders_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// Nix adds to the queue what it builds, and a drain sends it. Nix 2.8 says of nothing
// that it was built but for the derivation.
func TestHook(t *testing.T) {
	eachNix(t, func(t *testing.T, nix peers.Nix) {
		b := newBuilder(t, nix)
		s := newServer(t, nix, "--store-dir", b.storeDir)
		built := b.build(t, 0, 10, "--option", "post-build-hook", b.hook(t, s))
		if st := b.status(t); st.Version != 1 || st.Waiting != 11 || st.Draining {
			t.Errorf("after the builds: %+v", st)
		}
		b.program().Run(t, "watch", "drain", "--strict", "--queue", b.queue).Want(t, 0)
		checkSent(t, s, b.closure(t, built))
		if st := b.status(t); st.Waiting != 0 || st.Sent != 11 {
			t.Errorf("after the drain: %+v", st)
		}
	})
}

// A queue that is not there fails no build.
func TestHookWithoutQueue(t *testing.T) {
	eachNix(t, func(t *testing.T, nix peers.Nix) {
		b := newBuilder(t, nix)
		hook := b.hook(t, newServer(t, nix, "--store-dir", b.storeDir))
		if err := os.RemoveAll(filepath.Join(b.queue, "new")); err != nil {
			t.Fatal(err)
		}
		if built := b.build(t, 0, 1, "--option", "post-build-hook", hook); len(built) != 1 {
			t.Errorf("built %q", built)
		}
	})
}

// A queue whose hook nix.conf cannot name is refused, and nothing is made.
func TestHookName(t *testing.T) {
	b := newBuilder(t, peers.Newest(t))
	for _, name := range []string{"a b", "a\tb", "a\nb", "a\rb", "a#b"} {
		dir := filepath.Join(t.TempDir(), name)
		b.run(t, nil, "watch", t.TempDir(), "--hook", "--queue", dir).Want(t, 2)
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%q was made", dir)
		}
	}
}

// A hook that leads to a program in the store keeps that: Nix fails a build whose hook is gone.
func TestHookKeepsProgram(t *testing.T) {
	b := newBuilder(t, peers.Newest(t))
	b.makeStore(t)
	dir := filepath.Join(t.TempDir(), "nixstatic")
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(nixtest.Binary(t), filepath.Join(dir, "bin", "nixstatic")); err != nil {
		text, err := os.ReadFile(nixtest.Binary(t))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "bin", "nixstatic"), text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	inStore := b.Output(t, "nix-store", "--store", b.store, "--add", dir)
	cmd := b.program().Command(t, "watch", filepath.Join(t.TempDir(), "cache"), "--hook", "--queue", b.queue, "--nix-store", b.store)
	cmd.Path = filepath.Join(inStore, "bin", "nixstatic")
	cmd.Args[0] = cmd.Path
	if r := nixtest.Wait(t, cmd).Want(t, 0); strings.Contains(r.Stderr, "warning") {
		t.Errorf("it says %s", r.Stderr)
	}
	b.Output(t, "nix-store", "--store", b.store, "--gc")
	if built := b.build(t, 0, 1, "--option", "post-build-hook", filepath.Join(b.queue, "post-build-hook")); len(built) != 1 {
		t.Errorf("built %q", built)
	}
	if st := b.status(t); st.Waiting != 2 {
		t.Errorf("%+v", st)
	}
}

// The hook runs before the parts of the program that take time get ready.
func TestHookIsEarly(t *testing.T) {
	b := newBuilder(t, peers.Newest(t))
	cmd := b.program().Command(t, "watch", "send", "--queue", b.queue)
	cmd.Env = append(cmd.Env, "GODEBUG=inittrace=1")
	r := nixtest.Wait(t, cmd).Want(t, 0)
	if !strings.Contains(r.Stderr, "init os @") {
		t.Fatalf("no trace: %s", r.Stderr)
	}
	for _, late := range []string{"fmt", "reflect", "unicode", "net/http", "github.com/klauspost/compress/internal/snapref", "google.golang.org/protobuf/internal/detrand",
		"github.com/minio/minio-go", "github.com/prometheus/", "github.com/nixstatic/nixstatic/layout"} {
		if strings.Contains(r.Stderr, "init "+late) {
			t.Errorf("%s gets ready before the hook:\n%s", late, r.Stderr)
		}
	}
}

// The hook ends with 0 in any environment, adds the store paths, and says little of the rest.
func TestHookOfAnything(t *testing.T) {
	b := newBuilder(t, peers.Newest(t))
	b.run(t, nil, "watch", filepath.Join(t.TempDir(), "cache"), "--hook", "--queue", b.queue).Want(t, 0)
	good := "/nix/store/" + strings.Repeat("a", 32) + "-good"
	for name, test := range map[string]struct {
		env     []string
		waiting int
	}{
		"nothing":             {nil, 0},
		"empty":               {[]string{"OUT_PATHS="}, 0},
		"blanks":              {[]string{"OUT_PATHS= \t\n "}, 0},
		"the derivation":      {[]string{"OUT_PATHS=", "DRV_PATH=" + good + ".drv"}, 1},
		"lines and tabs":      {[]string{"OUT_PATHS=\n" + good + "\t" + good + "-b\r\n"}, 2},
		"garbage, and a path": {[]string{"OUT_PATHS=\x1b[2J ../../etc/passwd /etc/passwd \xff\xfe // / - " + good}, 1},
		"much garbage":        {[]string{"OUT_PATHS=" + strings.Repeat("/x ", 30_000) + strings.Repeat("y", 20_000) + " " + good}, 1},
		"twice":               {[]string{"OUT_PATHS=" + good + " " + good}, 1},
	} {
		if err := errors.Join(os.RemoveAll(filepath.Join(b.queue, "new")), os.Mkdir(filepath.Join(b.queue, "new"), 0o755)); err != nil {
			t.Fatal(err)
		}
		cmd := b.program().Command(t, "watch", "send", "--queue", b.queue)
		cmd.Env = append(cmd.Env, test.env...)
		r := nixtest.Wait(t, cmd).Want(t, 0)
		if strings.Contains(r.Stderr, "\x1b") || !utf8.ValidString(r.Stderr) || len(r.Stderr) > 8<<10 {
			t.Errorf("%s: it says %.300q, %d bytes", name, r.Stderr, len(r.Stderr))
		}
		entries, err := os.ReadDir(filepath.Join(b.queue, "new"))
		if err != nil || len(entries) != test.waiting {
			t.Errorf("%s: %d paths wait, want %d (%v): %s", name, len(entries), test.waiting, err, r.Stderr)
		}
	}
}

// A wrong token is told, and costs neither a build nor a job.
func TestWrongToken(t *testing.T) {
	nix := peers.Newest(t)
	b := newBuilder(t, nix)
	s := newServer(t, nix, "--store-dir", b.storeDir)
	if err := os.WriteFile(s.Netrc, []byte("machine 127.0.0.1 login ci password nst_"+strings.Repeat("A", 43)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	built := b.build(t, 0, 2, "--option", "post-build-hook", b.hook(t, s))
	r := b.program().Run(t, "watch", "drain", "--queue", b.queue).Want(t, 0)
	if !strings.Contains(r.Stderr, "3 paths could not be sent") || !strings.Contains(r.Stderr, "401") {
		t.Errorf("drain says %s", r.Stderr)
	}
	b.program().Run(t, "watch", "drain", "--strict", "--queue", b.queue).Refused(t, "401")
	if st := b.status(t); st.Waiting != 3 || !strings.Contains(st.LastError, "401") {
		t.Errorf("%+v", st)
	}
	if err := os.WriteFile(s.Netrc, []byte("machine 127.0.0.1 login ci password "+s.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.program().Run(t, "watch", "drain", "--strict", "--queue", b.queue).Want(t, 0)
	checkSent(t, s, b.closure(t, built))
}
