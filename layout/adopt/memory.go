package adopt

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// A memory tells which paths an earlier run found right. It is a file of lines, each a
// sum over the path's record, its listing's size and its NAR's version: whatever is
// different by now is read again. The last line of a run that died may be cut off, and
// then fits nothing.
type memory struct {
	mu    sync.Mutex
	known map[string]bool
	file  *os.File
	how   string // what the options ask of a path
}

// maxMemory bounds the file in bytes: room for some eight million paths.
const maxMemory = 256 << 20

func recall(name string, o Options) *memory {
	m := &memory{known: map[string]bool{}, how: fmt.Sprintf("1 %s %d %t", o.Method, o.Level, o.DebugInfo)}
	if name == "" {
		return m
	}
	if st, err := os.Stat(name); err == nil && st.Size() < maxMemory {
		if f, err := os.Open(name); err == nil {
			for lines := bufio.NewScanner(f); lines.Scan(); {
				if line := lines.Text(); len(line) == sumLen {
					m.known[line] = true
				}
			}
			f.Close()
		}
	}
	if o.Dry {
		return m
	}
	// Without the file, the next run reads all again.
	if os.MkdirAll(filepath.Dir(name), 0o700) == nil {
		flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
		if len(m.known) == 0 {
			flags |= os.O_TRUNC
		}
		if f, err := os.OpenFile(name, flags, 0o600); err == nil {
			fmt.Fprintln(f) // what was cut off stays by itself
			m.file = f
		}
	}
	return m
}

const sumLen = 32

func (m *memory) sum(record []byte, listing layout.Info, nar layout.Info) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%d\n%s %d %s\n", m.how, listing.Size, nar.Key, nar.Size, nar.ETag)
	h.Write(record)
	return hex.EncodeToString(h.Sum(nil))[:sumLen]
}

func (m *memory) has(sum string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[sum]
}

func (m *memory) add(sums ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var fresh []string
	for _, sum := range sums {
		if !m.known[sum] {
			m.known[sum] = true
			fresh = append(fresh, sum)
		}
	}
	if m.file != nil && len(fresh) > 0 {
		m.file.WriteString(strings.Join(fresh, "\n") + "\n")
	}
}

func (m *memory) close() {
	if m.file != nil {
		m.file.Close()
	}
}
