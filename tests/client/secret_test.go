//go:build real

package client_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestNoTokenIsShown has every command that reads or writes a cache meet a URL with a
// token in it, good, wrong and out of reach. None shows it; the runs are watched for
// that, and so is the log of the server.
func TestNoTokenIsShown(t *testing.T) {
	c := newCache(t, "secret.example.org-1")
	s := startServe(t, c, "--private")
	store := peers.Closure(t)
	p := nixtest.Program{Nix: peers.Newest(t), Dir: t.TempDir()}
	wrong := "nst_" + strings.Repeat("Zy9", 14) + "Q"
	nixtest.Secret(wrong)
	plain := "a-password-of-another-server"
	nixtest.Secret(plain)
	read := 0
	for n, login := range []string{"ci:" + s.token, "ci:" + wrong, "ci:" + plain, s.token} {
		servers := []string{s.url, "https://" + strings.TrimPrefix(s.url, "http://")}
		if n == 0 {
			servers = append(servers, "http://127.0.0.1:1") // each command tries it again for seconds
		}
		for _, server := range servers {
			at := strings.Replace(server, "://", "://"+login+"@", 1)
			for i, args := range [][]string{
				{"sync", at, filepath.Join(p.Dir, "copy"), c.path}, {"sync", at, filepath.Join(p.Dir, "all")}, {"sync", c.tree, at + "/upload"},
				{"export", "--from", at, "--to", filepath.Join(p.Dir, "exported"), "--trusted-public-key", c.key.Public, c.path},
				{"export", "--store", store.Root, "--to", at + "/upload", c.path}, {"push", "--store", store.Root, at + "/upload", c.path, "--json"},
				{"push", "--store", store.Root, "-n", at + "/upload", c.path}, {"add", "--name", "x", "--to", at + "/upload", c.key.File},
				{"use", at}, {"use", at, "--remove"}, {"doctor", at}, {"verify", at}, {"init", at}, {"serve", at}, {"gc", at}, {"pin", "list", at},
			} {
				if r := p.Run(t, args...); r.Code == 0 && i < 9 {
					read++
				}
			}
		}
	}
	if read == 0 {
		t.Error("no command reached the server: the test shows nothing")
	}
	if !strings.Contains(s.log.String(), "wrong token") {
		t.Errorf("the server met no wrong token:\n%s", s.log)
	}
}
