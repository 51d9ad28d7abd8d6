//go:build real

package release_test

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// A workshop is where images are built and run, by buildah, without a daemon.
type workshop struct {
	t   testing.TB
	dir string
}

func (w workshop) buildah(args ...string) []string {
	return append([]string{peers.Program(w.t, "buildah"), "--storage-driver", "vfs", "--root", w.dir + "/root", "--runroot", w.dir + "/run"}, args...)
}

func (w workshop) run(args ...string) string {
	w.t.Helper()
	return strings.TrimSpace(run(w.t, "", nil, w.buildah(args...)...))
}

// golang makes an image in the place of the one that the Containerfile begins with: a shell
// and an authority to trust. The Go of this machine and what it compiled already are lent to it.
func (w workshop) golang(authority []byte) (lent []string) {
	w.t.Helper()
	base := w.dir + "/base"
	for _, dir := range []string{"bin", "etc/ssl/certs", "usr/local/go", "go/pkg/mod", "root/.cache/go-build", "tmp"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
	files := map[string]string{
		"etc/ssl/certs/ca-certificates.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority})),
		"bin/busybox":                       string(read(w.t, peers.Program(w.t, "busybox"))),
		"Containerfile":                     "FROM scratch\nCOPY . /\nENV PATH=/usr/local/go/bin:/bin GOPATH=/go HOME=/root\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(base, name), []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := os.Chmod(base+"/bin/busybox", 0o755); err != nil {
		w.t.Fatal(err)
	}
	for _, name := range []string{"sh", "mkdir", "cp", "chown", "chmod"} {
		if err := os.Symlink("busybox", filepath.Join(base, "bin", name)); err != nil {
			w.t.Fatal(err)
		}
	}
	w.run("bud", "-q", "--isolation", "chroot", "-t", "docker.io/library/golang:1.26-bookworm", base)
	env := strings.Fields(run(w.t, "", nil, "go", "env", "GOROOT", "GOMODCACHE", "GOCACHE"))
	return []string{"--volume", env[0] + ":/usr/local/go:ro", "--volume", env[1] + ":/go/pkg/mod:ro", "--volume", env[2] + ":/root/.cache/go-build"}
}

// The Containerfile makes an image of the program alone. It makes, signs and serves a cache
// as a user who owns nothing else, and trusts the authorities of the image that built it.
func TestImage(t *testing.T) {
	served := &url.URL{Scheme: "http", Host: freeAddress(t)}
	front := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(served))
	defer front.Close()
	w := workshop{t, t.TempDir()}
	lent := w.golang(front.Certificate().Raw)
	source := filepath.Join(t.TempDir(), "source")
	copyCheckout(t, source)
	// A program that was built here before does not get into the context.
	if err := os.MkdirAll(source+"/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"bud", "-q", "--isolation", "chroot", "--pull-never", "--build-arg", "VERSION=" + version,
		"--build-arg", "TARGETOS=linux", "--build-arg", "TARGETARCH=" + runtime.GOARCH, "-t", "nixstatic", "-f", source + "/Containerfile"}, lent...)
	w.run(append(args, source)...)

	var image struct{ OCIv1 struct{ Config imageConfig } }
	if err := json.Unmarshal([]byte(w.run("inspect", "--type", "image", "nixstatic")), &image); err != nil {
		t.Fatal(err)
	}
	got := image.OCIv1.Config
	want := imageConfig{User: "65532:65532", Entrypoint: []string{"/usr/bin/nixstatic"}, Cmd: []string{"serve", "/cache", "--read-only", "--listen", "0.0.0.0:8080"},
		Volumes: map[string]struct{}{"/cache": {}, "/config": {}}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the image (-want +got):\n%s", diff)
	}
	container := w.run("from", "--pull-never", "nixstatic")
	checkImageFiles(t, w.run("mount", container))

	// The container has volumes of its own.
	start := []string{"run", "--isolation", "chroot", container, "--", got.Entrypoint[0]}
	nixstatic := func(args ...string) string { t.Helper(); return w.run(append(start, args...)...) }
	if got := nixstatic("--version"); got != "nixstatic version "+version {
		t.Errorf("the program says %q", got)
	}
	nixstatic("init", "/cache")
	public := nixstatic("key", "generate", "--name", "k-1", "--to", "/config/secret.key")
	path := nixstatic("add", "--to", "/cache", "-k", "/config/secret.key", "/etc/ssl/certs")
	command := w.buildah(append(start, strings.Fields(strings.Replace(strings.Join(got.Cmd, " "), "0.0.0.0:8080", served.Host, 1))...)...)
	server := exec.Command(command[0], command[1:]...)
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		syscall.Kill(-server.Process.Pid, syscall.SIGTERM)
		server.Wait()
	}()
	if text := fetch(t, served.String()+"/nix-cache-info"); !strings.HasPrefix(text, "StoreDir: /nix/store\n") {
		t.Errorf("nix-cache-info is %q", text)
	}
	nixstatic("export", "--from", front.URL, "--trusted-public-key", public, "--to", "/cache/copy", path)
	nixstatic("verify", "--deep", "--trusted-public-key", public, "/cache/copy")
}

type imageConfig struct {
	User                  string
	Entrypoint, Cmd       []string
	Volumes, ExposedPorts map[string]struct{}
}

// checkImageFiles checks that an image has nothing but the program.
func checkImageFiles(t *testing.T, root string) {
	t.Helper()
	var got []string
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if owner := st.Sys().(*syscall.Stat_t).Uid; err == nil && (!e.IsDir() || owner != 0 || st.Mode()&os.ModeSticky != 0) {
			got = append(got, st.Mode().String()+" "+strings.TrimPrefix(name, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"drwxr-xr-x /cache", "drwxr-xr-x /config", "-rw-r--r-- /etc/ssl/certs/ca-certificates.crt", "dtrwxrwxrwx /tmp", "-rwxr-xr-x /usr/bin/nixstatic"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files of the image (-want +got):\n%s", diff)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// fetch waits for a server and returns what it has under a URL.
func fetch(t testing.TB, url string) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s, %v", url, resp.Status, err)
		}
		return string(text)
	}
}
