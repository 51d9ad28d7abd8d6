//go:build real

package release_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A machine is a root that dpkg installs into.
type machine struct {
	t    testing.TB
	root string
}

func newMachine(t testing.TB) machine {
	m := machine{t, t.TempDir()}
	for _, name := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(m.file("var/lib/dpkg/"+name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.write("var/lib/dpkg/status", "")
	return m
}

func (m machine) file(name string) string { return filepath.Join(m.root, name) }

func (m machine) write(name, text string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.file(name)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.file(name), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// dpkg runs dpkg on the machine, whose scripts see DPKG_ROOT. Files belong to root, so
// another user is root of a namespace.
func (m machine) dpkg(args ...string) {
	m.t.Helper()
	args = append([]string{"dpkg", "--root=" + m.root, "--force-script-chrootless", "--log=/dev/null"}, args...)
	if os.Getuid() != 0 {
		args = append([]string{"unshare", "-r"}, args...)
	}
	run(m.t, "", []string{"DEBIAN_FRONTEND=noninteractive", "PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}, args...)
}

// files lists what is there beside what dpkg knows.
func (m machine) files() (all []string) {
	m.t.Helper()
	err := filepath.WalkDir(m.root, func(name string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(m.root, name)
		if err == nil && !e.IsDir() && !strings.HasPrefix(rel, "var/lib/dpkg/") {
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}

// The Debian package installs with units that systemd takes, survives an upgrade with the
// settings of its user, and leaves the cache when it goes.
func TestDebian(t *testing.T) {
	deb := filepath.Join(release(t), "nixstatic_1.2.3-rc.1_"+runtime.GOARCH+".deb")
	m := newMachine(t)
	m.dpkg("--install", deb)
	if got := run(t, "", nil, m.file("usr/bin/nixstatic"), "--version"); got != "nixstatic version "+version+"\n" {
		t.Errorf("the program says %q", got)
	}
	if got := run(t, "", nil, "dpkg-deb", "--field", deb, "Version"); got != "1.2.3~rc.1\n" {
		t.Errorf("the version of the package is %q, which has to be older than 1.2.3", got)
	}
	for _, name := range []string{"usr/share/man/man1/nixstatic-gc-why.1.gz", "usr/share/bash-completion/completions/nixstatic", "usr/share/zsh/vendor-completions/_nixstatic",
		"usr/share/fish/vendor_completions.d/nixstatic.fish", "usr/share/doc/nixstatic/CHANGELOG.md"} {
		if len(read(t, m.file(name))) == 0 {
			t.Errorf("%s is empty", name)
		}
	}
	if text := string(read(t, m.file("usr/share/doc/nixstatic/copyright"))); !strings.Contains(text, "License: MIT\n MIT License\n .\n") {
		t.Errorf("copyright:\n%s", text)
	}
	if got := m.files(); slices.ContainsFunc(got, func(name string) bool { return strings.Contains(name, ".wants/") }) {
		t.Errorf("a unit is enabled: %q", got)
	}

	// The units as they are, but for where this machine is.
	units := t.TempDir()
	var names []string
	entries, err := os.ReadDir(m.file("usr/lib/systemd/system"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text := string(read(t, m.file("usr/lib/systemd/system/"+e.Name())))
		if strings.Contains(text, "/usr/local/") {
			t.Errorf("%s:\n%s", e.Name(), text)
		}
		file := filepath.Join(units, e.Name())
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "/usr/bin/nixstatic", m.file("usr/bin/nixstatic"))), 0o644); err != nil {
			t.Fatal(err)
		}
		names = append(names, file)
	}
	if len(names) != 5 {
		t.Errorf("units: %q", names)
	}
	out, err := exec.CommandContext(t.Context(), peers.Program(t, "systemd-analyze"), append([]string{"verify", "--man=no"}, names...)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "nixstatic") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}

	// An operator changes a setting, enables services, makes a key and a cache.
	m.write("etc/nixstatic/serve.conf", "OPTIONS=--private\n")
	run(t, "", nil, m.file("usr/bin/nixstatic"), "key", "generate", "--name", "k-1", "--to", m.file("etc/nixstatic/secret.key"))
	run(t, "", nil, m.file("usr/bin/nixstatic"), "init", m.file("var/lib/nixstatic/cache"))
	run(t, "", nil, peers.Program(t, "systemctl"), "--quiet", "--root="+m.root, "enable", "nixstatic.socket", "nixstatic.service", "nixstatic-gc.timer", "nixstatic-push.service")
	mine := slices.DeleteFunc(m.files(), func(name string) bool {
		return strings.HasPrefix(name, "usr/") || strings.HasPrefix(name, "etc/systemd/") || strings.HasSuffix(name, ".conf") || strings.HasSuffix(name, "-hook")
	})
	if len(mine) < 2 || !slices.Contains(mine, "etc/nixstatic/secret.key") {
		t.Fatalf("what the operator made: %q", mine)
	}
	m.dpkg("--install", deb)
	if got := string(read(t, m.file("etc/nixstatic/serve.conf"))); got != "OPTIONS=--private\n" {
		t.Errorf("after an upgrade the setting is %q", got)
	}
	if _, err := os.Lstat(m.file("etc/systemd/system/sockets.target.wants/nixstatic.socket")); err != nil {
		t.Errorf("after an upgrade the socket is not enabled: %v", err)
	}

	// Builds of a Nix with the hook go on.
	m.dpkg("--remove", "nixstatic")
	want := append(slices.Clone(mine), "etc/nixstatic/post-build-hook", "etc/nixstatic/push.conf", "etc/nixstatic/serve.conf")
	slices.Sort(want)
	if diff := cmp.Diff(want, m.files()); diff != "" {
		t.Errorf("once the package is removed (-want +got):\n%s", diff)
	}
	hook := filepath.Join(t.TempDir(), "hook")
	text := strings.ReplaceAll(string(read(t, m.file("etc/nixstatic/post-build-hook"))), "/usr/bin/nixstatic", m.file("usr/bin/nixstatic"))
	if err := os.WriteFile(hook, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "", []string{"OUT_PATHS=/nix/store/00000000000000000000000000000000-x"}, hook)

	m.dpkg("--purge", "nixstatic")
	if diff := cmp.Diff(mine, m.files()); diff != "" {
		t.Errorf("once the package is purged (-want +got):\n%s", diff)
	}
	newest := nixtest.Program{Nix: peers.Newest(t)}
	newest.Run(t, "verify", m.file("var/lib/nixstatic/cache")).Want(t, 0)
}
