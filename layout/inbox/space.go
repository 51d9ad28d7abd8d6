package inbox

import (
	"fmt"
	"sync"
)

// spaceStep is how many bytes of an upload pass between two looks at the disk.
const spaceStep = 16 << 20

// space keeps uploads from filling the disk. Those under way count with the
// bytes that are still to come.
type space struct {
	free  func() (uint64, error) // nil: no bound
	floor int64

	mu     sync.Mutex
	coming int64
}

// check refuses an upload of that many bytes, 0 if their number is not known.
func (s *space) check(size int64) error {
	if s.free == nil {
		return nil
	}
	free, err := s.free()
	if err != nil {
		return fmt.Errorf("tell the free space: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := uint64(s.floor) + uint64(s.coming) + uint64(size)
	if free < wanted {
		return refuse(NoSpace, "no space: this cache keeps %d bytes of its disk free, and %d more are not there; its operator has to make room",
			s.floor, wanted-uint64(s.floor))
	}
	return nil
}

// A reservation is the part of an upload that is still to come. Nil reserves
// nothing.
type reservation struct {
	space *space
	left  int64
	since int64 // bytes since the last look
}

// reserve checks and counts an upload.
func (s *space) reserve(size int64) (*reservation, error) {
	size = max(size, 0)
	if s.free == nil {
		return nil, nil
	}
	if err := s.check(size); err != nil {
		return nil, err
	}
	s.add(size)
	return &reservation{space: s, left: size}, nil
}

func (s *space) add(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coming += n
}

// took counts bytes that have come.
func (r *reservation) took(n int64) error {
	if r == nil {
		return nil
	}
	part := min(n, r.left)
	r.left -= part
	r.space.add(-part)
	if r.since += n; r.since < spaceStep {
		return nil
	}
	r.since = 0
	return r.space.check(0)
}

func (r *reservation) done() {
	if r != nil {
		r.space.add(-r.left)
		r.left = 0
	}
}
