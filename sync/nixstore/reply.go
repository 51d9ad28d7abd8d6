package nixstore

import (
	"fmt"
	"strings"
)

// The messages that a daemon may send before the answer to a request.
const (
	stderrNext          = 0x6f6c6d67 // a log message
	stderrLast          = 0x616c7473 // no more of these; the answer follows
	stderrError         = 0x63787470 // the request failed; no answer follows
	stderrStartActivity = 0x53545254
	stderrStopActivity  = 0x53544f50
	stderrResult        = 0x52534c54
)

// A daemonError is the daemon's refusal of one request. The connection is still
// good afterwards.
type daemonError struct{ msg string }

func (e *daemonError) Error() string { return e.msg }

// settle reads log messages up to the answer of a request, or to its refusal,
// which it returns. Any other error is in r.err. Log messages are dropped: a query
// causes none that its error does not repeat.
func (r *reader) settle(minor uint64) *daemonError {
	for r.err == nil {
		switch msg := r.num(); msg {
		case stderrLast:
			return nil
		case stderrError:
			return r.refusal(minor)
		case stderrNext:
			r.text(maxLog)
		case stderrStartActivity:
			r.num() // activity
			r.num() // level
			r.num() // type
			r.text(maxLog)
			r.fields()
			r.num() // parent activity
		case stderrStopActivity:
			r.num()
		case stderrResult:
			r.num() // activity
			r.num() // type
			r.fields()
		default:
			r.fail(fmt.Errorf("the daemon sent message %#x, which is not of the worker protocol", msg))
		}
	}
	return nil
}

// fields reads the fields of an activity or a result.
func (r *reader) fields() {
	for range r.count(maxTrace, "fields") {
		switch kind := r.num(); kind {
		case 0:
			r.num()
		case 1:
			r.text(maxLog)
		default:
			r.fail(fmt.Errorf("the daemon sent a field of type %d", kind))
		}
		if r.err != nil {
			return
		}
	}
}

// refusal reads an error: a text and an exit status before protocol 1.26, a
// structure since.
func (r *reader) refusal(minor uint64) *daemonError {
	var msg string
	if minor < 26 {
		msg = r.text(maxLog)
		r.num()
	} else {
		r.text(maxText) // "Error"
		r.num()         // level
		r.text(maxText) // name, no longer used
		msg = r.text(maxLog)
		r.position()
		for range r.count(maxTrace, "lines of a trace") {
			r.position()
			r.text(maxLog)
			if r.err != nil {
				break
			}
		}
	}
	if r.err != nil {
		return nil
	}
	return &daemonError{plain(msg)}
}

// position reads where an error happened in an expression, which no daemon sends.
func (r *reader) position() {
	if r.num() != 0 {
		r.fail(fmt.Errorf("the daemon sent an error with a position"))
	}
}

// plain takes the colours and control characters out of a message, and the
// "error:" in front of it.
func plain(msg string) string {
	var b strings.Builder
	for i := 0; i < len(msg); i++ {
		switch c := msg[i]; {
		case c == 0x1b && i+1 < len(msg) && msg[i+1] == '[':
			for i += 2; i < len(msg) && (msg[i] < '@' || msg[i] > '~'); i++ {
			}
		case c == '\n' || c == '\t':
			b.WriteByte(' ')
		case c < ' ' || c == 0x7f:
		default:
			b.WriteByte(c)
		}
	}
	return strings.TrimPrefix(strings.TrimSpace(b.String()), "error: ")
}
