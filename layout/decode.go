package layout

import (
	"context"
	"io"

	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/share"
)

// NewDecoder decompresses what a client sent. The decoder takes its memory from
// what clients share, before it needs it, and waits if there is too little; it decodes in
// turns with others. A nil share is memory without bounds, and without turns.
func NewDecoder(ctx context.Context, file io.Reader, method compress.Method, memory, turns *share.Pool) (compress.Reader, error) {
	if memory == nil {
		return compress.NewReader(file, method)
	}
	idle, err := turns.Take(ctx, 0)
	if err != nil {
		return nil, err
	}
	part, err := memory.Take(ctx, 0)
	if err != nil {
		return nil, err
	}
	t := &turn{ctx, idle}
	z, err := decodeWithin(t.source(file), method, part, func(total int64) error {
		return t.without(func() error { return part.Resize(ctx, total) })
	})
	if err != nil {
		return nil, err
	}
	return &inTurns{z, t}, nil
}

// An inTurns has a turn while it decodes, and none while its reader does something else: a
// few bytes can make a decoder work for long, and what comes out need not be much.
type inTurns struct {
	compress.Reader
	turn *turn
}

// Read decodes in the next turn.
func (d *inTurns) Read(p []byte) (n int, err error) {
	if err := d.turn.part.Resize(d.turn.ctx, 1); err != nil {
		return 0, err
	}
	defer d.turn.end()
	return d.Reader.Read(p)
}

// decodeWithin takes charge of a part of the memory, and asks for more of it.
func decodeWithin(file io.Reader, method compress.Method, part *share.Part, more func(total int64) error) (compress.Reader, error) {
	z, err := compress.NewReaderWithin(file, method, more)
	if err != nil {
		return nil, err
	}
	return &decoder{z, part}, nil
}

type decoder struct {
	compress.Reader
	memory *share.Part
}

// Close lets go of the decoder first, and then of its memory.
func (d *decoder) Close() error {
	err := d.Reader.Close()
	d.memory.Release()
	return err
}

// DecoderMemory is how much memory is enough for decoders: for two clients with
// the largest windows that are granted, or for some thirty uploads of what Nix and
// this program write.
const DecoderMemory = 2 * compress.MaxMemory
