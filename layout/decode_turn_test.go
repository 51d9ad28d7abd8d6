package layout_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/share"
)

// Bodies of clients are decoded in turns: a decoder has one while it works, and none while
// it waits for bytes, or its reader for something else.
func TestDecodersTakeTurns(t *testing.T) {
	var file bytes.Buffer
	z, err := zstd.NewWriter(&file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(z, strings.NewReader(strings.Repeat("what a client sends ", 10_000))); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	memory, turns := share.NewPool(layout.DecoderMemory, 0), share.NewPool(1, 0) // a client that has to wait is told so
	open := func(from io.Reader) compress.Reader {
		d, err := layout.NewDecoder(share.As(t.Context(), "mallory"), from, compress.Zstd, memory, turns)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	honest := share.As(t.Context(), "alice")
	turn, err := turns.Take(honest, 1)
	if err != nil {
		t.Fatal(err)
	}
	d := open(bytes.NewReader(file.Bytes()))
	if n, err := d.Read(make([]byte, 10)); !errors.Is(err, share.ErrBusy) {
		t.Errorf("out of turn: %d bytes, %v", n, err)
	}
	turn.Release()
	if n, err := d.Read(make([]byte, 10)); n == 0 || err != nil {
		t.Errorf("in its turn: %d bytes, %v", n, err)
	}
	if turn, err := turns.Try(honest, 1); err != nil {
		t.Errorf("between two reads: %v", err)
	} else {
		turn.Release()
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}

	silent, speak := io.Pipe()
	d = open(silent)
	read := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, d)
		read <- err
	}()
	if _, err := speak.Write(file.Bytes()[:3]); err != nil { // and the decoder waits for more
		t.Fatal(err)
	}
	for {
		turn, err := turns.Try(honest, 1)
		if err == nil {
			turn.Release()
			break
		}
		time.Sleep(time.Millisecond)
	}
	speak.CloseWithError(context.Canceled)
	if err := <-read; !errors.Is(err, context.Canceled) && !errors.Is(err, share.ErrBusy) {
		t.Error(err)
	}
	d.Close()
}
