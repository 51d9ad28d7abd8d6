package compress

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"github.com/pierrec/lz4/v4"
)

// ErrCorrupt is what every error of a reader is that is not an error of its source: the data is
// damaged, cut short, followed by something else, of another format, or asks for more memory
// than a reader grants.
var ErrCorrupt = errors.New("corrupt compressed data")

// maxWindow is how far back a file may refer, which is about what a reader of it costs in memory.
// For zstd it is the limit of every Nix; for xz it is twice what the strongest preset asks for.
const maxWindow = 128 << 20

// keptMemory is what a decoder may have that is kept for the next file.
const keptMemory = 16<<20 + overhead

// inputSize is how much is read from a source at once.
const inputSize = 64 << 10

// NewReader decompresses what r holds, by method m. It reads nothing before the first Read.
//
// It takes for whole what Nix takes for whole: files of several frames, members or streams,
// skippable frames of zstd, padding of xz. Everything else is ErrCorrupt: an end too early (an
// empty source too, as no format has an empty file), bytes after the end, a wrong checksum, a zstd window or xz
// dictionary above 128 MiB. Nix ignores what follows a brotli stream; here that too is corrupt. Only
// gzip, bzip2, xz, lz4 and zstd with a checksum tell damage for sure; brotli has none. For none all
// bytes are good.
//
// The caller limits how much comes out: a small file can decompress to any size. Memory is bounded
// by the window and does not depend on that size.
//
// Close frees the decoder and leaves r alone. r may have been read further than what came out.
func NewReader(r io.Reader, m Method) (Reader, error) { return NewReaderWithin(r, m, nil) }

// NewReaderWithin is NewReader for a file that comes from a stranger: memory is
// asked for what the decoder needs, before it needs it. Nil grants everything.
func NewReaderWithin(r io.Reader, m Method, memory Memory) (Reader, error) {
	if m == None {
		return plainReader{io.NopCloser(r)}, nil
	}
	pool, ok := decoders[m]
	if !ok {
		_, err := m.traits()
		return nil, err
	}
	d := pool.Get().(*decoder)
	d.source.reset(r)
	return &reader{method: m, pool: pool, dec: d, memory: memory}, nil
}

// reader is one use of a decoder.
type reader struct {
	method Method
	pool   *sync.Pool
	dec    *decoder // nil after Close
	open   bool     // dec has been given the source
	memory Memory   // nil: not counted
	err    error    // sticky; io.EOF after a clean end

	frames  frames
	content int64 // bytes of the frame that is being read
	ended   bool  // all frames were read
}

// plainReader is the method none.
type plainReader struct{ io.ReadCloser }

func (plainReader) Frames() []Frame { return nil }

func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if !r.open {
		r.open = true
		if err := r.start(); err != nil {
			r.err = r.explain(err)
			return 0, r.err
		}
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := r.dec.Read(p)
		r.content += int64(n)
		if err == io.EOF && r.method.framed() {
			if err = r.nextFrame(); err == nil && n == 0 {
				continue
			}
		}
		if err != nil {
			r.err = r.explain(err)
		}
		return n, r.err
	}
}

// Frames returns what was read, if that was all.
func (r *reader) Frames() []Frame {
	if !r.ended {
		return nil
	}
	return r.frames.list
}

// nextFrame notes the frame that has ended, and gives the decoder the one after
// it. The error is io.EOF if there is none.
func (r *reader) nextFrame() error {
	g := &r.dec.gate
	if g.broken != nil || r.dec.source.err != nil {
		return io.EOF // explain knows better
	}
	if g.passed > 0 {
		r.frames.add(Frame{Compressed: g.passed, Content: r.content})
	}
	r.content, g.passed = 0, 0
	if !g.between {
		r.ended = true
		return io.EOF
	}
	g.between, g.begun = false, false
	return r.dec.again(g)
}

// start gives the decoder its source.
func (r *reader) start() error {
	from := r.dec.source.buffered
	g := &r.dec.gate
	g.from, g.memory = from, r.memory
	if g.next = g.parts(r.method); g.next != nil {
		return r.dec.again(g)
	}
	if r.memory != nil {
		if g.refused = r.memory(fixedMemory[r.method]); g.refused != nil {
			return g.refused
		}
	}
	return r.dec.again(from)
}

// explain tells the clean end, failures of the source and bad data apart.
func (r *reader) explain(err error) error {
	src := &r.dec.source
	switch {
	case r.dec.gate.refused != nil:
		return fmt.Errorf("decompress %s: %w", r.method, r.dec.gate.refused)
	case src.err != nil:
		return fmt.Errorf("read %s file: %w", r.method, src.err)
	case r.dec.gate.broken != nil:
		err = r.dec.gate.broken
	case err == io.EOF && src.n == 0:
		err = io.ErrUnexpectedEOF
	case err == io.EOF:
		return io.EOF
	}
	return fmt.Errorf("decompress %s: %w: %w", r.method, ErrCorrupt, err)
}

func (r *reader) Close() error {
	if r.dec == nil {
		return nil
	}
	r.dec.source.reset(nil)
	// Only a decoder that came to a clean end is known to be as good as new, and one
	// with a large window would go on holding it.
	large := r.dec.gate.granted > keptMemory
	if r.dec.gate = (gate{}); r.err == io.EOF && !large {
		r.pool.Put(r.dec)
	}
	r.dec = nil
	if r.err == nil || r.err == io.EOF {
		r.err = fmt.Errorf("read %s file: %w", r.method, os.ErrClosed)
	}
	return nil
}

// decoder is a library's decoder with its input. It is used for one file after another, since setting
// one up costs more than a small file.
type decoder struct {
	io.Reader // of the library
	again     func(io.Reader) error
	source    source
	gate      gate
}

// source counts what a decoder takes in and remembers why it ended.
type source struct {
	r        io.Reader
	buffered *bufio.Reader // reads from the source itself
	n        int64
	err      error // but io.EOF
}

func (s *source) reset(r io.Reader) {
	s.r, s.n, s.err = r, 0, nil
	if s.buffered == nil {
		s.buffered = bufio.NewReaderSize(s, inputSize)
	} else {
		s.buffered.Reset(s)
	}
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

var decoders = map[Method]*sync.Pool{
	Zstd:   decoderPool(newZstdDecoder),
	Xz:     decoderPool(newXzDecoder),
	Gzip:   decoderPool(newGzipDecoder),
	Bzip2:  decoderPool(newBzip2Decoder),
	Brotli: decoderPool(newBrotliDecoder),
	Lz4:    decoderPool(newLz4Decoder),
}

func decoderPool(open func(*decoder)) *sync.Pool {
	return &sync.Pool{New: func() any {
		d := &decoder{}
		open(d)
		return d
	}}
}

func newZstdDecoder(d *decoder) {
	z, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1), // a third faster than two, and no goroutine to lose
		// The first limits windows, the second frames that are their own window.
		zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderMaxMemory(maxWindow))
	if err != nil {
		panic(err) // the options are constants
	}
	d.Reader, d.again = z, z.Reset
}

func newXzDecoder(d *decoder) {
	z, err := xz.NewReader(nil, maxWindow)
	if err != nil {
		panic(err) // there is nothing to read yet
	}
	d.Reader, d.again = z, z.Reset
}

func newGzipDecoder(d *decoder) {
	z := new(gzip.Reader)
	d.Reader, d.again = z, z.Reset
}

func newBzip2Decoder(d *decoder) {
	d.again = func(r io.Reader) error {
		d.Reader = bzip2.NewReader(r)
		return nil
	}
}

func newBrotliDecoder(d *decoder) {
	z := new(brotli.Reader)
	d.Reader, d.again = z, z.Reset
}

func newLz4Decoder(d *decoder) {
	z := lz4.NewReader(nil)
	d.Reader, d.again = z, func(r io.Reader) error {
		z.Reset(r)
		return nil
	}
}
