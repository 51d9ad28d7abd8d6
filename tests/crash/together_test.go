//go:build linux && real

package crash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// Several exporters work in one tree, with closures that overlap, keys and
// compressions of their own, and one after the other is killed, many times. No
// instant of it is wrong, those that live succeed, and in the end all is there.
func TestTogether(t *testing.T) {
	for _, n := range []int{2, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			testTogether(t, n)
		})
	}
}

func testTogether(t *testing.T, n int) {
	p, c := newRunner(t), small(t)
	tree := filepath.Join(scratch(t), "tree")
	args := make([][]string, n)
	demands := []string{}
	for i := range args {
		key := p.NewKey(t, fmt.Sprintf("together-%d", i))
		demands = append(demands, "--trusted-public-key", key.Public)
		source := [][]string{{"--from", c.Cache, "--no-check-sigs"}, {"--store", c.Root}}[i%2]
		args[i] = append([]string{"export", "--quiet", "--debug-info", "--logs", "-k", key.File, "--to", tree,
			"--compression", []string{"zstd", "gzip", "none", "bzip2"}[i%4], "--force"}, source...)
		args[i] = append(args[i], c.Top)
	}
	const kills = 25
	var exporters sync.WaitGroup
	errs := make([]error, n)
	for i := range args {
		exporters.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), uint64(i)))
			for range kills {
				// From before it has made anything to after it is done.
				after := time.Duration(random.IntN(60)) * time.Millisecond
				if errs[i] = killAfter(p.Command(t, args[i]...), after); errs[i] != nil {
					return
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { exporters.Wait(); close(finished) }()
	looks := 0
	for running := true; running; looks++ {
		select {
		case <-finished:
			running = false
		default:
		}
		p.sound(t, tree)
	}
	t.Logf("%d exporters killed up to %d times each; the tree was checked %d times meanwhile", n, kills, looks)
	for i, err := range errs {
		if err != nil {
			t.Errorf("exporter %d: %v", i, err)
		}
	}

	// And now all of them to their end, side by side.
	results := make([]nixtest.Result, n)
	for i := range args {
		exporters.Go(func() { results[i] = p.Run(t, args[i]...) })
	}
	exporters.Wait()
	for _, r := range results {
		r.Want(t, 0)
	}
	p.complete(t, tree, scenario{want: func(testing.TB) []string { return c.records() }})
	for i := 0; i < len(demands); i += 2 { // each key has signed everything
		p.verify(t, tree, []string{"unreferenced-nar"}, demands[i:i+2]...)
	}
}

// killAfter runs a command and kills it, unless it ends earlier, and then well.
func killAfter(cmd *exec.Cmd, after time.Duration) error {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err == nil || ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return nil
	}
	return fmt.Errorf("%w\n%s", err, strings.TrimSpace(stderr.String()))
}
