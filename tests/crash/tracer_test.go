//go:build linux && real

package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// harmless are calls on files that change nothing that anybody else sees, and
// one whose failure or success promises nothing.
var harmless = map[string]bool{
	"newfstatat": true, "fstat": true, "statx": true, "readlinkat": true, "faccessat2": true, "fstatfs": true,
	"close": true, "fcntl": true, "flock": true, "epoll_ctl": true, "dup": true, "lseek": true,
	"getdents64": true, "read": true, "pread64": true, "mmap": true, "fadvise64": true,
	"sync_file_range": true,
}

// The tracer cannot fail a call that it does not count: strace must see the same
// calls, by number and name, and none that are not counted.
func TestTracer(t *testing.T) {
	p := newRunner(t)
	for _, s := range scenarios(t) {
		if s.lacks != nil {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := scratch(t), scratch(t)
			for _, dir := range []string{ours, theirs} {
				if s.before != nil {
					s.before(t, p, dir)
				}
			}
			got := map[string]int{}
			for _, c := range (watch{Dir: ours}).run(t, p.Command(t, s.args(t, ours)...)).Calls {
				got[c.Name]++
			}
			log := filepath.Join(t.TempDir(), "strace")
			cmd := p.Command(t, s.args(t, theirs)...)
			cmd.Args = append([]string{"strace", "-f", "-y", "-qq", "-o", log, cmd.Path}, cmd.Args[1:]...)
			cmd.Path = peers.Program(t, "strace")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("strace: %v\n%s", err, out)
			}
			if diff := cmp.Diff(straced(t, log, theirs), got); diff != "" {
				t.Errorf("calls (-strace +ours):\n%s", diff)
			}
		})
	}
}

// straced counts the calls of a log of strace that change something in a folder.
func straced(t testing.TB, log, dir string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var pid int
		var rest string
		if n, _ := fmt.Sscanf(line, "%d %s", &pid, &rest); n != 2 {
			t.Fatalf("strace says %q", line)
		}
		name, _, isCall := strings.Cut(rest, "(")
		// The second half of a call that another thread's came in between of
		// begins with "<... ", and the program's own start names the folder too.
		if !isCall || name == "execve" || harmless[name] || !strings.Contains(line, dir) {
			continue
		}
		if name == "openat" && !strings.Contains(line, "O_CREAT") {
			continue
		}
		count[name]++
	}
	return count
}
