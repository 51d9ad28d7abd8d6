//go:build linux && real

package crash

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A said is what went over a socket in one call. So the answers to a client are
// known on the same clock as what the server did to files: by the time a client
// has read an answer, the server may have done more.
type said struct {
	socket string // as /proc names it
	out    bool   // said by the server
	at     int    // on the clock of calls: an answer when the call begins
	text   []byte
}

// socketOf returns the name of the socket behind a descriptor, "" if there is
// another thing behind it.
func socketOf(tid int, fd uint64) string {
	if name, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int32(fd))); err == nil && strings.HasPrefix(name, "socket:") {
		return name
	}
	return ""
}

// readBytes reads the memory of a thread.
func readBytes(tid int, addr uint64, size int) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	text := make([]byte, size)
	local := []unix.Iovec{{Base: &text[0]}}
	local[0].SetLen(size)
	n, err := unix.ProcessVMReadv(tid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: size}}, 0)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return text, err
}

// An answer is one that the server began to give to a request.
type answer struct {
	method, path string
	status       int
	at           int // on the clock of calls
}

// answers reads what went over all sockets. A connection that ended in the middle
// of a message has told nothing by it.
func answers(talk []said) []answer {
	streams := map[string][2][]said{}
	for _, s := range talk {
		both := streams[s.socket]
		if s.out {
			both[1] = append(both[1], s)
		} else {
			both[0] = append(both[0], s)
		}
		streams[s.socket] = both
	}
	var list []answer
	for _, both := range streams {
		asked, told := newStream(both[0]), newStream(both[1])
		for {
			r, err := http.ReadRequest(asked.reader)
			if err != nil {
				break
			}
			io.Copy(io.Discard, r.Body)
			a := answer{method: r.Method, path: r.URL.Path}
			for a.status < 200 && err == nil { // 100 Continue is not the answer yet
				var response *http.Response
				a.at = told.now()
				if response, err = http.ReadResponse(told.reader, r); err == nil {
					a.status = response.StatusCode
					io.Copy(io.Discard, response.Body)
				}
			}
			if err != nil {
				break
			}
			list = append(list, a)
		}
	}
	return list
}

// A stream is all that went one way over a connection.
type stream struct {
	parts  []said
	size   int
	source *bytes.Reader
	reader *bufio.Reader
}

func newStream(parts []said) *stream {
	s := &stream{parts: parts}
	var text []byte
	for _, p := range parts {
		text = append(text, p.text...)
	}
	s.size, s.source = len(text), bytes.NewReader(text)
	s.reader = bufio.NewReader(s.source)
	return s
}

// now returns when the next byte was said.
func (s *stream) now() int {
	read := s.size - s.source.Len() - s.reader.Buffered()
	for _, p := range s.parts {
		if read < len(p.text) {
			return p.at
		}
		read -= len(p.text)
	}
	return 0
}
