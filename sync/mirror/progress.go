package mirror

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/lock"
)

// Progress counts while a Mirror runs. Another goroutine may read it.
type Progress struct {
	Listed atomic.Int64 // keys compared in the present pass

	Objects, ObjectsDone atomic.Int64 // to copy; copied
	Bytes, BytesDone     atomic.Int64 // likewise
	Extra, Deleted       atomic.Int64 // objects too much; removed
	Withheld             atomic.Int64 // objects left out in the last pass

	Waiting atomic.Pointer[lock.Wait] // nil if it does not wait
}

// An Action is what an Event or a Change tells of, in the words of the program's
// output.
type Action string

// The actions.
const (
	ActionCopy     Action = "copy"     // the object was not there
	ActionReplace  Action = "replace"  // the object differed
	ActionDelete   Action = "delete"   // the source does not have the object
	ActionWithhold Action = "withhold" // the object was left out; Why says why
	ActionKeep     Action = "keep"     // the object was not deleted; Why says why
	ActionNote     Action = "note"     // Why says what
)

// An Event is something that a Mirror did, or left.
type Event struct {
	Action Action
	Key    layout.Key
	Size   int64
	Why    string
}

// A reporter passes events on, one at a time.
type reporter struct {
	mu sync.Mutex
	to func(Event)
}

func (r *reporter) event(e Event) {
	if r.to == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to(e)
}

func (r *reporter) note(why string) { r.event(Event{Action: ActionNote, Why: why}) }

// A Withheld is an object of the source that was left out.
type Withheld struct {
	Key layout.Key
	Err error
}

// An IncompleteError says what of the source was left out. All else was
// mirrored.
type IncompleteError struct {
	Count    int
	Withheld []Withheld // the first ones

	Moving bool // the source was changing
}

func (e *IncompleteError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of the source's objects could not be mirrored:", e.Count)
	for _, w := range e.Withheld {
		fmt.Fprintf(&b, "\n  %s: %v", w.Key, w.Err)
	}
	if more := e.Count - len(e.Withheld); more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}

// Unwrap returns the reasons.
func (e *IncompleteError) Unwrap() []error {
	errs := make([]error, len(e.Withheld))
	for i, w := range e.Withheld {
		errs[i] = w.Err
	}
	return errs
}

const (
	toldProblems = 20
	// maxReadErrors of a source are taken for single bad files; more, for a
	// source that is out of order.
	maxReadErrors = 10
)

// A notYet is a reason that may be gone when the source is looked at again.
type notYet struct{ err error }

func (e *notYet) Error() string { return e.err.Error() }
func (e *notYet) Unwrap() error { return e.err }

func notYetf(format string, args ...any) error { return &notYet{fmt.Errorf(format, args...)} }

// problems are what a pass left out.
type problems struct {
	mu       sync.Mutex
	list     []Withheld
	count    int
	unstable int
	unread   int
}

func (p *problems) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list, p.count, p.unstable, p.unread = nil, 0, 0, 0
}

// add notes that key was left out.
func (p *problems) add(key layout.Key, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.As(err, new(*notYet)) || errors.Is(err, fs.ErrNotExist) {
		p.unstable++
	}
	if p.count++; len(p.list) < toldProblems {
		p.list = append(p.list, Withheld{key, err})
	}
}

// tooMany reports whether the source's read errors are more than a few.
func (p *problems) tooMany() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unread++
	return p.unread > maxReadErrors
}

// moving reports whether another look may help.
func (p *problems) moving() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unstable > 0
}

func (p *problems) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count == 0 {
		return nil
	}
	return &IncompleteError{p.count, p.list, p.unstable > 0}
}
