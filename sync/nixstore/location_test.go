package nixstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// newRootDir returns a folder that can pass for the root of a store, with
// characters in its name that need care.
func newRootDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "a root+?&%41")
	if err := os.MkdirAll(filepath.Join(root, "nix/store"), 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestLocate(t *testing.T) {
	root := newRootDir(t)
	const escaped = "%2Fa%20root%2B%3F%26%2541"
	rooted := location{storeDir: "/nix/store", realDir: root + "/nix/store", logDir: root + "/nix/var/log/nix"}
	with := func(l location, f func(*location)) location { f(&l); return l }
	machine := location{
		storeDir: "/nix/store", realDir: "/nix/store", logDir: "/nix/var/log/nix", stateDir: "/nix/var/nix",
		socket: "/nix/var/nix/daemon-socket/socket", spawn: true, uri: "local",
	}
	spawnedRoot := with(rooted, func(l *location) {
		l.spawn, l.stateDir = true, root+"/nix/var/nix"
		l.uri = "local?root=" + escape(filepath.Dir(root)) + escaped
	})
	tests := []struct {
		store string
		env   map[string]string
		want  location
	}{
		{"", nil, machine},
		{"auto", nil, machine},
		{"", map[string]string{"NIX_STORE_DIR": "/s/", "NIX_STATE_DIR": "/v", "NIX_LOG_DIR": "/l"}, with(machine, func(l *location) {
			l.storeDir, l.realDir, l.logDir, l.stateDir, l.socket = "/s", "/s", "/l", "/v", "/v/daemon-socket/socket"
		})},
		{"", map[string]string{"NIX_DAEMON_SOCKET_PATH": "/d", "NIX_STATE_DIR": "/v"}, with(machine, func(l *location) { l.socket, l.stateDir = "/d", "/v" })},
		{"", map[string]string{"NIX_REMOTE": "daemon"}, with(machine, func(l *location) { l.spawn, l.uri, l.stateDir = false, "", "" })},
		{"", map[string]string{"NIX_REMOTE": "unix:///d"}, with(machine, func(l *location) { l.spawn, l.uri, l.socket, l.stateDir = false, "", "/d", "" })},
		{"local", map[string]string{"NIX_REMOTE": "daemon"}, with(machine, func(l *location) { l.socket = "" })},
		{root, nil, spawnedRoot},
		{"local?root=" + escape(root), nil, spawnedRoot},
		{"local://" + escape(root), nil, spawnedRoot},
		{"local?read-only=true", nil, with(machine, func(l *location) { l.socket, l.stateDir, l.uri = "", "", "local?read-only=true" })},
		{"local?real=/r&state=/v&store=/s+t", nil, location{
			storeDir: "/s+t", realDir: "/r", logDir: "/nix/var/log/nix",
			stateDir: "/v", spawn: true, uri: "local?real=%2Fr&state=%2Fv&store=%2Fs%2Bt",
		}},
		{"unix:///d?root=" + escape(root) + "&log=/l", nil, with(rooted, func(l *location) { l.socket, l.logDir = "/d", "/l" })},
		{"unix://", nil, with(machine, func(l *location) { l.spawn, l.uri, l.stateDir = false, "", "" })},
	}
	for _, test := range tests {
		got, err := locate(test.store, func(name string) string { return test.env[name] })
		if err != nil {
			t.Errorf("%q, %v: %v", test.store, test.env, err)
			continue
		}
		got.bareDir = "" // depends on the machine
		if test.want.name == "" {
			got.name = ""
		}
		if !got.spawn {
			got.uri = "" // is for a daemon of our own
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(location{})); diff != "" {
			t.Errorf("%q, %v (-want +got):\n%s", test.store, test.env, diff)
		}
	}
}

func TestLocateRefusals(t *testing.T) {
	dir := t.TempDir()
	for _, store := range []string{
		"https://cache.nixos.org", "file:///x", "s3://bucket", "ssh-ng://host", "dummy://", "nonsense",
		"local?store=relative", "local?root=%zz", "unix://%zz", "local?store=/a/../b",
	} {
		if l, err := locate(store, os.Getenv); err == nil {
			t.Errorf("%q: taken for %+v", store, l)
		}
	}
	for _, store := range []string{dir, dir + "/none", "local?root=" + dir} {
		if _, err := locate(store, os.Getenv); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v, want fs.ErrNotExist", store, err)
		}
	}
}
