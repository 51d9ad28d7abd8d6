//go:build real

package client_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestUse: every Nix substitutes from a cache after use, and not before; --remove
// restores the files to the byte.
func TestUse(t *testing.T) {
	c := newCache(t, "use.example.org-1")
	web := plainNginx(t, c.tree)
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			m := newMachine(t, nix)
			m.write(t, "home/.config/nix/nix.conf", "# mine\nkeep-outputs = true")
			for _, where := range []string{"user", "system"} {
				p, file := m.root(), map[string]string{"user": "home/.config/nix/nix.conf", "system": "etc/nix.conf"}[where]
				before := m.read(t, file)
				p.fetchesNot(t, c.path)
				p.nixstatic(t, "use", web.URL, "--write", where, "--yes").Want(t, 0)
				m.forgetAnswers(t)
				p.fetches(t, c.path)
				after := m.read(t, file)
				p.nixstatic(t, "use", web.URL, "--write", where, "--yes").Want(t, 0)
				if m.read(t, file) != after {
					t.Error("twice is not once")
				}
				p.nixstatic(t, "use", web.URL, "--write", where, "--remove").Want(t, 0)
				if got := m.read(t, file); got != before {
					t.Errorf("%s was %q and is %q", file, before, got)
				}
				m.forget(t, c.path)
				p.fetchesNot(t, c.path)
			}
		})
	}
}

// TestUseBuild: nix build takes a path from the cache.
func TestUseBuild(t *testing.T) {
	c := newCache(t, "use.example.org-1")
	for _, nix := range peers.Nixes(t) {
		m := newMachine(t, nix)
		p := m.root()
		p.nixstatic(t, "use", c.tree, "--yes").Want(t, 0)
		out, err := p.as(t, nix.Command(t, "nix", "build", "--no-link", "--store", m.path("root"), c.path)).CombinedOutput()
		if err != nil {
			t.Errorf("Nix %s: %v\n%s", nix.Version, err, out)
		}
	}
}

// TestUseDaemon: a user whom the daemon does not trust is told both ways out, and
// each of them works.
func TestUseDaemon(t *testing.T) {
	c := newCache(t, "use.example.org-1")
	url := "file://" + c.tree
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			m := newMachine(t, nix)
			system := m.read(t, "etc/nix.conf")
			m.startDaemon(t)
			them := m.other()
			r := them.nixstatic(t, "use", url, "--yes").Want(t, 1)
			wantText(t, r.Stderr, "the Nix daemon does not trust nobody", "sudo nixstatic use "+url+" --write system", "extra-trusted-users = nobody")
			if m.read(t, "etc/nix.conf") != system {
				t.Error("the system's file was changed")
			}
			if _, err := os.Stat(m.path("theirs/.config")); err == nil {
				t.Error("a file of the user's was written")
			}
			them.fetchesNot(t, c.path)

			// A file of the user's own does not help, which is said where Nix says it.
			note := "the Nix daemon does not trust this user"
			r = them.nixstatic(t, "use", url, "--yes", "--write", "user").Want(t, 0)
			if told := strings.Contains(r.Stderr, note); told != (nix.Version != peers.Old(t).Version) {
				t.Errorf("it says that the daemon does not trust the user: %v\n%s", told, r.Stderr)
			}
			them.nixstatic(t, "use", url, "--remove").Want(t, 0)
			m.write(t, "etc/nix.conf", system+"\ntrusted-substituters = "+url+"\n")
			if r = them.nixstatic(t, "use", url, "--yes", "--write", "user").Want(t, 0); strings.Contains(r.Stderr, note) {
				t.Errorf("the daemon has the cache among trusted-substituters, and it says\n%s", r.Stderr)
			}
			them.nixstatic(t, "use", url, "--remove").Want(t, 0)
			m.write(t, "etc/nix.conf", system)

			// The system's administrator does it.
			r = m.root().nixstatic(t, "use", url, "--yes").Want(t, 0)
			wantText(t, r.Stderr, m.path("etc/nix.conf")+" uses ", "the Nix daemon reads it when it starts")
			m.startDaemon(t)
			m.forgetAnswers(t)
			them.fetches(t, c.path)
			m.root().nixstatic(t, "use", url, "--remove").Want(t, 0)
			if m.read(t, "etc/nix.conf") != system {
				t.Error("the system's file was not restored")
			}
			m.stopDaemon(t)
			m.forget(t, c.path)

			// The user is trusted, and does it alone.
			m.write(t, "etc/nix.conf", system+"\nextra-trusted-users = nobody\n")
			m.startDaemon(t)
			them.fetchesNot(t, c.path)
			r = them.nixstatic(t, "use", url, "--yes").Want(t, 0)
			wantText(t, r.Stderr, m.path("theirs/.config/nix/nix.conf")+" uses ")
			m.forgetAnswers(t)
			them.fetches(t, c.path)
			them.nixstatic(t, "use", url, "--remove").Want(t, 0)
			if _, err := os.Stat(m.path("theirs/.config/nix/nix.conf")); err == nil {
				t.Error("the user's file was not removed again")
			}
		})
	}
}

// TestUseToken: a private cache is used with a token that stands in netrc and
// nowhere else.
func TestUseToken(t *testing.T) {
	c := newCache(t, "use.example.org-1")
	s := startServe(t, c, "--private", "--read-only")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(s.token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			m := newMachine(t, nix)
			p := m.root()
			r := p.nixstatic(t, "use", s.url, "--key", c.key.Public).Want(t, 1)
			wantText(t, r.Stderr, "401 Unauthorized")

			const others = "machine other.example.org login a password b\n"
			m.write(t, "home/.netrc-nix", others)
			m.write(t, "home/.config/nix/nix.conf", "netrc-file = "+m.path("home/.netrc-nix")+"\n")
			conf := m.read(t, "home/.config/nix/nix.conf")
			for _, where := range []string{"user", "system"} {
				netrc := map[string]string{"user": "home/.netrc-nix", "system": "etc/netrc"}[where]
				if where == "system" {
					m.write(t, "home/.config/nix/nix.conf", "")
				}
				p.nixstatic(t, "use", s.url, "--key", c.key.Public, "--token-file", file, "--write", where).Want(t, 0)
				st, err := os.Stat(m.path(netrc))
				if err != nil || st.Mode().Perm()&0o007 != 0 || where == "system" && st.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", netrc, st, err)
				}
				if where == "user" {
					wantText(t, m.read(t, netrc), others)
				}
				m.forgetAnswers(t)
				p.fetches(t, c.path)
				m.forget(t, c.path)
				p.nixstatic(t, "use", s.url, "--remove", "--write", where).Want(t, 0)
				if strings.Contains(m.read(t, "etc/nix.conf"), s.url) {
					t.Error("the block is still there")
				}
				if where == "user" && (m.read(t, netrc) != others || m.read(t, "home/.config/nix/nix.conf") != conf) {
					t.Error("the files were not restored")
				}
			}
			if _, err := os.Stat(m.path("etc/netrc")); err == nil {
				t.Error("a netrc that use made was not removed")
			}
		})
	}
}

// TestUseTokenDaemon: a daemon that trusts a user reads the netrc that this user's
// settings name.
func TestUseTokenDaemon(t *testing.T) {
	c := newCache(t, "use.example.org-1")
	s := startServe(t, c, "--private", "--read-only")
	for _, nix := range peers.Nixes(t) {
		m := newMachine(t, nix)
		m.write(t, "etc/nix.conf", m.read(t, "etc/nix.conf")+"\ntrusted-users = root nobody\n")
		m.startDaemon(t)
		them := m.other()
		m.write(t, "theirs/token", s.token)
		them.nixstatic(t, "use", s.url, "--key", c.key.Public, "--token-file", m.path("theirs/token")).Want(t, 0)
		if st, err := os.Stat(m.path("theirs/.config/nix/netrc")); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", st, err)
		}
		them.fetches(t, c.path)
		// Another run without the token does not lose it.
		before := m.read(t, "theirs/.config/nix/nix.conf")
		them.nixstatic(t, "use", s.url, "--key", c.key.Public).Want(t, 0)
		if got := m.read(t, "theirs/.config/nix/nix.conf"); got != before {
			t.Errorf("%q became %q", before, got)
		}
		them.nixstatic(t, "use", s.url, "--remove").Want(t, 0)
		for _, name := range []string{"nix.conf", "netrc"} {
			if _, err := os.Stat(m.path("theirs/.config/nix/" + name)); err == nil {
				t.Errorf("%s is still there", name)
			}
		}
	}
}

// TestUseUpload: a user who takes the URL for uploads as the one for readers is told.
func TestUseUpload(t *testing.T) {
	c := newCache(t, "use.example.org-1")
	s := startServe(t, c)
	p := newMachine(t, peers.Newest(t)).root()
	const note = "is where paths are uploaded to"
	for url, told := range map[string]bool{s.url: false, s.url + "/upload": true, s.url + "/upload/": true} {
		r := p.nixstatic(t, "use", url, "--key", c.key.Public, "--write", "print").Want(t, 0)
		if strings.Contains(r.Stderr, note) != told || told && !strings.Contains(r.Stderr, "readers use "+s.url+"\n") {
			t.Errorf("%s: told: %v\n%s", url, !told, r.Stderr)
		}
	}
}
