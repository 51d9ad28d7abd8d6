package inbox

import (
	"fmt"
	"sync"

	"github.com/nixstatic/nixstatic/layout/share"
)

const (
	// spaceStep is how many bytes of an upload pass between two looks at the disk.
	spaceStep = 16 << 20
	// recordShare is the part of the floor that records may use, and recordRoom its
	// bound in bytes. They complete what is there: a NAR that was taken while the disk
	// had room is worth nothing without them.
	recordShare = 16
	recordRoom  = 64 << 20
	// fileBytes is what an object takes of a disk at least.
	fileBytes = 4 << 10
	// fewRecords are so small that they always count as records.
	fewRecords = 64 << 10
)

// space keeps uploads from filling the disk. Those of a client that are under way
// count for it with the bytes that are still to come. For others they count with
// the bytes that came: else a client could take all of the disk by announcing that
// much, and send nothing.
type space struct {
	free  func() (uint64, error) // nil: no bound
	floor int64

	mu     sync.Mutex
	coming map[share.Client]int64
}

// check refuses an upload of that many bytes, 0 if their number is not known.
func (s *space) check(c share.Client, size int64) error { return s.above(s.floor, c, size) }

// checkRecords refuses small objects with so many bytes together. If that is much,
// as of records with a long listing beside them, they count as what fills disks.
func (s *space) checkRecords(c share.Client, objects int, size int64) error {
	room := min(s.floor/recordShare, recordRoom)
	if size += int64(objects) * fileBytes; size > max(room, fewRecords) {
		return s.check(c, size)
	}
	return s.above(s.floor-room, c, 0)
}

// above refuses bytes that would leave the disk with less than a floor.
func (s *space) above(floor int64, c share.Client, size int64) error {
	if s.free == nil {
		return nil
	}
	free, err := s.free()
	if err != nil {
		return fmt.Errorf("tell the free space: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := uint64(floor) + uint64(s.coming[c]) + uint64(size)
	if free < wanted {
		return refuse(NoSpace, "no space: this cache keeps %d bytes of its disk free, and %d more are not there; its operator has to make room",
			floor, wanted-uint64(floor))
	}
	return nil
}

// A reservation is the part of an upload that is still to come. Nil reserves
// nothing.
type reservation struct {
	space  *space
	client share.Client
	left   int64
	since  int64 // bytes since the last look
}

// reserve checks and counts an upload.
func (s *space) reserve(c share.Client, size int64) (*reservation, error) {
	size = max(size, 0)
	if s.free == nil {
		return nil, nil
	}
	if err := s.check(c, size); err != nil {
		return nil, err
	}
	s.add(c, size)
	return &reservation{space: s, client: c, left: size}, nil
}

func (s *space) add(c share.Client, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.coming == nil {
		s.coming = map[share.Client]int64{}
	}
	if s.coming[c] += n; s.coming[c] == 0 {
		delete(s.coming, c)
	}
}

// took counts bytes that have come.
func (r *reservation) took(n int64) error {
	if r == nil {
		return nil
	}
	part := min(n, r.left)
	r.left -= part
	r.space.add(r.client, -part)
	return r.wrote(n)
}

// wrote counts bytes that go to the disk beside those of the body.
func (r *reservation) wrote(n int64) error {
	if r == nil {
		return nil
	}
	if r.since += n; r.since < spaceStep {
		return nil
	}
	r.since = 0
	return r.space.check(r.client, 0)
}

func (r *reservation) done() {
	if r != nil {
		r.space.add(r.client, -r.left)
		r.left = 0
	}
}
