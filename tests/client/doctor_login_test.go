//go:build real

package client_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestDoctorLogin plants faults in the password for a private cache.
func TestDoctorLogin(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	s := startServe(t, c, "--private", "--read-only")
	plant := func(fault, netrc string, mode os.FileMode) {
		t.Helper()
		g := groundAt(t, c, s.url)
		if netrc != "" {
			g.machine.write(t, "etc/netrc", netrc)
			if err := os.Chmod(g.machine.path("etc/netrc"), mode); err != nil {
				t.Fatal(err)
			}
		}
		if fault == "" {
			g.healthy(t, s.url, c.path, "--deep")
		} else {
			g.ills(t, fault)
		}
	}
	right := "machine 127.0.0.1 login ci password " + s.token + "\n"
	plant("", right, 0o600)
	plant("netrc-missing", "", 0)
	plant("netrc-no-entry", "machine other.example.org login ci password "+s.token+"\n", 0o600)
	plant("token-refused", "machine 127.0.0.1 login ci password nst_"+strings.Repeat("A", 43)+"\n", 0o600)
	plant("netrc-broken", "machine 127.0.0.1 login ci password \"open\n", 0o600)
	plant("netrc-open", right, 0o644)

	// A user without a daemon, whose settings name a netrc that is root's.
	g := groundAt(t, c, s.url)
	them := g.machine.other()
	g.machine.write(t, "theirs/.config/nix/nix.conf", g.machine.read(t, "home/.config/nix/nix.conf"))
	g.machine.write(t, "etc/netrc", right)
	if err := os.Chmod(g.machine.path("etc/netrc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(g.machine.path("state"), unprivileged, unprivileged); err != nil {
		t.Fatal(err)
	}
	them.bare = true
	them.ills(t, "netrc-unreadable")
}

// TestDoctorDaemon plants faults between a user and the Nix daemon.
func TestDoctorDaemon(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			web := plainNginx(t, c.tree)
			m := newMachine(t, nix)
			system := m.read(t, "etc/nix.conf")
			lines := "extra-substituters = " + web.URL + "\nextra-trusted-public-keys = " + c.key.Public + "\n"
			them := m.other()
			m.write(t, "theirs/.config/nix/nix.conf", "extra-substituters = "+web.URL+"\n")
			m.startDaemon(t)
			them.ills(t, "user-not-trusted", web.URL)

			// The daemon lets users choose this cache, and does not know its key.
			m.write(t, "etc/nix.conf", system+"\ntrusted-substituters = "+web.URL+"\nextra-trusted-public-keys = "+c.key.Public+"\n")
			later := time.Now().Add(time.Minute)
			if err := os.Chtimes(m.path("etc/nix.conf"), later, later); err != nil {
				t.Fatal(err)
			}
			them.ills(t, "daemon-outdated", web.URL)
			m.write(t, "etc/nix.conf", system+"\ntrusted-substituters = "+web.URL+"\n")
			m.startDaemon(t)
			m.write(t, "theirs/.config/nix/nix.conf", lines)
			them.ills(t, "key-of-untrusted-user", web.URL)
			m.write(t, "theirs/.config/nix/nix.conf", "extra-substituters = "+web.URL+"\n")
			them.ills(t, "key-not-trusted", web.URL)
			m.write(t, "etc/nix.conf", system+"\ntrusted-substituters = "+web.URL+"\nextra-trusted-public-keys = "+c.key.Public+"\n")
			m.startDaemon(t)
			them.healthy(t, web.URL)
			them.fetches(t, c.path)

			// A user who is trusted needs no more than what nixstatic use writes.
			m.write(t, "etc/nix.conf", system+"\ntrusted-users = nobody\n")
			m.write(t, "theirs/.config/nix/nix.conf", "")
			m.startDaemon(t)
			them.nixstatic(t, "use", web.URL, "--yes").Want(t, 0)
			them.healthy(t, web.URL, c.path, "--deep")
		})
	}
}

// TestDoctorHiddenNetrc: the service of a daemon may hide home directories.
func TestDoctorHiddenNetrc(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	s := startServe(t, c, "--private", "--read-only")
	m := newMachine(t, peers.Newest(t))
	m.write(t, "theirs/netrc", "machine 127.0.0.1 login ci password "+s.token+"\n")
	if err := os.Chmod(m.path("theirs/netrc"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.write(t, "etc/nix.conf", m.read(t, "etc/nix.conf")+"\nextra-substituters = "+s.url+"\nextra-trusted-public-keys = "+c.key.Public+"\nnetrc-file = "+m.path("theirs/netrc")+"\n")
	m.startDaemon(t)
	m.root().healthy(t, s.url, c.path)
	m.hide = m.path("theirs")
	m.startDaemon(t)
	m.root().ills(t, "netrc-hidden", s.url, c.path)
}

// TestDoctorTree looks at the serving side.
func TestDoctorTree(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	plant := func(fault string, do func(g *ground), args ...string) {
		t.Helper()
		t.Run(fault, func(t *testing.T) {
			g := newGround(t, c)
			// The folders of a test are for its user alone.
			tree := filepath.Join(g.machine.dir, "tree")
			if err := os.Rename(g.tree, tree); err != nil {
				t.Fatal(err)
			}
			g.tree = tree
			do(g)
			if fault == "" {
				g.healthy(t, append([]string{g.tree}, args...)...)
			} else {
				g.ills(t, fault, append([]string{g.tree}, args...)...)
			}
		})
	}
	plant("", func(*ground) {})
	plant("", func(*ground) {}, c.path, "--deep")
	plant("no-cache-info", func(g *ground) { g.remove(t, "nix-cache-info") })
	plant("nar-missing", func(g *ground) { g.remove(t, "nar/*") })
	plant("narinfo-damaged", func(g *ground) { g.edit(t, "*.narinfo", func(s string) string { return s[:40] }) })
	plant("unsigned", func(g *ground) { g.edit(t, "*.narinfo", func(s string) string { return s[:strings.Index(s, "Sig:")] }) })
	plant("file-closed", func(g *ground) {
		if err := os.Chmod(filepath.Join(g.tree, "nix-cache-info"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	plant("folder-closed", func(g *ground) {
		if err := os.Chmod(g.tree, 0o700); err != nil {
			t.Fatal(err)
		}
	})
	plant("key-not-published", func(g *ground) {
		other := nixtest.Program{Nix: peers.Newest(t)}.NewKey(t, "other.example.org-1")
		g.cache.write(t, "public-keys", other.Public+"\n")
	})
}
