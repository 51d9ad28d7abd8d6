//go:build real

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// told runs a hook for so many objects, and returns what it wrote into the file TOLD.
func told(t *testing.T, command string, wait time.Duration, objects int) (lines []string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "told")
	p := &purger{command: strings.ReplaceAll(command, "TOLD", file), base: "https://cdn.example.org/", wait: wait, keys: map[layout.Key]bool{}}
	for n := range objects {
		key := layout.NarInfoKeyOf(fmt.Sprintf("%032d", n))
		p.add(key, key, layout.PolicyKey)
	}
	err = p.run(t.Context())
	if len(p.keys) > 0 {
		t.Errorf("%d objects wait after a run", len(p.keys))
	}
	text, _ := os.ReadFile(file)
	return strings.Fields(string(text)), err
}

// Each URL is told once, however the hook ends with those of other batches.
func TestPurgeHookFails(t *testing.T) {
	const many = 3*purgeBatch + 1
	for _, test := range []struct {
		command string
		told    int
		says    []string
	}{
		{"cat >>TOLD", many, nil},
		{"true", 0, nil},
		{"cat >>TOLD; sleep 100 </dev/null &", many, nil},
		{"grep 0000.narinfo >>TOLD || { echo no such zone >&2; exit 7; }", 1, []string{"1001 URLs of 1501 not purged", "exit status 7: no such zone"}},
		{"cat >/dev/null; kill -9 $$", 0, []string{"1501 URLs of 1501 not purged", "signal: killed"}},
		{"cat >/dev/null; head -c 5000000 /dev/zero | tr '\\0' x; exit 1", 0, []string{"exit status 1: xxx"}},
		{"no-such-program", 0, []string{"exit status 127", "not found"}},
	} {
		lines, err := told(t, test.command, time.Minute, many)
		if len(lines) != test.told && test.says == nil || (err == nil) != (test.says == nil) {
			t.Errorf("%s: %d told, want %d: %v", test.command, len(lines), test.told, err)
		}
		for _, text := range test.says {
			if err == nil || !strings.Contains(err.Error(), text) || len(err.Error()) > 1000 {
				t.Errorf("%s: %.1000v, want %q", test.command, err, text)
			}
		}
	}
}

// A hook that hangs ends, with all that it started, and is not run for the rest.
func TestPurgeHookHangs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fifo")
	lines, err := told(t, "echo begun >>TOLD; mkfifo "+file+"; cat "+file+"; cat "+file, 200*time.Millisecond, 3*purgeBatch)
	if err == nil || !strings.Contains(err.Error(), "run the purge hook: it took too long (1500 URLs of 1500 not purged)") {
		t.Errorf("%v", err)
	}
	if len(lines) != 1 {
		t.Errorf("it was run %d times", len(lines))
	}
	// The cat that waited has ended: no process reads the pipe.
	f, err := os.OpenFile(file, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		f.Close()
		t.Error("what the hook started goes on")
	}
}
