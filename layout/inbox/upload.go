package inbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/nixstatic/nixstatic/layout"
)

// An upload is the body of a Put. It ends in an error instead of io.EOF if it
// has another size than was announced, or more bytes than it may have.
type upload struct {
	ctx   context.Context
	r     io.Reader
	kind  layout.Kind
	size  int64 // announced; -1 if not
	limit int64 // bytes it may have; 0 for any number
	room  *reservation
	n     int64
	err   error // sticky: why there is no more, io.EOF at the end
}

func (u *upload) Read(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	if err := u.ctx.Err(); err != nil {
		u.err = err
		return 0, err
	}
	n, err := u.r.Read(p)
	u.n += int64(n)
	switch {
	case u.limit > 0 && u.n > u.limit:
		u.err = tooLarge(u.kind, u.limit)
	case u.size >= 0 && u.n > u.size:
		u.err = &BodyError{fmt.Errorf("more than the %d bytes that were announced", u.size)}
	case err == io.EOF && u.n < u.size:
		u.err = &BodyError{io.ErrUnexpectedEOF}
	case err == io.EOF:
		u.err = io.EOF
	case err != nil:
		u.err = &BodyError{err}
	default:
		u.err = u.room.took(int64(n))
	}
	if u.err != nil && u.err != io.EOF {
		return 0, u.err
	}
	return n, u.err
}

// failed returns why the upload broke off, nil if it did not.
func (u *upload) failed() error {
	if u.err == io.EOF {
		return nil
	}
	return u.err
}

// readAll returns all bytes of an upload that has a limit.
func (u *upload) readAll() ([]byte, error) {
	text, err := io.ReadAll(u)
	if err != nil {
		return nil, err
	}
	return text, nil
}

func tooLarge(kind layout.Kind, limit int64) *Refusal {
	return refuse(TooLarge, "too large: this cache takes no %s of more than %d bytes", kind, limit)
}

// keptInMemory is the size up to which what is kept needs no file.
const keptInMemory = 1 << 20

// A kept is a body that stays when its upload is over.
type kept struct {
	layout.Body
	shared
	cost int64 // bytes of memory that it counts as
}

// keep reads an upload to its end.
func (b *Inbox) keep(u *upload) (*kept, error) {
	head, err := io.ReadAll(io.LimitReader(u, keptInMemory+1))
	if err != nil {
		return nil, err
	}
	if len(head) <= keptInMemory {
		return keepBytes(head), nil
	}
	file, err := b.spool.Create()
	if err != nil {
		return nil, storage(err)
	}
	k := &kept{Body: file}
	k.free = file.Discard
	k.retain()
	if _, err = file.Write(head); err == nil {
		_, err = io.Copy(file, u)
	}
	if err == nil {
		err = file.Done()
	}
	k.cost = b.spooledCost(file.Size())
	if err != nil {
		k.release()
		if failed := u.failed(); failed != nil {
			return nil, failed
		}
		return nil, storage(err)
	}
	return k, nil
}

func keepBytes(text []byte) *kept {
	k := &kept{Body: bytes.NewReader(text), cost: int64(len(text))}
	k.retain()
	return k
}

// spooledShare is how many bytes in files count as one in memory: it bounds how much of
// the disk they take.
const spooledShare = 8

// spooledCost is what a body in a file is taken to cost in memory: at least so much that
// few enough files are open.
func (b *Inbox) spooledCost(size int64) int64 {
	return max(b.cfg.Memory/int64(b.cfg.MaxFiles), size/spooledShare)
}

// copied returns the body under another type. A tree copies such a body, where
// it would move a file of its own spool to the final key.
func copied(body layout.Body) layout.Body { return struct{ layout.Body }{body} }

// storage turns a full disk into the refusal that it is for the client.
func storage(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return refuse(NoSpace, "no space: the disk of this cache is full; its operator has to make room").because(err)
	}
	if errors.Is(err, layout.ErrClosed) {
		return refuse(ClosedTree, "closed: this cache is kept equal to another one; upload to that").because(err)
	}
	return err
}
