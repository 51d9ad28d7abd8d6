package through

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// mostFile is how many bytes the file of a NAR may have: no compression makes one much
// larger. A record is signed for the size of the NAR, and for nothing about the file.
func mostFile(n *layout.NarInfo) int64 { return n.NarSize + n.NarSize/8 + 64<<10 }

// errTooMuch says that an upstream sends more than the file of a NAR can have.
var errTooMuch = errors.New("far more bytes than the NAR has")

// source reads from an upstream, and gives up one that is too slow, or that sends
// without end.
type source struct {
	r       io.Reader
	timeout time.Duration
	most    int64 // bytes
	n       int64
	err     error // why the upstream gave no more; nil at its end

	waited time.Duration // for the bytes since
	since  int64
}

// slowBytes is how much has to come in the time that a fetch may take for it.
const slowBytes = 64 << 10

type slowError struct {
	n     int64
	since time.Duration
}

func (e *slowError) Error() string {
	return fmt.Sprintf("too slow: %d bytes in %s", e.n, e.since.Round(time.Second))
}

func (s *source) Read(p []byte) (int, error) {
	start := time.Now()
	n, err := s.r.Read(p)
	s.n += int64(n)
	s.since += int64(n)
	s.waited += time.Since(start)
	switch {
	case s.n > s.most:
		return n, errTooMuch // which is wrong, and no trouble of the connection
	case err == io.EOF:
		return n, err
	case err == nil && s.since >= slowBytes:
		s.since, s.waited = 0, 0
	case err == nil && s.waited > s.timeout:
		err = &slowError{s.since, s.waited}
	}
	s.err = err
	return n, err
}
