//go:build real

package prune_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/sync/s3"
)

// asProcess names the bucket that this program is to prune, as a process of its own
// that can be killed.
const asProcess = "NIXSTATIC_TEST_PRUNE"

func TestMain(m *testing.M) {
	url := os.Getenv(asProcess)
	if url == "" {
		os.Exit(m.Run())
	}
	if err := pruneAlone(url); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pruneAlone(url string) error {
	loc, err := s3.ParseURL(url)
	if err != nil {
		return err
	}
	b, err := s3.New(context.Background(), loc)
	if err != nil {
		return err
	}
	defer b.Close()
	_, err = gc.Collect(context.Background(), bucket{Bucket: b}, oneByOne(), nil)
	return err
}

// TestKilled: a process that is killed at any request leaves a tree that is whole.
func TestKilled(t *testing.T) {
	everywhere(t, 1, func(t *testing.T, name string, m *middleman) error {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asProcess+"="+urlOf(name, m.URL))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		m.kill = func() { cmd.Process.Signal(syscall.SIGKILL) }
		return cmd.Run()
	})
}
