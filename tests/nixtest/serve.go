package nixtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A Buffer is filled by a process while the test reads it.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Listen starts a command of Program.Command that serves, and returns the first line that
// it prints, which is a URL. When the test ends, the process is told to end as systemd
// does it; that counts as no error. Someone has to wait for it.
func Listen(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	cmd.Cancel = func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) && err != nil {
			return err
		}
		return os.ErrProcessDone
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start nixstatic %q: %v", cmd.Args[1:], err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		cmd.Wait()
		log, _ := cmd.Stderr.(fmt.Stringer)
		t.Fatalf("nixstatic %q does not start: %v\n%v", cmd.Args[1:], err, log)
	}
	return strings.TrimSpace(line)
}

// Serve is Listen for a server that serves until the test ends, however it ends.
func Serve(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	url := Listen(t, cmd)
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	return url
}

// Metrics returns the URL of the metrics that the log of a server tells of.
func Metrics(t testing.TB, log *Buffer) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		_, rest, _ := strings.Cut(log.String(), `msg="metrics and health" url=`)
		if url, _, ok := strings.Cut(rest, "\n"); ok {
			return url
		}
	}
	t.Fatalf("the log does not tell of metrics:\n%s", log)
	return ""
}
