// Package minio starts the real MinIO server for tests. tests/minio.sh builds it
// from the module that tests/minio/server pins.
package minio

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const remedy = "run `make test` (or tests/minio.sh), which builds it"

// patience is how long a server may take to become ready on a busy machine.
const patience = 2 * time.Minute

// A Server is a running MinIO, which ends with the test.
type Server struct {
	Endpoint  string // http://127.0.0.1:port
	AccessKey string
	SecretKey string

	*process
}

// Start runs a server on that many drives until the test ends. On one it stores
// objects as they come, on four it spreads each over them. More settings are
// name=value, such as MINIO_REGION=eu-west-9 or MINIO_ROOT_PASSWORD=secret.
func Start(t testing.TB, drives int, settings ...string) Server {
	t.Helper()
	s, stop, err := Launch(drives, settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return s
}

// Launch is Start for a TestMain: the server runs until stop is called.
func Launch(drives int, settings ...string) (s Server, stop func(), err error) {
	program, err := program()
	if err != nil {
		return s, nil, err
	}
	s = Server{AccessKey: "nixstatic-test", SecretKey: "not-much-of-a-secret"}
	for _, setting := range settings {
		if secret, ok := strings.CutPrefix(setting, "MINIO_ROOT_PASSWORD="); ok {
			s.SecretKey = secret
		}
		if user, ok := strings.CutPrefix(setting, "MINIO_ROOT_USER="); ok {
			s.AccessKey = user
		}
	}
	// Two processes may be given the same free port. The second of two servers
	// does not become ready and looks for another.
	for range 3 {
		if stop, err = s.run(program, drives, settings); err == nil {
			return s, stop, nil
		}
	}
	return s, nil, err
}

func (s *Server) run(program string, drives int, settings []string) (stop func(), err error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s.Endpoint = "http://" + address
	dir, err := os.MkdirTemp(scratch(), "minio-")
	if err != nil {
		return nil, err
	}
	args := []string{program, "server", "--quiet", "--address", address}
	for i := range drives {
		args = append(args, filepath.Join(dir, fmt.Sprint("drive", i+1)))
	}
	s.process = &process{args: args, health: s.Endpoint + "/minio/health/cluster",
		env: environment(append(settings, "HOME="+dir, "MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey,
			// Several drives of one disk are a mistake anywhere but in a test.
			"MINIO_CI_CD=on", "MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_SCANNER_SPEED=slowest"))}
	stop = func() {
		s.process.Kill()
		os.RemoveAll(dir)
	}
	if err := s.process.start(); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// environment is ours without what would change the server: the user's
// settings, and proxies.
func environment(more []string) []string {
	var env []string
	for _, setting := range os.Environ() {
		name, _, _ := strings.Cut(strings.ToUpper(setting), "=")
		if !strings.HasPrefix(name, "MINIO_") && !strings.HasPrefix(name, "AWS_") && !strings.HasSuffix(name, "_PROXY") {
			env = append(env, setting)
		}
	}
	return append(env, more...)
}

// freeAddress returns a loopback address that no process listens on at the
// moment.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// Program returns the path of the server, for a test that starts it by itself.
func Program(t testing.TB) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func program() (string, error) {
	cache, err := cache()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "minio", "minio")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no MinIO: %w: %s", err, remedy)
	}
	return path, nil
}

// cache returns the folder that tests/env.sh describes.
func cache() (string, error) {
	if dir := os.Getenv("NIXSTATIC_TEST_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "nixstatic-tests"), err
}
