package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/nixstatic/nixstatic/layout"
)

// MinPart is the least size of a part, in bytes: room for the largest record.
const MinPart = 8 << 20

// ErrPart says that something has no room in a part.
var ErrPart = errors.New("the parts are too small for it")

const (
	block = 512
	// headers is what tar may write ahead of a member with a long name or size.
	headers = 3 * block
	// tail is what tar may write around the sums, with the end of the file.
	tail = headers + block + 2*block
)

// cost returns how many bytes a member takes at most.
func cost(name string, size int64) int64 {
	return headers + (size+block-1)/block*block + int64(2*sha256.Size+3+len(name))
}

// room returns how many bytes of members the part still has room for.
func (w *writer) room() int64 {
	if w.MaxPart == 0 {
		return 1 << 62
	}
	return w.MaxPart - w.out.Load() - int64(w.sums.Len()) - tail
}

// begin begins a part.
func (w *writer) begin() error {
	out, err := w.next()
	if err != nil {
		return err
	}
	if w.part++; w.part > MaxParts {
		return fmt.Errorf("%w: more than %d of them", ErrPart, MaxParts)
	}
	w.out.Store(0)
	w.tar, w.nars = tar.NewWriter(layout.CountWriter(out, &w.out)), map[layout.Key]bool{}
	w.sums.Reset()
	text, err := json.Marshal(head{Version: version, ID: w.id, Part: w.part, StoreDir: w.plan.StoreDir})
	if err != nil {
		return err
	}
	if err := w.text(headName, append(text, '\n')); err != nil {
		return err
	}
	info := layout.DefaultCacheInfo()
	info.StoreDir = w.plan.StoreDir
	return w.text(string(layout.CacheInfoKey), info.Marshal())
}

// end ends a part.
func (w *writer) end() error {
	sums := bytes.Clone(w.sums.Bytes())
	if err := w.text(sumsName, sums); err != nil {
		return err
	}
	return w.tar.Close()
}

// makeRoom makes room for what takes n bytes, in a part of its own if need be. It reports false if no
// part has that much room.
func (w *writer) makeRoom(n int64) (bool, error) {
	if n <= w.room() {
		return true, nil
	}
	if n > w.MaxPart-partHead-tail {
		return false, nil
	}
	if err := w.end(); err != nil {
		return false, err
	}
	return true, w.begin()
}

// partHead is what the first members of a part take at most.
const partHead = 4*headers + maxHead

// text writes a member.
func (w *writer) text(name string, text []byte) error {
	return w.member(name, int64(len(text)), bytes.NewReader(text))
}

// member writes a member of exactly that many bytes of a reader.
func (w *writer) member(name string, size int64, from io.Reader) error {
	if err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	sum := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(w.tar, sum), layout.CancelReader(w.ctx, io.LimitReader(from, size)), w.buf)
	w.Progress.Add(n)
	if err == nil && n < size {
		err = fmt.Errorf("%w: it has %d bytes, not %d", ErrDamaged, n, size)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	fmt.Fprintf(&w.sums, "%x  %s\n", sum.Sum(nil), name)
	return nil
}
