package layout

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// A Spool lends files for bodies that are not checked yet. A Tree that is also
// a Spool puts its own files without copying them.
type Spool interface {
	Create() (SpoolFile, error)
}

// A SpoolFile is written once, then read as a Body any number of times.
type SpoolFile interface {
	io.Writer
	Body
	// Done tells that all is written. The file keeps no resources open
	// afterwards other than its name.
	Done() error
	// Discard releases the file. After a Put that took it, and a second time,
	// it does nothing.
	Discard()
}

// SpoolFor returns t's own spool, or one in dir ("" for the system's folder of
// temporary files).
func SpoolFor(t Tree, dir string) Spool {
	if s, ok := Ability[Spool](t); ok {
		return s
	}
	return TempSpool(dir)
}

// TempSpool returns a spool in a folder of temporary files, "" for the
// system's. The files have no names there: they go with the process.
func TempSpool(dir string) Spool { return tempSpool(dir) }

type tempSpool string

func (dir tempSpool) Create() (SpoolFile, error) {
	f, err := os.CreateTemp(string(dir), "nixstatic-")
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	// Some file systems do not remove what is open: there the name stays until the
	// end.
	return &tempFile{f: f, named: os.Remove(f.Name()) != nil, users: 1}, nil
}

type tempFile struct {
	f     *os.File
	size  int64
	named bool
	gone  bool // it was discarded

	mu    sync.Mutex
	users int // its creator, until it is discarded, and those it is lent to
}

func (t *tempFile) Write(p []byte) (int, error) {
	n, err := t.f.Write(p)
	t.size += int64(n)
	return n, err
}
func (t *tempFile) ReadAt(p []byte, off int64) (int, error) { return t.f.ReadAt(p, off) }
func (t *tempFile) Size() int64                             { return t.size }
func (t *tempFile) Done() error                             { return nil }
func (t *tempFile) Discard() {
	if !t.gone {
		t.gone = true
		t.leave()
	}
	if t.named {
		os.Remove(t.f.Name())
		t.named = false
	}
}

// A spill is the body of a listing, which stays in memory while it is small.
type spill struct {
	spool   Spool
	limit   int
	spilled func(n int64) error // see Writer
	mem     []byte
	file    SpoolFile
}

func (s *spill) Write(p []byte) (int, error) {
	if s.file == nil {
		if len(s.mem)+len(p) <= s.limit {
			s.mem = append(s.mem, p...)
			return len(p), nil
		}
		file, err := s.spool.Create()
		if err != nil {
			return 0, err
		}
		s.file = file
		if _, err := file.Write(s.mem); err != nil {
			return 0, err
		}
		s.mem = nil
	}
	// A listing that no reader takes is not written either.
	if s.file.Size()+int64(len(p)) > KindListing.MaxBytes() {
		return 0, fmt.Errorf("%w: its listing has more than %d bytes", ErrTooManyFiles, KindListing.MaxBytes())
	}
	if s.spilled != nil {
		if err := s.spilled(int64(len(p))); err != nil {
			return 0, err
		}
	}
	return s.file.Write(p)
}

// body ends the writing and returns what was written.
func (s *spill) body() (Body, error) {
	if s.file == nil {
		return Bytes(s.mem), nil
	}
	return s.file, s.file.Done()
}

func (s *spill) discard() {
	s.mem = nil
	if s.file != nil {
		s.file.Discard()
	}
}
