package compress

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A Memory is asked before a decoder needs more than it was granted, with what it
// needs in total. An error is what reading the file ends with.
type Memory func(total int64) error

// MaxMemory is what one decoder may need at most.
const MaxMemory = maxWindow + overhead

// overhead is what a decoder needs beside its window: buffers, tables, blocks.
const overhead = 2 << 20

// fixedMemory is what decoders need that have no window worth speaking of, or
// whose window is not worth looking for.
var fixedMemory = map[Method]int64{
	Gzip:  256 << 10,
	Bzip2: 5 << 20,  // the largest block, and the permutation of it
	Lz4:   32 << 20, // blocks of the old format
}

// A gate stands before a decoder. It goes through the structure of the file, and
// before the decoder sees the head of a part it asks for the memory that this
// declares. So a file that begins modestly is granted no more than its beginning
// asks for, until it asks. After each frame of zstd or stream of xz it tells the
// decoder that the file ends, so that it is known what came out of which.
type gate struct {
	from    *bufio.Reader
	memory  Memory
	next    func() error // looks at the head of the next part, and sets pass
	pass    int64        // bytes until there
	passed  int64        // bytes that the decoder was given of this frame
	begun   bool         // the head of this frame went by
	between bool         // the decoder was told of an end, and another frame follows
	granted int64
	refused error // by memory
	broken  error // what the structure is
}

// parts returns what looks at the first head of a file by a method whose parts
// declare what they need, and nil for others.
func (g *gate) parts(m Method) func() error {
	switch m {
	case Zstd:
		return (&zstdParts{gate: g}).frame
	case Xz:
		return (&xzParts{gate: g}).stream
	case Brotli:
		return g.brotli
	}
	return nil
}

// need asks for the memory of a window. The decoder refuses a window that is larger than any reader
// grants.
func (g *gate) need(window uint64) error {
	total := int64(min(window, maxWindow)) + overhead
	if window > maxWindow || total <= g.granted {
		return nil
	}
	if g.memory != nil {
		if g.refused = g.memory(total); g.refused != nil {
			return g.refused
		}
	}
	g.granted = total
	return nil
}

// Read gives the decoder what comes before the next head.
func (g *gate) Read(p []byte) (int, error) {
	if err := cmp.Or(g.refused, g.broken); err != nil {
		return 0, err
	}
	for g.pass == 0 {
		if g.between {
			return 0, io.EOF
		}
		if _, err := g.from.Peek(1); err != nil {
			return 0, err
		}
		if err := g.next(); err != nil {
			if g.refused == nil {
				g.broken = err // a decoder could take it for the end
			}
			return 0, err
		}
	}
	n, err := g.from.Read(p[:min(int64(len(p)), g.pass)])
	g.pass -= int64(n)
	g.passed += int64(n)
	return n, err
}

// begin reports whether the frame whose head comes next may begin: the one before
// it has to end first.
func (g *gate) begin() bool {
	g.between, g.begun = g.begun, true
	return !g.between
}

// head returns the next bytes, fewer at the end of the file.
func (g *gate) head(n int) []byte {
	b, _ := g.from.Peek(n)
	return b
}

// errStructure is a file that no decoder would take either.
func errStructure(what string) error { return fmt.Errorf("%w: %s", io.ErrUnexpectedEOF, what) }

// zstdParts knows the frames and blocks of zstd (RFC 8878, 3.1).
type zstdParts struct {
	*gate
	checksum bool // follows the last block
}

func (z *zstdParts) frame() error {
	var h zstd.Header
	if err := h.Decode(z.head(zstd.HeaderMaxSize)); err != nil {
		return err
	}
	if h.Skippable {
		z.pass = int64(h.HeaderSize) + int64(h.SkippableSize)
		return nil
	}
	if !z.begin() {
		return nil
	}
	z.pass = int64(h.HeaderSize)
	window := h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	z.checksum, z.next = h.HasCheckSum, z.block
	return z.need(window)
}

func (z *zstdParts) block() error {
	b := z.head(3)
	if len(b) < 3 {
		return errStructure("no block")
	}
	head := int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16
	last, kind, size := head&1 != 0, head>>1&3, head>>3
	if kind == 1 { // one byte many times
		size = 1
	}
	z.pass = 3 + size
	if last {
		if z.checksum {
			z.pass += 4
		}
		z.next = z.frame
	}
	return nil
}

// brotli knows how a stream begins (RFC 7932, 9.1). There is but one.
func (g *gate) brotli() error {
	bits := uint(g.head(1)[0])
	window := 16
	switch {
	case bits&1 == 0:
	case bits>>1&7 != 0:
		window = 17 + int(bits>>1&7)
	case bits>>4&7 != 0:
		window = 8 + int(bits>>4&7)
	default:
		window = 17
	}
	g.pass = 1 << 62
	// Up to 3 MiB of tables can be had with any window.
	return g.need(1<<window + 3<<20)
}

// xzParts knows the streams, blocks and chunks of xz
// (https://tukaani.org/xz/xz-file-format.txt), and of LZMA2 in them.
type xzParts struct {
	*gate
	check   int64  // bytes of the checksum of a block
	block   int64  // bytes of this block's data so far
	index   int64  // bytes of the index so far
	records uint64 // to come in it
}

var xzMagic = "\xfd7zXZ\x00"

// xzChecks is the size of each kind of checksum.
var xzChecks = [16]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

func (x *xzParts) stream() error {
	b := x.head(12)
	if b[0] == 0 { // padding between streams; that it is a multiple of four is the decoder's to check
		x.pass = 1
		return nil
	}
	if len(b) < 12 || string(b[:6]) != xzMagic {
		return errStructure("no stream")
	}
	if !x.begin() {
		return nil
	}
	x.check, x.pass, x.next = xzChecks[b[7]&15], 12, x.blockOrIndex
	return nil
}

func (x *xzParts) blockOrIndex() error {
	size := 4 * (int(x.head(1)[0]) + 1)
	if size == 4 {
		b := x.head(1 + binary.MaxVarintLen64)
		records, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return errStructure("no index")
		}
		x.records, x.pass, x.index, x.next = records, int64(1+n), int64(1+n), x.record
		return nil
	}
	b := x.head(size)
	if len(b) < size {
		return errStructure("no block")
	}
	x.pass, x.block, x.next = int64(size), 0, x.chunk
	filters, flags := int(b[1]&3)+1, b[1]
	b = b[2:]
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			b = nil
			return 0
		}
		b = b[n:]
		return v
	}
	for _, there := range []byte{0x40, 0x80} { // sizes
		if flags&there != 0 {
			number()
		}
	}
	for range filters {
		id, properties := number(), number()
		if properties > uint64(len(b)) {
			return errStructure("no filter")
		}
		if id == 0x21 && properties == 1 && b[0] < 40 {
			if err := x.need(uint64(2|b[0]&1) << (b[0]/2 + 11)); err != nil {
				return err
			}
		}
		b = b[properties:]
	}
	return nil
}

// chunk is one of LZMA2, in which a block's data are, as other filters only
// change bytes on the way.
func (x *xzParts) chunk() error {
	b := x.head(6)
	switch control := b[0]; {
	case control == 0:
		x.pass = 1 + (-(x.block + 1))&3 + x.check
		x.next = x.blockOrIndex
		return nil
	case control >= 0x80 && len(b) >= 6:
		x.pass = 5 + int64(binary.BigEndian.Uint16(b[3:])) + 1
		if control >= 0xc0 {
			x.pass++ // properties
		}
	case control <= 2 && len(b) >= 3:
		x.pass = 3 + int64(binary.BigEndian.Uint16(b[1:])) + 1
	default:
		return errStructure("no chunk")
	}
	x.block += x.pass
	return nil
}

func (x *xzParts) record() error {
	if x.records == 0 {
		x.pass = (-x.index)&3 + 4 + 12 // padding, checksum, the stream's footer
		x.next = x.stream
		return nil
	}
	b := x.head(2 * binary.MaxVarintLen64)
	for range 2 {
		_, n := binary.Uvarint(b)
		if n <= 0 {
			return errStructure("no entry")
		}
		x.pass += int64(n)
		b = b[n:]
	}
	x.records--
	x.index += x.pass
	return nil
}
