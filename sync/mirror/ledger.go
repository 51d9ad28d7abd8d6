package mirror

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A mark names two versions of a key, one in each tree. The zero mark names
// none.
type mark [16]byte

// markOf returns the zero mark where a tree does not name its versions.
func markOf(src, dst string) (m mark) {
	if src != "" && dst != "" {
		sum := sha256.Sum256([]byte(src + "\x00" + dst))
		copy(m[:], sum[:])
	}
	return m
}

// A ledger remembers which versions of which keys are equal, in a file with a
// line for each, in the order of keys: it is read and written side by side with
// the listings, and takes no memory. It is a cache: a file that
// cannot be read counts as an empty one.
type ledger struct {
	name string

	old     *os.File
	lines   *bufio.Reader
	key     layout.Key // the line that was read last
	mark    mark
	new     *os.File
	out     *bufio.Writer
	changed bool // new differs from old
}

// ledgerNew is part of the name of one that is not complete yet.
const ledgerNew = ".new-"

// sweepLedger removes what runs that were killed left behind.
func sweepLedger(name string) {
	left, _ := filepath.Glob(name + ledgerNew + "*") // the pattern is well formed
	for _, file := range left {
		if older(file, 24*time.Hour) {
			os.Remove(file)
		}
	}
}

// older reports whether a file was last written to so long ago.
func older(file string, age time.Duration) bool {
	st, err := os.Stat(file)
	return err == nil && time.Since(st.ModTime()) > age
}

const ledgerHeader = "nixstatic sync ledger 1\n"

// openLedger opens the ledger in a file, or one that remembers nothing for "".
func openLedger(name string) *ledger {
	s := &ledger{name: name}
	if name == "" {
		return s
	}
	s.changed = true
	if f, err := os.Open(name); err == nil {
		s.old, s.lines = f, bufio.NewReader(f)
		if line, err := s.lines.ReadString('\n'); err == nil && line == ledgerHeader {
			s.changed = false
			s.next()
		} else {
			s.lines = nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return s
	}
	sweepLedger(name)
	if f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+ledgerNew); err == nil {
		s.new, s.out = f, bufio.NewWriter(f)
		s.out.WriteString(ledgerHeader)
	}
	return s
}

// next reads a line. Reading stops at the first malformed or out-of-order line.
func (s *ledger) next() {
	if s.lines == nil {
		return
	}
	line, err := s.lines.ReadString('\n')
	if err == io.EOF && line == "" {
		s.lines, s.key = nil, ""
		return
	}
	text, key, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	raw, decodeErr := base64.RawStdEncoding.DecodeString(text)
	if err != nil || !ok || decodeErr != nil || len(raw) != len(s.mark) || layout.Key(key) <= s.key {
		s.lines, s.key, s.changed = nil, "", true
		return
	}
	s.key, s.mark = layout.Key(key), mark(raw)
}

// has reports whether the versions named by m are known to be equal. It is
// asked for keys in ascending order.
func (s *ledger) has(key layout.Key, m mark) bool {
	for s.lines != nil && s.key < key {
		s.changed = true // the key of that line went
		s.next()
	}
	known := false
	if s.lines != nil && s.key == key {
		known = s.mark == m && m != (mark{})
		s.next()
	}
	s.changed = s.changed || !known
	return known
}

// add remembers that the versions named by m are equal, for keys in ascending
// order.
func (s *ledger) add(key layout.Key, m mark) {
	if s.out == nil || m == (mark{}) {
		return
	}
	s.out.WriteString(base64.RawStdEncoding.EncodeToString(m[:]))
	s.out.WriteByte(' ')
	s.out.WriteString(string(key))
	s.out.WriteByte('\n')
}

// commit makes what was added the ledger. It is called once all keys went by.
func (s *ledger) commit() error {
	if s.out == nil || !s.changed && s.lines == nil {
		s.discard()
		return nil
	}
	err := s.out.Flush()
	if closeErr := s.new.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(s.new.Name(), s.name)
	}
	if err != nil {
		s.discard()
		return fmt.Errorf("remember what is equal: %w", err)
	}
	s.new = nil
	s.discard()
	return nil
}

// discard leaves the ledger as it was.
func (s *ledger) discard() {
	if s.old != nil {
		s.old.Close()
		s.old = nil
	}
	if s.new != nil {
		s.new.Close()
		os.Remove(s.new.Name())
		s.new, s.out = nil, nil
	}
}
