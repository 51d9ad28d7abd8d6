//go:build real

package builders_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A job runs workflows with the action by act, on this machine and with no network, as a
// runner of its own user.
type job struct {
	*builder
	env  []string
	dir  string   // the home of the runner
	repo string   // what is checked out
	conf string   // the settings of the machine
	user []string // begins a command that runs as the runner's user; nil: as root
}

func newJob(t testing.TB, b *builder, env ...string) *job {
	t.Helper()
	dir := t.TempDir()
	j := &job{builder: b, dir: dir, repo: dir + "/repo", conf: dir + "/etc/nix.conf"}
	many, err := os.ReadFile("testdata/many.nix")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		j.conf: "build-users-group =\nsandbox = false\nsubstituters =\n",
		// Nix is there already: the step that installs it has nothing to do.
		dir + "/install/action.yml": "name: install\ndescription: nothing\nruns: {using: composite, steps: [{run: \"true\", shell: bash}]}\n",
		j.repo + "/many.nix":        string(many),
	} {
		writeFile(t, name, text)
	}
	if err := os.CopyFS(dir+"/action/examples/ci", os.DirFS(nixtest.Source(t, "examples/ci"))); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(nixtest.Source(t, "action.yml"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir+"/action/action.yml", string(text))
	if err := os.Mkdir(dir+"/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(nixtest.Binary(t), dir+"/bin/nixstatic"); err != nil {
		t.Fatal(err)
	}
	for _, setting := range b.program().Environ(t) {
		if !regexp.MustCompile(`^(NIX_|NIXSTATIC_|STATE_DIRECTORY=|PATH=|HOME=|ACTIONS_|GITHUB_|RUNNER_|CI_)`).MatchString(setting) {
			j.env = append(j.env, setting)
		}
	}
	j.env = append(j.env, "PATH="+dir+"/bin:"+filepath.Dir(b.Bin("nix"))+":"+os.Getenv("PATH"), "HOME="+dir, "STATE_DIRECTORY="+dir+"/state",
		"NIX_CONF_DIR="+filepath.Dir(j.conf), "NIX_REMOTE="+b.store, "NIX_STORE_DIR="+b.storeDir)
	j.env = append(j.env, env...)
	t.Cleanup(func() {
		for _, pid := range j.left() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return j
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// left returns the processes that jobs have left running.
func (j *job) left() (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range all {
		if text, err := os.ReadFile(name); err == nil && strings.Contains("\x00"+string(text), "\x00HOME="+j.dir+"\x00") {
			var pid int
			fmt.Sscanf(name, "/proc/%d/environ", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// run runs a workflow, and returns what it prints and whether it succeeded.
func (j *job) run(t testing.TB, workflow string) (log string, ok bool) {
	t.Helper()
	writeFile(t, j.repo+"/.github/workflows/ci.yml", workflow)
	if _, err := os.Stat(j.repo + "/.git"); err != nil {
		for _, args := range []string{"init -q -b main", "remote add origin https://github.com/acme/app", "add .",
			"-c user.name=a -c user.email=a@example.org commit -q -m a"} {
			if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", j.repo}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
				t.Fatalf("git %s: %v\n%s", args, err, out)
			}
		}
	}
	args := append(slices.Clone(j.user), peers.Act(t), "push", "-C", j.repo, "-P", "ubuntu-latest=-self-hosted", "--no-cache-server", "--pull=false",
		"--local-repository", "nixstatic/nixstatic@main="+j.dir+"/action", "--local-repository", "cachix/install-nix-action@v31="+j.dir+"/install")
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = j.env
	out, err := os.CreateTemp(t.TempDir(), "") // what is left running keeps no pipe open
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	text, readErr := os.ReadFile(out.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	if text, err := os.ReadFile(j.conf); err != nil || strings.Contains(string(text), "nixstatic") {
		t.Errorf("the job has changed the settings of the machine: %v\n%s", err, text)
	}
	return string(text), err == nil
}

// want runs a workflow that has to succeed.
func (j *job) want(t testing.TB, workflow string) string {
	t.Helper()
	log, ok := j.run(t, workflow)
	if !ok {
		t.Fatalf("the job fails:\n%s", log)
	}
	return log
}

// steps is a workflow that uses the action and then runs commands.
func steps(with map[string]string, commands ...string) string {
	inputs, _ := json.Marshal(with)
	text := "on: push\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - uses: nixstatic/nixstatic@main\n        with: " + string(inputs) + "\n"
	for _, command := range commands {
		run, _ := json.Marshal(command)
		text += "      - run: " + string(run) + "\n"
	}
	return text
}

// building is a step that builds.
func building(from, count int) string {
	return fmt.Sprintf("nix-build many.nix --arg from %d --arg count %d", from, count)
}

// built returns what a job says that it built.
func built(log string) []string {
	return regexp.MustCompile(`(?m)/\S+/[0-9a-z]{32}-small-\d+$`).FindAllString(strings.ReplaceAll(log, "\r", ""), -1)
}

// A cacheOfJobs is a server, the key it signs with, and the forge that it believes.
type cacheOfJobs struct {
	*server
	key, url string
}

func newCacheOfJobs(t testing.TB, b *builder, args ...string) *cacheOfJobs {
	t.Helper()
	b.makeStore(t)
	key := b.program().NewKey(t, "ci-1")
	s := newServer(t, b.Nix, append([]string{"--store-dir", b.storeDir, "-k", key.File}, args...)...)
	// A server that begins writes down its key when it listens already.
	until(t, "the cache says what its key is", func() bool {
		_, err := os.Stat(s.Tree + "/public-keys")
		return err == nil
	})
	return &cacheOfJobs{s, key.Public, "http://" + s.Address}
}

// The owner's job sends what it builds by its identity: the workflow of docs/ci.md.
func TestActionIdentity(t *testing.T) {
	t.Parallel()
	b, f := newBuilder(t, peers.Newest(t)), newForge(t)
	c := newCacheOfJobs(t, b, "--private", "--oidc", "issuer="+f.URL+",audience=A,claim:repository=acme/*,scope=upload,root={repository}/*")
	j := newJob(t, b, append(f.env(), "NIXSTATIC_AUDIENCE=A")...)
	log := j.want(t, snippet(t, "## GitHub, Forgejo, Gitea", "https://cache.example.org", c.url, "nix build .#everything",
		building(0, 2)+" && nix --extra-experimental-features nix-command show-config"))
	paths := built(log)
	if len(paths) != 2 || !c.has(paths[0]) || !c.has(paths[1]) {
		t.Fatalf("%q is built, and not in the cache\n%s", paths, log)
	}
	for _, setting := range []string{`post-build-hook = /\S+/queue/post-build-hook`, `substituters = .*` + regexp.QuoteMeta(c.url), `trusted-public-keys = .*ci-1:`} {
		if !regexp.MustCompile(setting).MatchString(log) {
			t.Errorf("Nix has no %s:\n%s", setting, log)
		}
	}
	if kept := c.Output(t, "gc", "why", c.Tree, paths[0]); !strings.Contains(kept, "acme/app/main") {
		t.Errorf("it is kept by %s", kept)
	}
	if strings.Contains(log, "nst_") || strings.Contains(log, requestToken) {
		t.Errorf("the log has a token:\n%s", log)
	}
	if left := j.left(); len(left) > 0 {
		t.Errorf("the job has left %d processes running", len(left))
	}
}

// A job with a token sends as well, leaves out what it is told to, names a root after a branch
// that has a name of its own, and sets pins. Two uses of the action do not meet.
func TestActionToken(t *testing.T) {
	t.Parallel()
	b := newBuilder(t, peers.Newest(t))
	c, second := newCacheOfJobs(t, b), newCacheOfJobs(t, b)
	admin := c.Output(t, "token", "create", "--file", c.Tokens, "--name", "admin", "--scope", "upload", "--scope", "admin")
	j := newJob(t, b)
	workflow := steps(map[string]string{"url": c.url + "/", "key": c.key, "token": admin + "\n", "push": "true", "root": "acme/app/fix #7 (ü)",
		"exclude": "small-1$\r\n-9$\n", "pin": "latest=result\n", "drain-timeout": "5m"}, building(0, 3))
	inputs, _ := json.Marshal(map[string]string{"url": second.url, "key": second.key, "token": second.Token})
	workflow = strings.Replace(workflow, "      - run:", "      - uses: nixstatic/nixstatic@main\n        with: "+string(inputs)+"\n      - run:", 1)
	log := j.want(t, workflow)
	paths := built(log)
	if len(paths) != 3 {
		t.Fatalf("built %q\n%s", paths, log)
	}
	for i, p := range paths {
		if c.has(p) != (i != 1) || !second.has(p) {
			t.Errorf("%s is there: %v, in the second: %v\n%s", p, c.has(p), second.has(p), log)
		}
	}
	if kept := c.Output(t, "gc", "why", c.Tree, paths[0]); !strings.Contains(kept, "acme/app/fix--7----") || !strings.Contains(kept, "latest") {
		t.Errorf("it is kept by %s", kept)
	}
	if strings.Contains(log, admin) || strings.Contains(log, second.Token) {
		t.Errorf("the log has a token:\n%s", log)
	}
}

// The job of a fork reads from the cache and sends nothing, and nothing fails.
func TestActionFork(t *testing.T) {
	t.Parallel()
	b := newBuilder(t, peers.Newest(t))
	c := newCacheOfJobs(t, b)
	j := newJob(t, b)
	log := j.want(t, steps(map[string]string{"url": c.url, "key": c.key}, building(0, 1)))
	paths := built(log)
	if len(paths) != 1 || c.has(paths[0]) || !strings.Contains(log, "is not sent") {
		t.Errorf("%q was built, and was sent, or nothing is said:\n%s", paths, log)
	}
}

// A user whom the Nix daemon does not trust has no hook, which the job says; what it builds is
// found in the store and sent.
func TestActionUntrusted(t *testing.T) {
	t.Parallel()
	b := newBuilder(t, peers.Newest(t))
	c := newCacheOfJobs(t, b)
	state := filepath.Dir(b.storeDir) + "/state"
	j := newJob(t, b, "NIX_REMOTE=daemon", "NIX_STATE_DIR="+state)
	daemon := b.Command(t, "nix-daemon")
	daemon.Env = append(daemon.Env, "NIX_CONF_DIR="+filepath.Dir(j.conf), "NIX_STORE_DIR="+b.storeDir, "NIX_STATE_DIR="+state, "NIX_LOG_DIR="+state+"/log")
	daemon.Stderr = &nixtest.Buffer{}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		daemon.Process.Kill()
		daemon.Wait()
	})
	until(t, "the Nix daemon listens", func() bool {
		_, err := os.Stat(state + "/daemon-socket/socket")
		return err == nil
	})
	const nobody = 65534
	if err := os.Chown(j.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	// The programs of the tests lie where root alone may read.
	j.user = []string{peers.Program(t, "setpriv"), fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups",
		"--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"}
	log := j.want(t, steps(map[string]string{"url": c.url, "key": c.key, "token": c.Token, "push": "true"}, building(0, 2)))
	paths := built(log)
	if len(paths) != 2 || !c.has(paths[0]) || !c.has(paths[1]) || !strings.Contains(log, "the Nix daemon does not trust this user") {
		t.Errorf("%q was built, and not sent, or nothing is said:\n%s", paths, log)
	}
}

// A cache that is away, or does not let the job in, fails no job, unless that is asked for.
func TestActionAway(t *testing.T) {
	t.Parallel()
	b := newBuilder(t, peers.Newest(t))
	c := newCacheOfJobs(t, b)
	j := newJob(t, b)
	with := map[string]string{"url": c.url, "key": c.key, "drain-timeout": "1s", "token": "nst_" + strings.Repeat("A", 43)}
	if log := j.want(t, steps(with, building(0, 1))); !strings.Contains(log, "could not be sent") {
		t.Errorf("the job says\n%s", log)
	}
	with["push"] = "true"
	if log, ok := j.run(t, steps(with, building(1, 1))); ok || len(built(log)) != 1 {
		t.Errorf("push: true, and the job goes on, or ends before it builds:\n%s", log)
	}
	c.stop(t)
	with["push"], with["token"] = "auto", c.Token
	if log := j.want(t, steps(with, building(2, 1))); len(built(log)) != 1 || !strings.Contains(log, "the job goes on without the cache") {
		t.Errorf("the job says\n%s", log)
	}
	with["push"] = "true"
	if log, ok := j.run(t, steps(with, building(3, 1))); ok || len(built(log)) != 0 {
		t.Errorf("push: true, and the job goes on without the cache:\n%s", log)
	}
}

// An input is a text and never a command, for a shell, for the runner or for nixstatic; one
// that cannot be right fails the job before it builds, and says which it is.
func TestActionInputs(t *testing.T) {
	t.Parallel()
	b := newBuilder(t, peers.Newest(t))
	c := newCacheOfJobs(t, b)
	j := newJob(t, b)
	stray := j.dir + "/stray"
	for _, hostile := range []map[string]string{
		{"url": "--help"},
		{"url": "$(touch " + stray + ")"},
		{"url": c.url + "\"; touch " + stray + "; \""},
		{"url": c.url + "\nBASH_ENV=" + stray},
		{"url": strings.Replace(c.url, "://", "://ci:hunter2hunter2@", 1)},
		{"push": "true\n::add-path::" + j.dir},
		{"push": "yes"},
		{"token": "two words"},
		{"exclude": "("},
	} {
		with := map[string]string{"url": c.url, "key": c.key, "token": c.Token}
		for name, value := range hostile {
			with[name] = value
		}
		name, secret := "", "hunter2hunter2"
		for name = range hostile {
		}
		log, ok := j.run(t, steps(with, building(0, 1)))
		if ok || len(built(log)) > 0 {
			t.Errorf("%q: the job goes on:\n%s", hostile, log)
		}
		if !strings.Contains(log, name) || strings.Contains(log, "add-path") || strings.Contains(log, secret) {
			t.Errorf("%q: the job says\n%s", hostile, log)
		}
	}
	// It could be right, and no cache is there.
	with := map[string]string{"url": c.url + "/`touch${IFS}" + stray + "`", "token": c.Token}
	if log := j.want(t, steps(with)); !strings.Contains(log, "cannot be used") {
		t.Errorf("the job says\n%s", log)
	}
	with = map[string]string{"url": c.url, "key": c.key, "token": c.Token, "root": "$(touch " + stray + ")`touch " + stray + "`--help",
		"exclude": "$(touch " + stray + ")\n--help\n", "pin": "--help=--help\n$(touch " + stray + ")=`touch " + stray + "`", "drain-timeout": "5m"}
	log := j.want(t, steps(with, building(0, 1)))
	if paths := built(log); len(paths) != 1 || !c.has(paths[0]) {
		t.Errorf("%q was not sent:\n%s", paths, log)
	}
	if _, err := os.Stat(stray); err == nil {
		t.Error("an input was run by a shell")
	}
}
