package nixtest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// A Program is nixstatic on a machine that has one version of Nix.
type Program struct {
	Nix   peers.Nix // its nix-daemon is the one on PATH
	Dir   string    // working directory; "" for the test's own
	Tags  string    // build tags of a program that is not shipped, see package s3
	Stdin string
}

// A Result is what a run left behind.
type Result struct {
	Args           []string
	Stdout, Stderr string
	Code           int // exit code; -1 if a signal ended it
}

// Command returns a command that runs nixstatic, stopped when the test ends.
func (p Program) Command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tagged(t, p.Tags), args...)
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = p.Dir
	cmd.Stdin = strings.NewReader(p.Stdin)
	cmd.Env = p.Environ(t)
	return cmd
}

// Environ returns the environment of the machine that the program believes to
// be on.
func (p Program) Environ(t testing.TB) []string {
	env := p.Nix.Command(t, "nix").Env
	bin := filepath.Dir(p.Nix.Bin("nix"))
	return append(env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// Run runs nixstatic to its end, whatever that is. No output of any run may
// hold a secret that the tests know.
func (p Program) Run(t testing.TB, args ...string) Result {
	t.Helper()
	return Wait(t, p.Command(t, args...))
}

// Wait runs a command of Program.Command to its end.
func Wait(t testing.TB, cmd *exec.Cmd) Result {
	t.Helper()
	return Start(t, cmd).Wait(t)
}

// A Running is a nixstatic that was started. Someone has to Wait for it.
type Running struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	ended          chan struct{}
	err            error
}

// Start starts a command of Program.Command.
func Start(t testing.TB, cmd *exec.Cmd) *Running {
	t.Helper()
	r := &Running{cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &r.stdout, &r.stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("start nixstatic %q: %v", cmd.Args[1:], err)
	}
	go func() {
		defer close(r.ended)
		r.err = cmd.Wait()
	}()
	return r
}

// Ended reports whether the program has come to its end.
func (r *Running) Ended() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// Signal sends the program a signal.
func (r *Running) Signal(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(signal); err != nil {
		t.Errorf("send nixstatic %v: %v", signal, err)
	}
}

// Wait waits until the program has come to its end.
func (r *Running) Wait(t testing.TB) Result {
	t.Helper()
	<-r.ended
	if exit := (*exec.ExitError)(nil); r.err != nil && !errors.As(r.err, &exit) {
		t.Fatalf("run nixstatic %q: %v", r.cmd.Args[1:], r.err)
	}
	result := Result{r.cmd.Args[1:], r.stdout.String(), r.stderr.String(), r.cmd.ProcessState.ExitCode()}
	checkSecrets(t, result.Args, result.Stdout, result.Stderr)
	return result
}

// Output runs nixstatic, which must succeed, and returns its standard output
// without the final newline.
func (p Program) Output(t testing.TB, args ...string) string {
	t.Helper()
	return p.Run(t, args...).Want(t, 0).Output()
}

// Want fails the test unless the run ended with the exit code.
func (r Result) Want(t testing.TB, code int) Result {
	t.Helper()
	if r.Code != code {
		t.Fatalf("nixstatic %s: exit code %d, want %d\nstdout:\n%s\nstderr:\n%s",
			strings.Join(r.Args, " "), r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// Refused fails the test unless the run ended with code 1, and said why in a
// line that holds each of words.
func (r Result) Refused(t testing.TB, words ...string) Result {
	t.Helper()
	r.Want(t, 1)
	line, ok := "", false
	for text := range strings.Lines(r.Stderr) {
		if line, ok = strings.CutPrefix(text, "nixstatic: error: "); ok {
			break
		}
	}
	if !ok {
		t.Fatalf("nixstatic %s: no error: line in\n%s", strings.Join(r.Args, " "), r.Stderr)
	}
	for _, word := range words {
		if !strings.Contains(line, word) {
			t.Errorf("nixstatic %s: the error does not name %q: %s", strings.Join(r.Args, " "), word, line)
		}
	}
	return r
}

// Output returns standard output without the final newline.
func (r Result) Output() string { return strings.TrimSuffix(r.Stdout, "\n") }

// A Key is a signing key in a file.
type Key struct {
	File   string
	Public string // name:base64, as trusted-public-keys takes it
}

var secrets struct {
	sync.Mutex
	texts []string
}

// NewKey makes a key with nixstatic's own command. From then on every run of
// the process is watched for its secret.
func (p Program) NewKey(t testing.TB, name string) Key {
	t.Helper()
	file := filepath.Join(SharedDir(t, "key"), "secret.key")
	public := p.Output(t, "key", "generate", "--name", name, "--to", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, ok := strings.Cut(strings.TrimSpace(string(text)), ":")
	if !ok || len(secret) < 40 {
		t.Fatalf("the key file of %s is not name:base64", name)
	}
	secrets.Lock()
	// The secret seed precedes the public half.
	secrets.texts = append(secrets.texts, secret[:40])
	secrets.Unlock()
	return Key{file, public}
}

// Secret has all runs from now on checked for a text that none may print.
func Secret(text string) {
	secrets.Lock()
	defer secrets.Unlock()
	secrets.texts = append(secrets.texts, text)
}

func checkSecrets(t testing.TB, args []string, outputs ...string) {
	t.Helper()
	secrets.Lock()
	defer secrets.Unlock()
	for _, secret := range secrets.texts {
		for _, text := range outputs {
			if strings.Contains(text, secret) {
				t.Errorf("nixstatic %q prints a secret", args)
			}
		}
	}
}

// Init makes an empty cache for a server, which makes none by itself. A cache that is
// there stays as it is.
func Init(t testing.TB, tree string, args ...string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(tree, "nix-cache-info")); err == nil {
		return
	}
	Program{Nix: peers.Newest(t)}.Run(t, append([]string{"init", "--no-page", tree}, args...)...).Want(t, 0)
}
