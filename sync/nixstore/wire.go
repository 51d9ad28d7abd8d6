package nixstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits on what a daemon may send. They are far above what any store holds,
// and low enough that a lying daemon cannot exhaust memory.
const (
	maxText  = 64 << 10 // bytes of one path, signature, hash or name
	maxLog   = 1 << 20  // bytes of one log message or error text
	maxList  = 1 << 17  // references of a path, outputs of a derivation
	maxPaths = 1 << 22  // paths of a store
	maxTrace = 1000     // lines of an error's trace, fields of an activity
)

// A reader reads the two things that the worker protocol is made of: numbers,
// 64 bits little endian, and strings, a number of bytes, the bytes, and zero bytes
// up to a multiple of eight.
//
// The first error stays, and every later read returns zero values, so that a
// message is read in one go and looked at once. Any error means that the stream is
// out of step for good.
type reader struct {
	from *bufio.Reader
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// full reads exactly len(b) bytes.
func (r *reader) full(b []byte) bool {
	if r.err != nil {
		return false
	}
	if _, err := io.ReadFull(r.from, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // a daemon that stops talking is never the regular end
		}
		r.err = err
		return false
	}
	return true
}

func (r *reader) num() uint64 {
	var b [8]byte
	if !r.full(b[:]) {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

// bool reads a number that is 0 or not.
func (r *reader) bool() bool { return r.num() != 0 }

// count reads the number of what follows.
func (r *reader) count(max uint64, what string) int {
	n := r.num()
	if n > max {
		r.fail(fmt.Errorf("the daemon announces %d %s, more than %d", n, what, max))
		return 0
	}
	return int(n)
}

// text reads a string of at most max bytes.
func (r *reader) text(max uint64) string {
	n := r.count(max, "bytes of text")
	if n == 0 {
		return ""
	}
	b := make([]byte, (n+7)&^7)
	if !r.full(b) {
		return ""
	}
	for _, c := range b[n:] {
		if c != 0 {
			r.fail(errors.New("the daemon sent padding that is not zero"))
			return ""
		}
	}
	return string(b[:n])
}

// texts reads a list of strings.
func (r *reader) texts(max uint64, what string) []string {
	var list []string
	for range r.count(max, what) {
		list = append(list, r.text(maxText))
		if r.err != nil {
			return nil
		}
	}
	return list
}

// A writer writes numbers and strings. The first error stays in the bufio.Writer,
// whose Flush returns it.
type writer struct{ to *bufio.Writer }

func (w writer) num(n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	w.to.Write(b[:])
}

func (w writer) text(s string) {
	w.num(uint64(len(s)))
	w.to.WriteString(s)
	var zero [8]byte
	w.to.Write(zero[:-len(s)&7])
}

func (w writer) texts(list ...string) {
	w.num(uint64(len(list)))
	for _, s := range list {
		w.text(s)
	}
}
