package refgraph

import (
	"bytes"
	"iter"

	"github.com/nixstatic/nixstatic/layout"
)

// A NARShelf is a shelf of the keys of NARs, each with some bytes more, added in
// the order of the keys. A NAR that is called by the hash of its file, as nearly
// all are, takes the 33 bytes of a NARID; one of another name takes 255.
type NARShelf struct {
	named, other *Shelf
	more         int
}

// A NARRecord is the key of a NAR with its number.
type NARRecord struct {
	Number int
	Key    layout.Key
	More   []byte // overwritten by the next record
}

// NewNARShelf returns a shelf whose records have so many bytes more.
func NewNARShelf(dir string, more int) *NARShelf {
	return &NARShelf{
		named: NewShelf(dir, len(NARID{})+more, len(NARID{})),
		other: NewShelf(dir, layout.MaxNARName+more, layout.MaxNARName),
		more:  more,
	}
}

// Add appends a NAR.
func (s *NARShelf) Add(key layout.Key, more []byte) {
	if id, ok := PackNAR(key); ok {
		s.named.Add(append(id[:], more...))
		return
	}
	s.other.Add(append(padNAR(key), more...))
}

// padNAR fills the name of a NAR up with NULs, which no name has.
func padNAR(key layout.Key) []byte {
	record := make([]byte, layout.MaxNARName, layout.MaxNARName+16)
	copy(record, key[len(layout.NARFolder):])
	return record
}

// Len returns the number of NARs. Those that are named by the hash of their file
// are counted first.
func (s *NARShelf) Len() int { return s.named.Len() + s.other.Len() }

// Seal ends the adding.
func (s *NARShelf) Seal() error {
	if err := s.named.Seal(); err != nil {
		return err
	}
	return s.other.Seal()
}

// Close gives the room back.
func (s *NARShelf) Close() {
	s.named.Close()
	s.other.Close()
}

// Find returns the number of a NAR, or -1.
func (s *NARShelf) Find(key layout.Key) (int, error) {
	if id, ok := PackNAR(key); ok {
		return s.named.Find(id[:])
	}
	if key.Kind() != layout.KindNAR {
		return -1, nil
	}
	i, err := s.other.Find(padNAR(key))
	if i >= 0 {
		i += s.named.Len()
	}
	return i, err
}

// At returns a NAR by its number.
func (s *NARShelf) At(number int) (layout.Key, error) {
	if number < s.named.Len() {
		record := make([]byte, len(NARID{})+s.more)
		err := s.named.At(number, record)
		return NARID(record).Key(), err
	}
	record := make([]byte, layout.MaxNARName+s.more)
	err := s.other.At(number-s.named.Len(), record)
	return unpadNAR(record), err
}

func unpadNAR(record []byte) layout.Key {
	name, _, _ := bytes.Cut(record[:layout.MaxNARName], []byte{0})
	return layout.Key(layout.NARFolder + string(name))
}

// All yields the NARs in the order of their numbers. With an error comes a record
// that means nothing, and no other.
func (s *NARShelf) All() iter.Seq2[NARRecord, error] {
	return func(yield func(NARRecord, error) bool) {
		for r, err := range s.named.All() {
			id := NARID(r.Bytes)
			if !yield(NARRecord{r.Number, id.Key(), r.Bytes[len(id):]}, err) || err != nil {
				return
			}
		}
		for r, err := range s.other.All() {
			if !yield(NARRecord{s.named.Len() + r.Number, unpadNAR(r.Bytes), r.Bytes[layout.MaxNARName:]}, err) || err != nil {
				return
			}
		}
	}
}
