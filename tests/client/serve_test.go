//go:build real

package client_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A served is a nixstatic serve that runs.
type served struct {
	url, token string
	log        *nixtest.Buffer
}

// startServe serves a cache until the test ends. Its log never has the token.
func startServe(t testing.TB, c cache, args ...string) *served {
	t.Helper()
	p := nixtest.Program{Nix: peers.Newest(t)}
	tokens := filepath.Join(t.TempDir(), "tokens")
	s := &served{token: p.Output(t, "token", "create", "--file", tokens, "--name", "ci", "--scope", "upload"), log: &nixtest.Buffer{}}
	nixtest.Secret(s.token)
	nixtest.Init(t, c.tree)
	cmd := p.Command(t, append([]string{"serve", c.tree, "--listen", "127.0.0.1:0", "--tokens", tokens, "--log-level", "debug", "--min-free", "0"}, args...)...)
	cmd.Stderr = s.log
	s.url = nixtest.Listen(t, cmd)
	t.Cleanup(func() {
		cmd.Wait()
		if strings.Contains(s.log.String(), s.token) {
			t.Error("the log of serve has a token")
		}
	})
	return s
}
