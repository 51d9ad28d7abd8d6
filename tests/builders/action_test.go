//go:build real

package builders_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A job runs the scripts of the action with a runner's environment.
type job struct {
	*builder
	env  []string
	dir  string // of the runner
	conf string // NIX_CONF_DIR
}

func newJob(t testing.TB, b *builder, env ...string) *job {
	t.Helper()
	j := &job{builder: b, dir: t.TempDir(), conf: t.TempDir()}
	bin := filepath.Join(j.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(nixtest.Binary(t), filepath.Join(bin, "nixstatic")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(j.conf, "nix.conf"), []byte("build-users-group =\nsandbox = false\nsubstituters =\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, setting := range b.program().Environ(t) {
		if !strings.HasPrefix(setting, "NIX_") && !strings.HasPrefix(setting, "PATH=") && !strings.HasPrefix(setting, "ACTIONS_") {
			j.env = append(j.env, setting)
		}
	}
	j.env = append(j.env, "PATH="+bin+":"+filepath.Dir(b.Bin("nix"))+":"+os.Getenv("PATH"), "HOME="+j.dir, "CI=true", "GITHUB_ACTIONS=true", "GITHUB_RUN_ID=17",
		"RUNNER_TEMP="+j.dir+"/temp", "GITHUB_ENV="+j.dir+"/env", "GITHUB_PATH="+j.dir+"/path",
		"NIX_CONF_DIR="+j.conf, "NIX_USER_CONF_FILES=", "NIX_REMOTE="+b.store, "NIX_STORE_DIR="+b.storeDir)
	j.env = append(j.env, env...)
	if err := os.MkdirAll(j.dir+"/temp", 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.end)
	return j
}

// end ends what a job left running, as a runner does.
func (j *job) end() {
	stat, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range stat {
		text, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(text), "RUNNER_TEMP="+j.dir+"/temp") {
			var pid int
			fmt.Sscanf(name, "/proc/%d/environ", &pid)
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// step runs a script with what earlier steps left in the environment.
func (j *job) step(t testing.TB, args ...string) (output string, code int) {
	t.Helper()
	env := j.env
	if text, err := os.ReadFile(j.dir + "/env"); err == nil {
		env = append(env, strings.Fields(string(text))...)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = env
	out, err := os.CreateTemp(t.TempDir(), "") // what is left running keeps no pipe open
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

func (j *job) want(t testing.TB, args ...string) string {
	t.Helper()
	out, code := j.step(t, args...)
	if code != 0 {
		t.Fatalf("%q: exit code %d\n%s", args, code, out)
	}
	return out
}

func (j *job) main(t testing.TB) string { return j.want(t, nixtest.Source(t, "examples/ci/main.sh")) }
func (j *job) post(t testing.TB) string { return j.want(t, nixtest.Source(t, "examples/ci/post.sh")) }

// build builds with the settings that the action made.
func (j *job) builds(t testing.TB, from, count int) []string {
	t.Helper()
	out := j.want(t, "nix-build", "--no-out-link", "testdata/many.nix", "--arg", "from", fmt.Sprint(from), "--arg", "count", fmt.Sprint(count))
	return regexp.MustCompile(`(?m)^/.*-small-\d+$`).FindAllString(out, -1)
}

// The owner's job sends what it builds, by its identity or by a token.
func TestActionOwner(t *testing.T) {
	for _, by := range []string{"identity", "token"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			nix := peers.Newest(t)
			b, f := newBuilder(t, nix), newForge(t)
			b.makeStore(t)
			key := b.program().NewKey(t, "ci-1")
			s := newServer(t, nix, "--store-dir", b.storeDir, "-k", key.File,
				"--oidc", "issuer="+f.URL+",audience=A,claim:repository=acme/*,scope=upload,root={repository}/*")
			env := []string{"NIXSTATIC_URL=http://" + s.Address, "NIXSTATIC_KEY=" + key.Public, "NIXSTATIC_ROOT=acme/app/main", "NIXSTATIC_EXCLUDE=small-1$\n"}
			if by == "token" {
				env = append(env, "NIXSTATIC_TOKEN="+s.Token)
			} else {
				env = append(append(env, f.env()...), "NIXSTATIC_AUDIENCE=A")
			}
			j := newJob(t, b, env...)
			out := j.main(t)
			if strings.Contains(strings.ReplaceAll(out, "::add-mask::"+s.Token, ""), s.Token) {
				t.Errorf("the log has the token:\n%s", out)
			}
			built := j.builds(t, 0, 3)
			if len(built) != 3 {
				t.Fatalf("built %q", built)
			}
			out = j.post(t)
			for i, p := range built {
				if s.has(p) != (i != 1) {
					t.Errorf("%s is there: %v\n%s", p, s.has(p), out)
				}
			}
			conf, err := os.ReadFile(filepath.Join(j.conf, "nix.conf"))
			if err != nil || !strings.Contains(string(conf), "post-build-hook = ") || !strings.Contains(string(conf), "extra-substituters = http://"+s.Address) {
				t.Errorf("%v: %s", err, conf)
			}
			if kept := s.Output(t, "gc", "why", s.Tree, built[0]); !strings.Contains(kept, "acme/app/main") {
				t.Errorf("it is kept by %s", kept)
			}
		})
	}
}

// The job of a fork reads from the cache and sends nothing, and nothing fails.
func TestActionFork(t *testing.T) {
	nix := peers.Newest(t)
	b := newBuilder(t, nix)
	b.makeStore(t)
	key := b.program().NewKey(t, "ci-1")
	s := newServer(t, nix, "--store-dir", b.storeDir, "-k", key.File)
	j := newJob(t, b, "NIXSTATIC_URL=http://"+s.Address, "NIXSTATIC_KEY="+key.Public, "NIXSTATIC_TOKEN=")
	if out := j.main(t); !strings.Contains(out, "is not sent") {
		t.Errorf("main says %s", out)
	}
	built := j.builds(t, 0, 1)
	j.post(t)
	if len(built) != 1 || s.has(built[0]) {
		t.Errorf("%q was built, and was sent: %v", built, s.has(built[0]))
	}
}

// A cache that is away, or does not let the job in, fails no job, unless that is asked for.
func TestActionAway(t *testing.T) {
	nix := peers.Newest(t)
	b := newBuilder(t, nix)
	b.makeStore(t)
	key := b.program().NewKey(t, "ci-1")
	s := newServer(t, nix, "--store-dir", b.storeDir, "-k", key.File)
	env := []string{"NIXSTATIC_URL=http://" + s.Address, "NIXSTATIC_KEY=" + key.Public, "NIXSTATIC_DRAIN_TIMEOUT=1s"}
	wrong := append(env, "NIXSTATIC_TOKEN=nst_"+strings.Repeat("A", 43))
	j := newJob(t, b, wrong...)
	j.main(t)
	j.builds(t, 0, 1)
	if out := j.post(t); !strings.Contains(out, "could not be sent") {
		t.Errorf("post says %s", out)
	}
	strict := newJob(t, b, append(wrong, "NIXSTATIC_PUSH=true")...)
	strict.main(t)
	strict.builds(t, 1, 1)
	if out, code := strict.step(t, nixtest.Source(t, "examples/ci/post.sh")); code == 0 {
		t.Errorf("push: true, and the job goes on: %s", out)
	}
	s.stop(t)
	away := newJob(t, b, append(env, "NIXSTATIC_TOKEN="+s.Token)...)
	away.main(t)
	away.builds(t, 2, 1)
	away.post(t)
}
