package refgraph

import (
	"errors"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// scratchInMemory is how many bytes a scratch holds in memory. A small tree
// fits.
const scratchInMemory = 256 << 10

// A scratch takes bytes that are written one after the other and read anywhere:
// in memory while they are few, then in a temporary file without a name. Reading
// side by side is safe, while writing is not.
//
// An error of writing is kept: nothing is read back after it, and err tells it.
type scratch struct {
	dir  string // of the file; "" is the system's
	mem  []byte // all of it, or what is not in the file yet
	file layout.SpoolFile
	size int64
	err  error
}

// append writes p and returns where it is.
func (s *scratch) append(p []byte) (at int64) {
	at = s.size
	s.size += int64(len(p))
	if s.mem = append(s.mem, p...); len(s.mem) >= scratchInMemory {
		s.flush()
	}
	return at
}

// flush brings everything to the file.
func (s *scratch) flush() {
	if s.err == nil && s.file == nil {
		s.file, s.err = layout.TempSpool(s.dir).Create()
	}
	if s.err == nil && len(s.mem) > 0 {
		_, s.err = s.file.Write(s.mem)
	}
	s.mem = s.mem[:0]
}

// seal ends the writing.
func (s *scratch) Seal() error {
	if s.file != nil {
		s.flush()
		s.mem = nil
	}
	if s.err != nil {
		return &SpoolError{s.err}
	}
	return nil
}

// read reads all of p, from a place that was written, after seal.
func (s *scratch) read(p []byte, at int64) error {
	if s.file == nil {
		copy(p, s.mem[at:])
		return nil
	}
	n, err := s.file.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &SpoolError{err}
}

// close gives the room back.
func (s *scratch) Close() {
	if s.file != nil {
		s.file.Discard()
		s.file = nil
	}
	s.mem = nil
}

// blockBytes is how much of a shelf is read at once.
const blockBytes = 4 << 10

// blocks lends room for one.
var blocks = sync.Pool{New: func() any { return new([blockBytes]byte) }}

// A Shelf holds millions of records of one size that begin with a key, added in
// the order of their keys. It keeps the first key of each block in memory, so
// that a record is found by reading one block. Nothing else grows in memory: half a
// percent of the bytes.
type Shelf struct {
	scratch
	record, key int // bytes
	n           int
	first       []byte // the first key of each block
}

func NewShelf(dir string, record, key int) *Shelf {
	return &Shelf{scratch: scratch{dir: dir}, record: record, key: key}
}

// perBlock is how many records a block has.
func (s *Shelf) perBlock() int { return blockBytes / s.record }

// add appends a record.
func (s *Shelf) Add(record []byte) {
	if s.n%s.perBlock() == 0 {
		s.first = append(s.first, record[:s.key]...)
	}
	s.append(record)
	s.n++
}

// len returns the number of records. A nil shelf has none.
func (s *Shelf) Len() int {
	if s == nil {
		return 0
	}
	return s.n
}

// block reads the block with the given number into room.
func (s *Shelf) block(number int, room *[blockBytes]byte) ([]byte, error) {
	from := number * s.perBlock()
	b := room[:min(s.perBlock(), s.n-from)*s.record]
	return b, s.read(b, int64(from)*int64(s.record))
}

// at reads a record into to.
func (s *Shelf) At(i int, to []byte) error {
	return s.read(to[:s.record], int64(i)*int64(s.record))
}

// A placed record is one with its number.
type Record struct {
	Number int
	Bytes  []byte
}

// all yields the records in order. Each is overwritten by the next. With an
// error comes a record of zeros, and no other.
func (s *Shelf) All() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if s.Len() == 0 {
			return
		}
		room := new([blockBytes]byte)
		for i, number := 0, 0; i < s.n; number++ {
			b, err := s.block(number, room)
			if err != nil {
				yield(Record{i, make([]byte, s.record)}, err)
				return
			}
			for ; len(b) > 0; i, b = i+1, b[s.record:] {
				if !yield(Record{i, b[:s.record]}, nil) {
					return
				}
			}
		}
	}
}

// numbered yields copies of the records that last.
func Numbered(s *Shelf) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for record, err := range s.All() {
			if !yield(Record{record.Number, slices.Clone(record.Bytes)}, err) {
				return
			}
		}
	}
}

// find returns the number of the record with a key, or -1.
func (s *Shelf) Find(key []byte) (int, error) {
	if s.Len() == 0 {
		return -1, nil
	}
	number := bisect(s.first, s.key, key)
	if number < 0 {
		return -1, nil
	}
	room := blocks.Get().(*[blockBytes]byte)
	defer blocks.Put(room)
	b, err := s.block(number, room)
	if err != nil {
		return -1, err
	}
	i := bisect(b, s.record, key)
	if i < 0 || string(b[i*s.record:i*s.record+s.key]) != string(key) {
		return -1, nil
	}
	return number*s.perBlock() + i, nil
}

// bisect returns the last of sorted records that is not behind key, or -1.
func bisect(records []byte, size int, key []byte) int {
	low, high := 0, len(records)/size
	for low < high {
		mid := (low + high) / 2
		if string(records[mid*size:mid*size+len(key)]) <= string(key) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low - 1
}

// A spoolError says that a body could not be kept until it is checked.
type SpoolError struct{ Err error }

func (e *SpoolError) Error() string { return "keep a body until it is checked: " + e.Err.Error() }
func (e *SpoolError) Unwrap() error { return e.Err }
