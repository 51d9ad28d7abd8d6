//go:build real

package compose_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	nixtest.Main(m)
}

// A host is a machine that runs the services.
type host struct {
	dir, address string // of the operator, of the server
	nix          peers.Nix
	minio        minio.Server
	project      *types.Project
}

func (h *host) load(t *testing.T) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{nixtest.Source(t, "examples/compose/compose.yml")},
		cli.WithEnvFiles(h.dir+"/.env"), cli.WithDotEnv, cli.WithInterpolation(true))
	if err != nil {
		t.Fatal(err)
	}
	if h.project, err = options.LoadProject(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// command returns what runs in the container of a service, as a process of this machine.
func (h *host) command(t *testing.T, service string, args ...string) *exec.Cmd {
	t.Helper()
	s, err := h.project.GetService(service)
	if err != nil {
		t.Fatal(err)
	}
	if s.Image != "nixstatic" || s.Build == nil || s.Build.Dockerfile != "Containerfile" {
		t.Fatalf("%s is not a container of this program", service)
	}
	if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	if len(s.Volumes) != 1 || s.Volumes[0].Target != "/config" {
		t.Errorf("the volumes of %s are %v", service, s.Volumes)
	}
	if len(args) == 0 {
		args = s.Command
	}
	for i := range args {
		args[i] = strings.NewReplacer("/config", h.dir+"/config", "http://minio:9000", h.minio.Endpoint, "0.0.0.0:8080", h.address).Replace(args[i])
	}
	program := nixtest.Program{Nix: h.nix, Dir: h.dir}
	cmd := program.Command(t, args...)
	for name, value := range s.Environment {
		cmd.Env = append(cmd.Env, name+"="+*value)
	}
	return cmd
}

func TestCompose(t *testing.T) {
	text, err := os.ReadFile(nixtest.Source(t, "examples/compose/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^\$ (.*)$`).FindAllStringSubmatch(string(text), -1)
	if len(lines) != 5 {
		t.Fatalf("the README has %d commands", len(lines))
	}
	h := &host{dir: t.TempDir(), nix: peers.Newest(t)}
	if err := os.Mkdir(h.dir+"/config", 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = l.Addr().String()
	l.Close()
	store := peers.Closure(t)
	path := store.Named(t, "libgcc-s1-")
	if err := os.Symlink(path, h.dir+"/result"); err != nil {
		t.Fatal(err)
	}
	shell := func(line string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-euc", line)
		cmd.Dir, cmd.Env = h.dir, append(h.nix.Command(t, "nix").Env, "PATH="+filepath.Dir(h.nix.Bin("nix"))+":"+os.Getenv("PATH"), "NIX_REMOTE=local?root="+store.Root,
			"NIX_CONFIG=extra-experimental-features = nix-command")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	var public string
	for _, m := range lines {
		line, run := strings.CutPrefix(m[1], "docker compose run --rm --no-deps ")
		switch {
		case run:
			line, into, _ := strings.Cut(line, " > ")
			words := strings.Fields(line)
			h.load(t)
			out := nixtest.Wait(t, h.command(t, words[0], words[1:]...)).Want(t, 0).Output()
			if into == "" {
				public = out
			} else if err := os.WriteFile(filepath.Join(h.dir, into), []byte(out+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		case line == "docker compose up --detach":
			h.up(t)
		default:
			shell(strings.Replace(line, "localhost:8080", "localhost"+h.address[strings.LastIndex(h.address, ":"):], 1))
		}
	}
	root := peers.StoreRoot(t)
	h.nix.Output(t, "nix", "--extra-experimental-features", "nix-command", "copy", "--from", "http://"+h.address, "--option", "trusted-public-keys", public, "--to", root, path)
	if _, err := os.Stat(filepath.Join(root, path)); err != nil {
		t.Error(err)
	}
}

// up starts the services in the order of their conditions.
func (h *host) up(t *testing.T) {
	t.Helper()
	h.load(t)
	var order []string
	if err := h.project.ForEachService(nil, func(name string, _ *types.ServiceConfig) error {
		order = append(order, name)
		return nil
	}, types.IncludeDependencies); err != nil {
		t.Fatal(err)
	}
	if strings.Join(order, " ") != "minio init nixstatic" {
		t.Fatalf("the services start in the order %q", order)
	}
	store, init, server := h.project.Services["minio"], h.project.Services["init"], h.project.Services["nixstatic"]
	if init.DependsOn["minio"].Condition != types.ServiceConditionHealthy || server.DependsOn["init"].Condition != types.ServiceConditionCompletedSuccessfully {
		t.Errorf("conditions: %v, %v", init.DependsOn, server.DependsOn)
	}
	if strings.Join(store.Command, " ") != "server /data" || len(store.Ports) > 0 || len(store.Volumes) != 1 || store.Volumes[0].Target != "/data" || store.HealthCheck == nil {
		t.Errorf("MinIO: %v, %v, %v", store.Command, store.Ports, store.Volumes)
	}
	if len(server.Ports) != 1 || server.Ports[0].Target != 8080 {
		t.Errorf("the server has the ports %v", server.Ports)
	}
	var settings []string
	for name, value := range store.Environment {
		settings = append(settings, name+"="+*value)
	}
	h.minio = minio.Start(t, 1, settings...)
	nixtest.Wait(t, h.command(t, "init")).Want(t, 0)
	nixtest.Wait(t, h.command(t, "init")).Want(t, 0)
	nixtest.Serve(t, h.command(t, "nixstatic"))
}
