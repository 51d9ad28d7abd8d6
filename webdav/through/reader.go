package through

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/nixstatic/nixstatic/webdav"
)

// wake changes something, and wakes those who wait for it.
func (ft *fetch) wake(change func()) {
	ft.mu.Lock()
	defer ft.mu.Unlock()
	change()
	close(ft.more)
	ft.more = make(chan struct{})
}

// enter counts one more reader, unless the fetch is over or about to be.
func (ft *fetch) enter() bool {
	ft.mu.Lock()
	defer ft.mu.Unlock()
	if ft.over || ft.err != nil {
		return false
	}
	if ft.leave != nil {
		ft.leave.Stop()
		ft.leave = nil
	}
	ft.readers++
	ft.users++
	return true
}

// exit counts one reader less. Without readers a fetch ends after a while, unless most of
// it is done.
func (ft *fetch) exit() {
	ft.mu.Lock()
	defer ft.mu.Unlock()
	ft.unuse()
	if ft.readers--; ft.readers > 0 || ft.proven || ft.over || ft.err != nil {
		return
	}
	if rest := ft.size - ft.n; ft.size >= 0 && (rest <= ft.n || rest <= shortRest) {
		return
	}
	ft.leave = time.AfterFunc(abandonAfter, func() {
		ft.mu.Lock()
		abandoned := ft.readers == 0 && !ft.proven && ft.err == nil
		if abandoned {
			ft.err = errAbandoned // no reader comes in between
		}
		ft.mu.Unlock()
		if abandoned {
			ft.cancel(errAbandoned)
		}
	})
}

// end tells readers that no more will come.
func (ft *fetch) end(err error) {
	ft.wake(func() {
		ft.over = true
		if ft.err == nil {
			ft.err = err
		}
		if ft.err == nil && !ft.proven {
			ft.err = errors.New("the NAR was not looked at") // and no reader gets its end
		}
		if ft.leave != nil {
			ft.leave.Stop()
		}
		ft.unuse()
	})
}

// gone waits until a fetch that cannot be joined any more has made room for another.
func (ft *fetch) gone(ctx context.Context) error {
	select {
	case <-ft.left:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// unuse closes the file after its last use. The lock is held.
func (ft *fetch) unuse() {
	if ft.users--; ft.users == 0 && ft.file != nil {
		ft.file.Close()
	}
}

// open waits for the first bytes, so that a fetch that fails at once has an answer of
// its own.
func (ft *fetch) open(ctx context.Context) (webdav.Flow, error) {
	for {
		ft.mu.Lock()
		err, more := ft.err, ft.more
		if ft.proven || err == nil && ft.visible() > 0 {
			flow := webdav.Flow{Body: &reader{ft: ft, ctx: ctx}, Size: ft.size}
			ft.mu.Unlock()
			return flow, nil
		}
		ft.mu.Unlock()
		if err == nil {
			select {
			case <-more:
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		ft.exit()
		return webdav.Flow{}, err
	}
}

// visible is how many bytes readers may have: all but the last until all were checked, and
// none of a NAR whose size is not known, whose end a reader could not tell, or that does not
// begin like one. The lock is held.
func (ft *fetch) visible() int64 {
	switch {
	case ft.proven:
		return ft.n
	case ft.size < 0 || ft.file == nil || !ft.begun:
		return 0
	}
	return min(ft.n, ft.size-1)
}

// A reader reads a NAR at its own pace while it comes.
type reader struct {
	ft     *fetch
	ctx    context.Context
	off    int64
	closed bool
}

// Read waits for the next bytes.
func (r *reader) Read(p []byte) (int, error) {
	for {
		ft := r.ft
		ft.mu.Lock()
		visible, proven, err, more := ft.visible(), ft.proven, ft.err, ft.more
		ft.mu.Unlock()
		switch {
		case r.off < visible:
			n, err := ft.file.ReadAt(p[:min(int64(len(p)), visible-r.off)], r.off)
			r.off += int64(n)
			if err == io.EOF && n > 0 {
				err = nil
			}
			return n, err
		case proven:
			return 0, io.EOF
		case err != nil:
			return 0, err
		}
		select {
		case <-more:
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
	}
}

// Seek sets where the next Read is to begin.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		r.ft.mu.Lock()
		offset += r.ft.size
		r.ft.mu.Unlock()
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	r.off = offset
	return offset, nil
}

// Close ends the use of the fetch.
func (r *reader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	r.ft.exit()
	return nil
}
