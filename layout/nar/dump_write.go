//go:build darwin || freebsd || linux || netbsd || openbsd

package nar

import (
	"encoding/binary"
	"io"
)

// put appends a token or part of one, at most a few kilobytes, to what will be written.
func (d *dumper) put(s string) {
	if len(d.buf)+len(s) > cap(d.buf) {
		d.flush()
	}
	d.buf = append(d.buf, s...)
}

func (d *dumper) putLen(n int64) {
	var b [lenSize]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	d.put(string(b[:]))
}

func (d *dumper) putString(s string) {
	d.putLen(int64(len(s)))
	d.put(s)
	d.put(zeros[:padding(int64(len(s)))])
}

// flush writes what is in the buffer. After an error it only empties the buffer.
func (d *dumper) flush() error {
	if d.werr == nil {
		if err := d.ctx.Err(); err != nil {
			d.stop(err)
		} else if n, err := d.w.Write(d.buf); err != nil {
			d.stop(err)
		} else if n < len(d.buf) {
			d.stop(io.ErrShortWrite)
		}
	}
	d.buf = d.buf[:0]
	return d.werr
}
