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
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// snippet returns the first block of code below a heading of docs/ci.md, with words of it
// replaced.
func snippet(t testing.TB, heading string, oldnew ...string) string {
	t.Helper()
	return snippetAfter(t, heading+"\n", oldnew...)
}

// snippetAfter returns the first block of code after a text of docs/ci.md.
func snippetAfter(t testing.TB, after string, oldnew ...string) string {
	t.Helper()
	text, err := os.ReadFile(nixtest.Source(t, "docs/ci.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), after)
	_, rest, begins := strings.Cut(rest, "\n```")
	block, _, ends := strings.Cut(rest, "\n```")
	_, block, _ = strings.Cut(block, "\n")
	if !found || !begins || !ends {
		t.Fatalf("docs/ci.md has no code after %q", after)
	}
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(block, oldnew[i]) {
			t.Fatalf("docs/ci.md: the code after %q has no %q:\n%s", after, oldnew[i], block)
		}
	}
	return strings.NewReplacer(oldnew...).Replace(block) + "\n"
}

// shell runs a script as a CI job does, with more in its environment.
func (j *job) shell(t testing.TB, script string, env ...string) (output string, ok bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-eo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = j.repo, append(j.env, env...)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), err == nil
}

// sends runs a script that has to build paths and send them.
func (j *job) sends(t testing.TB, c *cacheOfJobs, script string, env ...string) []string {
	t.Helper()
	out, ok := j.shell(t, script, env...)
	paths := built(out)
	if !ok || len(paths) == 0 {
		t.Fatalf("%s\nbuilds %q:\n%s", script, paths, out)
	}
	for _, p := range paths {
		if !c.has(p) {
			t.Errorf("%s was not sent by\n%s\n%s", p, script, out)
		}
	}
	return paths
}

// login gives the user of the job a token in its netrc.
func (j *job) login(t testing.TB, c *cacheOfJobs) {
	t.Helper()
	text, err := os.ReadFile(c.Netrc)
	if err == nil {
		err = os.WriteFile(j.dir+"/.netrc", text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// GitLab gives the job a token that is made out as the job says, and runs its script.
func TestGitLab(t *testing.T) {
	t.Parallel()
	b, f := newBuilder(t, peers.Newest(t)), newForge(t)
	f.Claims = map[string]any{"project_path": "acme/app", "namespace_path": "acme", "ref": "main", "ref_type": "branch", "ref_protected": "true", "pipeline_source": "push", "sub": "project_path:acme/app:ref_type:branch:ref:main"}
	c := newCacheOfJobs(t, b, "--oidc", "issuer="+f.URL+",audience=https://cache.example.org,claim:project_path=acme/*,scope=upload,root={project_path}/*")
	j := newJob(t, b)
	text := snippet(t, "## GitLab")
	token := regexp.MustCompile(`(?m)^  id_tokens:\n    (\w+):\n      aud: (\S+)\n`).FindStringSubmatch(text)
	lines := regexp.MustCompile(`(?m)^    - (.*)$`).FindAllStringSubmatch(text, -1)
	if token == nil || len(lines) != 3 || !strings.Contains(text, "  after_script:\n    - "+lines[2][1]) {
		t.Fatalf("the snippet has another form:\n%s", text)
	}
	env := []string{token[1] + "=" + f.token(t, token[2]), "GITLAB_CI=true", "CI=true", "CI_PROJECT_PATH=acme/app", "CI_COMMIT_REF_SLUG=fix-7", "CI_PIPELINE_ID=4711"}
	script := strings.NewReplacer("https://cache.example.org", c.url, "nix build .#everything", building(0, 2)).Replace(lines[0][1] + "\n" + lines[1][1])
	paths := j.sends(t, c, script, env...)
	if kept := c.Output(t, "gc", "why", c.Tree, paths[0]); !strings.Contains(kept, "acme/app/fix-7") {
		t.Errorf("it is kept by %s", kept)
	}
	if conf, err := os.ReadFile(j.conf); err != nil || !strings.Contains(string(conf), "extra-substituters = "+c.url) {
		t.Errorf("Nix does not use the cache: %v\n%s", err, conf)
	}
	if out, ok := j.shell(t, strings.ReplaceAll(lines[2][1], "https://cache.example.org", c.url), env...); !ok {
		t.Errorf("after_script fails:\n%s", out)
	}
	for _, name := range []string{j.conf, filepath.Dir(j.conf) + "/netrc"} {
		if text, err := os.ReadFile(name); err == nil && strings.Contains(string(text), "nst") {
			t.Errorf("the job leaves in %s\n%s", name, text)
		}
	}
	// A project that is let in by no rule builds on the same machine, and sends nothing.
	f.Claims["project_path"] = "evil/app"
	env[0] = token[1] + "=" + f.token(t, token[2])
	out, ok := j.shell(t, strings.Replace(script, building(0, 2), building(2, 1), 1), env...)
	if other := built(out); !ok || len(other) != 1 || c.has(other[0]) || !strings.Contains(out, "could not be sent") {
		t.Errorf("evil/app: %v %q\n%s", ok, other, out)
	}
}

// Buildkite's agent prints a token.
func TestBuildkite(t *testing.T) {
	t.Parallel()
	b, f := newBuilder(t, peers.Newest(t)), newForge(t)
	f.Claims = map[string]any{"organization_slug": "acme", "pipeline_slug": "app"}
	c := newCacheOfJobs(t, b, "--oidc", "issuer="+f.URL+",audience=https://cache.example.org,claim:organization_slug=acme,scope=upload")
	j := newJob(t, b)
	agent := "#!/bin/sh\n[ \"$*\" = 'oidc request-token --audience https://cache.example.org' ] && echo '" + f.token(t, "https://cache.example.org") + "'\n"
	if err := os.WriteFile(j.dir+"/bin/buildkite-agent", []byte(agent), 0o755); err != nil {
		t.Fatal(err)
	}
	_, script, _ := strings.Cut(snippet(t, "## Buildkite", "https://cache.example.org/upload", c.upload(), "nix build .#everything", building(0, 1)), "command: |\n")
	j.sends(t, c, script)
}

// Hydra writes what it built into a file, and runs the command for each build that ended.
func TestHydra(t *testing.T) {
	t.Parallel()
	b := newBuilder(t, peers.Newest(t))
	c := newCacheOfJobs(t, b)
	j := newJob(t, b)
	j.login(t, c)
	command := regexp.MustCompile(`(?m)^  command = (.*)$`).FindStringSubmatch(snippetAfter(t, "in hydra.conf", "https://cache.example.org/upload", c.upload()))
	if command == nil {
		t.Fatal("docs/ci.md has no command for Hydra")
	}
	paths := b.build(t, 0, 3)
	for i, build := range []struct {
		status any
		paths  []any
		sent   bool
	}{
		{0, []any{paths[0]}, true},
		{"0", []any{paths[1], nil}, true}, // as a database may give numbers; an output that has no path yet
		{1, []any{paths[2]}, false},
		{0, []any{}, false},
	} {
		outputs := []any{}
		for n, p := range build.paths {
			outputs = append(outputs, map[string]any{"name": fmt.Sprint("out", n), "path": p})
		}
		text, err := json.Marshal(map[string]any{"event": "buildFinished", "build": i, "finished": true, "project": "acme", "jobset": "main", "job": "app",
			"drvPath": paths[0] + ".drv", "buildStatus": build.status, "outputs": outputs, "products": []any{}, "metrics": []any{}})
		if err != nil {
			t.Fatal(err)
		}
		file := j.dir + "/build.json"
		writeFile(t, file, string(text))
		if out, ok := j.shell(t, "exec sh -c \"$COMMAND\"", "COMMAND="+command[1], "HYDRA_JSON="+file); !ok {
			t.Errorf("%s: the command fails:\n%s", text, out)
		}
		for _, p := range build.paths {
			if p != nil && c.has(p.(string)) != build.sent {
				t.Errorf("%s: %s was sent: %v", text, p, !build.sent)
			}
		}
	}
}

// nix-fast-build pipes paths into a stock nix copy, or leaves links.
func TestNixFastBuild(t *testing.T) {
	t.Parallel()
	b := newBuilder(t, peers.Newest(t))
	c := newCacheOfJobs(t, b, "--private")
	j := newJob(t, b)
	j.login(t, c)
	script := snippet(t, "## nix-fast-build", "https://cache.example.org/upload", c.upload(), "https://cache.example.org", c.url)
	lines := strings.Split(strings.TrimSpace(script), "\n")
	to := regexp.MustCompile(`^nix-fast-build .*--copy-to (\S+)$`).FindStringSubmatch(lines[len(lines)-1])
	if len(lines) != 2 || to == nil {
		t.Fatalf("the snippet has another form:\n%s", script)
	}
	writeFile(t, j.dir+"/token", c.Token)
	j.sends(t, c, building(0, 2)+" | tee paths\n"+lines[0]+" --key "+c.key+" --token-file "+j.dir+"/token\n"+
		"xargs nix --experimental-features 'nix-command flakes' copy --no-check-sigs --log-format raw --to "+to[1]+" <paths")

	script = snippetAfter(t, "push what they lead to:", "https://cache.example.org/upload", c.upload())
	builds, push, _ := strings.Cut(script, "\n")
	link := regexp.MustCompile(`--out-link (\S+)`).FindStringSubmatch(builds)
	if link == nil {
		t.Fatalf("the snippet has another form:\n%s", script)
	}
	if out, ok := j.shell(t, "rm -f result*\n"+push); !ok || !strings.Contains(out, "0 paths") {
		t.Errorf("nothing was built: %s", out)
	}
	j.sends(t, c, building(2, 1)+" --out-link "+link[1]+"-x86_64-linux.a\n"+building(3, 1)+" --out-link "+link[1]+"-x86_64-linux.b\n"+push)
}

// Buildbot runs the step, by a worker of its own.
func TestBuildbot(t *testing.T) {
	t.Parallel()
	b := newBuilder(t, peers.Newest(t))
	c := newCacheOfJobs(t, b)
	j := newJob(t, b)
	j.login(t, c)
	words := `"nix-build", "` + j.repo + `/many.nix", "--arg", "from", "0", "--arg", "count", "2"`
	config := `from buildbot.plugins import schedulers, steps, util, worker
factory = util.BuildFactory()
` + snippetAfter(t, "In master.cfg", "https://cache.example.org/upload", c.upload(), `"nix", "build", ".#everything"`, words) + `
BuildmasterConfig = {
    "workers": [worker.LocalWorker("w")],
    "protocols": {"null": {}},
    "schedulers": [schedulers.Periodic(name="now", builderNames=["b"], periodicBuildTimer=86400)],
    "builders": [util.BuilderConfig(name="b", workernames=["w"], factory=factory)],
    "db": {"db_url": "sqlite:///state.sqlite"},
    "buildbotNetUsageData": None,
}
`
	master := j.dir + "/master"
	if out, ok := j.shell(t, "buildbot create-master "+master); !ok {
		t.Fatal(out)
	}
	writeFile(t, master+"/master.cfg", config)
	if out, ok := j.shell(t, "buildbot checkconfig "+master); !ok {
		t.Fatalf("%s\n%s", out, config)
	}
	cmd := exec.CommandContext(t.Context(), peers.Program(t, "buildbot"), "start", "--nodaemon", master)
	cmd.Env = j.env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Signal(syscall.SIGTERM)
	// Buildbot alone takes long to start on a busy machine.
	log := func() string { text, _ := os.ReadFile(master + "/twistd.log"); return string(text) }
	for sent := 0; sent != 3; time.Sleep(100 * time.Millisecond) {
		names, _ := filepath.Glob(c.Tree + "/*.narinfo")
		if sent = len(names); sent != 3 && (t.Context().Err() != nil || strings.Contains(log(), "build finished") || time.Since(began) > 5*time.Minute) {
			names, _ := filepath.Glob(c.Tree + "/*.narinfo")
			if sent = len(names); sent != 3 {
				t.Fatalf("Buildbot has sent %d paths:\n%s", sent, log())
			}
		}
	}
	roots, err := os.ReadDir(c.Tree + "/.nixstatic/roots/acme")
	if err != nil || len(roots) == 0 {
		t.Errorf("the run has no root: %v", err)
	}
}
