package mirror_test

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/mirror"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// childSource and childDest tell the test binary that it is to be the program
// that is killed.
const (
	childSource = "NIXSTATIC_TEST_SYNC_SOURCE"
	childDest   = "NIXSTATIC_TEST_SYNC_DEST"
)

func TestMirrorChild(t *testing.T) {
	from, to := os.Getenv(childSource), os.Getenv(childDest)
	if from == "" {
		return // no child
	}
	os.Stdout.WriteString("ready\n")
	m := &mirror.Mirror{Source: treetest.OpenDir(t, from), Dest: treetest.OpenDir(t, to), Delete: true}
	if err := m.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestMirrorKilled kills runs, two at a time and from two sources that differ,
// while someone reads the destination without a pause.
func TestMirrorKilled(t *testing.T) {
	base := t.TempDir()
	s := scenarios(t)["changed"]
	sources := []string{base + "/one", base + "/two"}
	mustRun(t, &mirror.Mirror{Source: s.src, Dest: treetest.OpenDir(t, sources[0])})
	mustRun(t, &mirror.Mirror{Source: s.dst, Dest: treetest.OpenDir(t, sources[1])})
	target := treetest.OpenDir(t, base+"/target")
	mustRun(t, &mirror.Mirror{Source: s.src, Dest: target})

	stop := make(chan struct{})
	var reader sync.WaitGroup
	reads := 0
	reader.Go(func() {
		for {
			if err := fsck.Whole(context.Background(), target, fsck.Options{}); err != nil {
				t.Errorf("a reader met: %v", err)
				return
			}
			reads++
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	killed := 0
	for range 25 / quick.Step(4) {
		one, two := startChild(t, sources[0], target.Path()), startChild(t, sources[1], target.Path())
		for _, child := range []*exec.Cmd{one, two} {
			time.Sleep(rand.N(60 * time.Millisecond))
			child.Process.Kill()
			if child.Wait() != nil {
				killed++
			}
		}
	}
	close(stop)
	reader.Wait()
	t.Logf("%d runs were killed, %d reads of the whole", killed, reads)
	mustRun(t, &mirror.Mirror{Source: treetest.OpenDir(t, sources[0]), Dest: target, Delete: true})
	treetest.Equal(t, s.src, target)
	whole(t, target)
}

func startChild(t *testing.T, from, to string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestMirrorChild$")
	cmd.Env = append(os.Environ(), childSource+"="+from, childDest+"="+to)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd
}
