//go:build real

package client_test

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A served is a nixstatic serve that runs.
type served struct {
	url, token string
	log        *safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// startServe serves a cache until the test ends. Its log never has the token.
func startServe(t testing.TB, c cache, args ...string) *served {
	t.Helper()
	p := nixtest.Program{Nix: peers.Newest(t)}
	tokens := filepath.Join(t.TempDir(), "tokens")
	s := &served{token: p.Output(t, "token", "create", "--file", tokens, "--name", "ci", "--scope", "upload"), log: &safeBuffer{}}
	nixtest.Secret(s.token)
	nixtest.Init(t, c.tree)
	cmd := p.Command(t, append([]string{"serve", c.tree, "--listen", "127.0.0.1:0", "--tokens", tokens, "--log-level", "debug", "--min-free", "0"}, args...)...)
	cmd.Cancel = func() error {
		cmd.Process.Signal(syscall.SIGTERM)
		return os.ErrProcessDone
	}
	cmd.Stderr = s.log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Wait()
		if strings.Contains(s.log.String(), s.token) {
			t.Error("the log of serve has a token")
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("serve does not start: %v\n%s", err, s.log)
	}
	s.url = strings.TrimSuffix(line, "\n")
	return s
}
