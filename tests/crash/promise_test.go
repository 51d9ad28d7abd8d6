//go:build linux && real

package crash

import (
	"strings"
	"testing"
)

// A promise is an upload of which the server has told a client that it is there:
// from that instant on it is on disk, whatever happens.
type promise struct {
	at    int      // the instant at which the answer began
	names []string // one of these files has to be there
	held  string   // or one whose name begins so; "" for none
}

// promisesOf returns what the server promised in a run that began at an instant.
//
// Listings and links to debug files come before there is anything that they
// belong to, and are kept in memory. They are promised by the answer to the last
// request of a client that was told of no failure.
func promisesOf(run trace, start int, complete bool) []promise {
	var list, early []promise
	last := 0
	for _, a := range answers(run.Talk) {
		name, upload := strings.CutPrefix(a.path, "/upload/")
		if !upload || a.method != "PUT" || a.status/100 != 2 {
			continue
		}
		p := promise{at: a.at + start, names: []string{"tree/" + name}}
		last = max(last, p.at)
		switch hash, record := strings.CutSuffix(name, ".narinfo"); {
		case record:
			p.held = "tree/.nixstatic/held/" + hash + "." // the client follows
			list = append(list, p)
		case strings.HasSuffix(name, ".ls"), strings.HasPrefix(name, "debuginfo/"):
			early = append(early, p)
		default:
			list = append(list, p)
		}
	}
	for _, p := range early {
		if p.at = last; complete {
			list = append(list, p)
		}
	}
	return list
}

// kept reports whether what is on disk keeps the promise.
func (p promise) kept(o outcome) bool {
	for _, name := range p.names {
		if bytes, ok := o[name]; ok && bytes != lost {
			return true
		}
	}
	for name, bytes := range o {
		if p.held != "" && strings.HasPrefix(name, p.held) && bytes != lost {
			return true
		}
	}
	return false
}

// checkPromises checks that each promise was kept when it was given, by what was
// on disk for sure, and in the end; and that this was right, each time.
func checkPromises(t testing.TB, d *disk, promises []promise) {
	t.Helper()
	for _, p := range promises {
		for _, instant := range []int{p.at, d.end} {
			o := d.outcome(instant, nil)
			if !p.kept(o) {
				t.Errorf("%s was acknowledged at instant %d, and can be lost at %d of %d", p.names[0], p.at, instant, d.end)
			}
			if err := o.check(t, "tree", nil); err != nil {
				t.Fatalf("the power goes at instant %d of %d, and leaves\n%v%v", instant, d.end, o, err)
			}
		}
	}
}
