package layout

import (
	"context"
	"io"

	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/share"
)

// NewDecoder decompresses what a client sent. The decoder takes its memory from
// what clients share, before it needs it, and waits if there is too little. A nil
// share is memory without bounds.
func NewDecoder(ctx context.Context, file io.Reader, method compress.Method, memory *share.Pool) (compress.Reader, error) {
	if memory == nil {
		return compress.NewReader(file, method)
	}
	part, err := memory.Take(ctx, 0)
	if err != nil {
		return nil, err
	}
	return decodeWithin(file, method, part, func(total int64) error { return part.Resize(ctx, total) })
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
