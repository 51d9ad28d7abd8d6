//go:build real

package workflows

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

// TestWorkflows runs each script in a place of its own.
func TestWorkflows(t *testing.T) {
	for _, script := range scripts(t) {
		t.Run(strings.TrimSuffix(script, ".sh"), func(t *testing.T) {
			t.Parallel()
			run(t, newWorld(t), nixtest.Source(t, "tests/workflows/"+script))
		})
	}
}

// elsewhere has the commands of README.md that cannot run here, each with the reason.
var elsewhere = map[string]string{
	"go run":       "a clone; tests/e2e runs what it builds",
	"curl -fLO":    "the network; tests/release runs the block on an archive that it makes",
	"gitea+https:": "a Gitea; tests/corpus pushes to a real one",
}

// TestReadme runs the blocks of README.md in their order, on one machine, and what commands
// print there is what the page shows, but for names and numbers.
func TestReadme(t *testing.T) {
	t.Parallel()
	script := "machine mine\nbuilt 1\nbuckets\nready https://minio.example.org/minio/health/live\n"
	world := newWorld(t)
	served, shown, unused := false, map[string]string{}, maps.Clone(elsewhere)
blocks:
	for _, m := range regexp.MustCompile("(?ms)^```(sh|console)\n(.*?)^```$").FindAllStringSubmatch(read(t, nixtest.Source(t, "README.md")), -1) {
		for words := range elsewhere {
			if strings.Contains(m[2], words) {
				delete(unused, words)
				continue blocks
			}
		}
		// The lines below a prompt are what the command prints.
		printed := ""
		for _, line := range slices.Backward(strings.Split(strings.TrimSuffix(m[2], "\n"), "\n")) {
			if m[1] == "console" && !strings.HasPrefix(line, "$ ") {
				printed = line + "\n" + printed
				continue
			}
			for _, command := range commands([]string{line}) {
				shown[command], printed = printed, ""
			}
		}
		for _, command := range commands(onlyCommands(m[1], m[2])) {
			background := ""
			run := command
			if strings.HasPrefix(command, "nixstatic serve ") {
				if served {
					script += "stop\n"
				}
				background, served = " &\nready http://127.0.0.1:8080/nix-cache-info", true
			}
			if strings.HasPrefix(command, "nixstatic use ") {
				// A person answers.
				run = "echo y | script --quiet --return --command '" + command + "' /dev/null"
			}
			if shown[command] != "" {
				run += " >" + said(world, command) + " 2>" + said(world, command) + ".stderr"
			}
			script += run + background + "\n"
		}
	}
	for words := range unused {
		t.Errorf("README.md has no %s", words)
	}
	file := filepath.Join(world, "readme.sh")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, world, file)
	for command, want := range shown {
		if want == "" {
			continue
		}
		got := read(t, said(world, command)) + read(t, said(world, command)+".stderr")
		if diff := cmp.Diff(plain(want), plain(got)); diff != "" {
			t.Errorf("%s (-as README.md has it +as it prints):\n%s", command, diff)
		}
	}
}

// onlyCommands is a block without what its commands print.
func onlyCommands(kind, block string) []string {
	if kind == "console" {
		return regexp.MustCompile(`(?m)^\$ .*$`).FindAllString(block, -1)
	}
	return []string{block}
}

// said is the file for what a command prints.
func said(world, command string) string {
	return filepath.Join(world, regexp.MustCompile(`\W+`).ReplaceAllString(command, "-"))
}

// plain is an output without what differs from one machine to another.
func plain(output string) string {
	for _, r := range [][2]string{
		{`\r|\^D\x08*`, ""},
		// The terminal shows the answer when it comes.
		{`(?m)^y\n`, ""},
		{`\[y/N\] (y\n)?`, "[y/N] "},
		{`(?m)^(\+ line |time=).*\n`, ""},
		{`(cache\.example\.org-1:)\S+`, "$1…"},
		{`/\S+/(cache|nix\.conf)\b`, "…/$1"},
		{`[0-9.]+ ([kMG]?B|paths|NARs)\b`, "… $1"},
		{`… [kMG]?B`, "…"},
	} {
		output = regexp.MustCompile(r[0]).ReplaceAllString(output, r[1])
	}
	return output
}

// run runs a script, with a directory for it. Its programs end with it.
func run(t *testing.T, world, script string) {
	t.Helper()
	nix := peers.Newest(t)
	env := append(nix.Command(t, "nix").Env, "WORLD="+world, "EXAMPLES="+nixtest.Source(t, "examples"), "MINIO="+minio.Program(t),
		"PATH="+strings.Join([]string{filepath.Dir(nixtest.Binary(t)), filepath.Dir(nix.Bin("nix")), os.Getenv("PATH"), "/usr/sbin", "/sbin"}, ":"))
	start := func(attr syscall.SysProcAttr) ([]byte, error) {
		attr.Cloneflags |= syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID
		attr.Pdeathsig = syscall.SIGKILL
		cmd := exec.CommandContext(t.Context(), peers.Program(t, "bash"), nixtest.Source(t, "tests/workflows/machine.sh"), script)
		cmd.Dir, cmd.Env, cmd.SysProcAttr = world, env, &attr
		// Servers of the script end with it, so that nothing waits for their output.
		return cmd.CombinedOutput()
	}
	out, err := start(syscall.SysProcAttr{})
	if errors.Is(err, syscall.EPERM) {
		out, err = start(syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		})
	}
	if errors.Is(err, syscall.EPERM) {
		t.Fatal("this test mounts directories for itself, and this machine does not let it: run it as root, or allow user namespaces")
	}
	if err != nil || !strings.HasSuffix(string(out), "the workflow ends well\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

// newWorld is a directory with a certificate for the servers of a script.
func newWorld(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "workflow-") // other users are to read in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				os.Chmod(name, 0o755) // Nix leaves them read-only
			}
			return nil
		})
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a workflow"},
		DNSNames: []string{"cache.example.org", "minio.example.org", "cdn.example.org"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
