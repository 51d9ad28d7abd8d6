package compress

import (
	"context"
	"fmt"
	"io"

	"github.com/dsnet/compress/bzip2"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// spec says what an encoder does; equal specs share encoders.
type spec struct {
	method  Method
	level   int    // never 0
	program string // the xz program, or "" for the encoder in Go
}

func newSpec(m Method, level int) spec {
	s := spec{method: m, level: level}
	if m == Xz {
		s.program = xzProgram()
	}
	return s
}

// An encoder compresses frames, one at a time.
type encoder interface {
	// encode appends src as one complete file of the format to dst, which has room for it but for
	// a frame that grows more than any should.
	encode(ctx context.Context, dst, src []byte) ([]byte, error)
}

func newEncoder(s spec) encoder {
	switch s.method {
	case Zstd:
		return newZstdEncoder(s.level)
	case Gzip:
		return &writerEncoder[*gzip.Writer]{
			open:  func(w io.Writer) (*gzip.Writer, error) { return gzip.NewWriterLevel(w, s.level) },
			again: func(z *gzip.Writer, w io.Writer) error { z.Reset(w); return nil },
		}
	case Bzip2:
		return &writerEncoder[*bzip2.Writer]{
			open: func(w io.Writer) (*bzip2.Writer, error) {
				return bzip2.NewWriter(w, &bzip2.WriterConfig{Level: s.level})
			},
			again: func(z *bzip2.Writer, w io.Writer) error { return z.Reset(w) },
		}
	case Xz:
		if s.program != "" {
			return xzCommand{program: s.program, level: s.level}
		}
		return xzInGo{level: s.level}
	}
	panic(fmt.Sprintf("compress: no encoder for %q", s.method)) // CheckLevel let it pass
}

// zstdEncoder writes frames with their content size and, like Nix, without a checksum: the reader
// of a NAR compares two hashes, and one more sum costs a hundredth of the time of writer and
// reader. Measured on libraries and on a source tree, no other option of the encoder is faster at
// the same size: "lower memory" is 30 % slower, windows of 2 to 16 MiB are equally fast, and
// entropy coding of blocks without matches gains 0.1 % of size.
type zstdEncoder struct{ z *zstd.Encoder }

func newZstdEncoder(level int) zstdEncoder {
	strength := zstd.SpeedBestCompression
	switch {
	case level < 3:
		strength = zstd.SpeedFastest
	case level < 6:
		strength = zstd.SpeedDefault
	case level < 10:
		strength = zstd.SpeedBetterCompression
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(strength), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return zstdEncoder{z}
}

func (e zstdEncoder) encode(_ context.Context, dst, src []byte) ([]byte, error) {
	return e.z.EncodeAll(src, dst), nil
}

// writerEncoder makes an encoder of a library's Writer, which it keeps from frame to frame.
type writerEncoder[W io.WriteCloser] struct {
	open  func(io.Writer) (W, error)
	again func(W, io.Writer) error
	z     W
	ready bool // z may be used again
}

func (e *writerEncoder[W]) encode(ctx context.Context, dst, src []byte) ([]byte, error) {
	out := appender{dst}
	var err error
	if e.ready {
		err = e.again(e.z, &out)
	} else {
		e.z, err = e.open(&out)
	}
	e.ready = false // until this frame has gone well
	if err != nil {
		return nil, err
	}
	if err := writeInPieces(ctx, e.z, src); err != nil {
		return nil, err
	}
	if err := e.z.Close(); err != nil {
		return nil, err
	}
	e.ready = true
	return out.b, nil
}

// pieceSize is how much is compressed between two looks at the context: less than a second of
// the slowest encoder.
const pieceSize = 256 << 10

func writeInPieces(ctx context.Context, w io.Writer, p []byte) error {
	for len(p) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := min(len(p), pieceSize)
		if _, err := w.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// appender is an io.Writer at the end of a slice.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}
