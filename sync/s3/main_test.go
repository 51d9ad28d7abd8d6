package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// launch starts what the tests with the tag real talk to.
var launch = func() (stop func(), err error) { return func() {}, nil }

// TestMain hides the user's settings and credentials from the tests.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	for _, setting := range os.Environ() {
		name, _, _ := strings.Cut(setting, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "MINIO_") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			os.Unsetenv(name)
		}
	}
	os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	stop, err := launch()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stop()
	return m.Run()
}

// location is one in a bucket of the test's own, which does not exist yet.
func location(t *testing.T, endpoint string) Location {
	t.Helper()
	loc, err := ParseURL("s3://test-" + strings.ToLower(rand.Text()) + "?endpoint=" + endpoint)
	if err != nil {
		t.Fatal(err)
	}
	loc.RetryDelay = time.Millisecond
	loc.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	return loc
}

// connected returns a Bucket without asking whether there is one.
func connected(t *testing.T, loc Location) *Bucket {
	t.Helper()
	b, err := New(t.Context(), loc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func want(t *testing.T, tree layout.Reader, key layout.Key, data []byte) {
	t.Helper()
	got, err := layout.ReadAll(context.Background(), tree, key)
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, data) {
		t.Errorf("%s has %d bytes %.30q, want %d bytes %.30q", key, len(got), got, len(data), data)
	}
}
