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
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

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

// TestReadme runs the blocks of README.md in their order, on one machine.
func TestReadme(t *testing.T) {
	t.Parallel()
	script := "machine mine\nbuilt 1\nbuckets\nready https://minio.example.org/minio/health/live\n"
	blocks, served := 0, false
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(read(t, nixtest.Source(t, "README.md")), -1) {
		// These need the network, a registry or a person who answers; tests/corpus and scripts
		// here run the like.
		if regexp.MustCompile(`git clone|gitea\+https://|nixstatic use`).MatchString(m[1]) {
			continue
		}
		blocks++
		for _, command := range commands(m[1:]) {
			if strings.HasPrefix(command, "nixstatic serve ") {
				if served {
					script += "stop\n"
				}
				command, served = command+" &\nready http://127.0.0.1:8080/nix-cache-info", true
			}
			script += command + "\n"
		}
	}
	if blocks < 5 {
		t.Errorf("only %d blocks were run", blocks)
	}
	world := newWorld(t)
	file := filepath.Join(world, "readme.sh")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, world, file)
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
