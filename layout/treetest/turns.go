package treetest

import (
	"context"
	"errors"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// Turns is a tree in memory for several processes whose every operation waits for
// its turn. A scheduler waits until all processes wait, and says which of the
// operations happens next, see [Search].
type Turns struct {
	*Mem

	// Free says which keys take no turns.
	Free func(layout.Key) bool
	// Without takes a step out of what keeps writers and sweepers apart.
	Without struct {
		WriterLock bool // writers do not wait for sweepers, nor they for writers
		LookLock   bool // a look does not wait for a sweep to end
		Versions   bool // writers do not see that something was removed
		Until      bool // requests are sent however late they were signed
	}

	mu      sync.Mutex
	waiting []*Turn
	dead    map[int]bool
	readers map[int]int // of each process: how often it holds the gate
	sweeper int         // the process that holds the gate alone; -1 for none

	fenced bool // a process has no gate
	late   []*lateRequest
}

// A Turn is an operation that waits.
type Turn struct {
	Process int
	Op      string
	Key     layout.Key

	granted chan outcome
}

// An outcome is what becomes of an operation.
type outcome int

const (
	died    outcome = iota // its process did, before it
	happens                // it happens
	lost                   // it gets no answer, and may happen later: in a tree with a fence
)

// ErrDied is what operations return in a process that died.
var ErrDied = errors.New("the process has died")

// NewTurns returns a tree of turns over what is in mem.
func NewTurns(mem *Mem) *Turns {
	return &Turns{Mem: mem, dead: map[int]bool{}, readers: map[int]int{}, sweeper: -1}
}

// Process returns the tree as a process sees it, with a gate.
func (t *Turns) Process(number int) layout.Tree { return &gated{process{t, number}} }

// Waiting returns the operations that could happen now, always in the same order.
func (t *Turns) Waiting() []*Turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	var may []*Turn
	for _, turn := range t.waiting {
		switch turn.Op {
		case "enter":
			if t.sweeper >= 0 && !t.Without.WriterLock {
				continue
			}
		case "sweep":
			inside := 0
			for _, n := range t.readers {
				inside += n
			}
			if t.sweeper >= 0 || inside > 0 && !t.Without.WriterLock {
				continue
			}
		}
		may = append(may, turn)
	}
	slices.SortStableFunc(may, func(a, b *Turn) int {
		if a.Process != b.Process {
			return a.Process - b.Process
		}
		return strings.Compare(a.Op+string(a.Key), b.Op+string(b.Key))
	})
	return may
}

// Go lets an operation happen, or its process die before it.
func (t *Turns) Go(turn *Turn, what outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if what == died {
		t.dead[turn.Process] = true
		t.readers[turn.Process] = 0
		if t.sweeper == turn.Process {
			t.sweeper = -1
		}
		t.waiting = slices.DeleteFunc(t.waiting, func(w *Turn) bool {
			if w.Process == turn.Process {
				w.granted <- died
			}
			return w.Process == turn.Process
		})
		return
	}
	switch turn.Op {
	case "enter":
		t.readers[turn.Process]++
	case "sweep":
		t.sweeper = turn.Process
	}
	t.waiting = slices.DeleteFunc(t.waiting, func(w *Turn) bool { return w == turn })
	turn.granted <- what
}

// A process is a view of the tree by one process.
type process struct {
	t      *Turns
	number int
}

func (p *process) wait(ctx context.Context, op string, key layout.Key) error {
	_, err := p.turn(ctx, op, key)
	return err
}

func (p *process) turn(ctx context.Context, op string, key layout.Key) (outcome, error) {
	if p.t.Free != nil && p.t.Free(key) {
		return happens, nil
	}
	p.t.mu.Lock()
	if p.t.dead[p.number] {
		p.t.mu.Unlock()
		return died, ErrDied
	}
	turn := &Turn{p.number, op, key, make(chan outcome, 1)}
	p.t.waiting = append(p.t.waiting, turn)
	p.t.mu.Unlock()
	what := <-turn.granted
	if what == died {
		return died, ErrDied
	}
	return what, ctx.Err()
}

// A gated process has the gate of a directory.
type gated struct{ process }

// Gate is a turn as well.
func (p *gated) Gate(ctx context.Context, sweep bool) (leave func(), err error) {
	if !sweep && p.t.Without.LookLock && calledBy("layout.Look") {
		return func() {}, nil
	}
	op := "enter"
	if sweep {
		op = "sweep"
	}
	if err := p.wait(ctx, op, ""); err != nil {
		return nil, err
	}
	return func() {
		p.t.mu.Lock()
		defer p.t.mu.Unlock()
		if sweep && p.t.sweeper == p.number {
			p.t.sweeper = -1
		} else if !sweep && p.t.readers[p.number] > 0 {
			p.t.readers[p.number]--
		}
	}, nil
}

func calledBy(name string) bool {
	pc := make([]uintptr, 8)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, name) {
			return true
		}
		if !more {
			return false
		}
	}
}

func (p *process) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	if err := p.wait(ctx, "get", key); err != nil {
		return nil, layout.Info{}, err
	}
	return p.t.Mem.Get(ctx, key)
}

func (p *process) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	if err := p.wait(ctx, "stat", key); err != nil {
		return layout.Info{}, err
	}
	info, err := p.t.Mem.Stat(ctx, key)
	if key == layout.PlanKey && p.t.Without.Versions && err == nil {
		info.ETag = ""
	}
	return info, err
}

func (p *process) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	if err := p.wait(ctx, "put", key); err != nil {
		return err
	}
	return p.t.Mem.Put(ctx, key, body, opts)
}

func (p *process) Delete(ctx context.Context, key layout.Key) error {
	if err := p.wait(ctx, "delete", key); err != nil {
		return err
	}
	return p.t.Mem.Delete(ctx, key)
}

// List shows the first half of the tree as it is at one turn, and the second half
// as it is at another.
func (p *process) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		var last layout.Key
		for half := range 2 {
			if half > 0 && prefix != "" {
				return // what is small is listed at once
			}
			if err := p.wait(ctx, "list", layout.Key(prefix)); err != nil {
				yield(layout.Info{}, err)
				return
			}
			var found []layout.Info
			for info, err := range p.t.Mem.List(ctx, prefix) {
				if err != nil {
					yield(info, err)
					return
				}
				if info.Key > last {
					found = append(found, info)
				}
			}
			if half == 0 && prefix == "" {
				found = found[:len(found)/2]
			}
			for _, info := range found {
				last = info.Key
				if !yield(info, nil) {
					return
				}
			}
		}
	}
}

// A Search goes through the orders in which the operations of processes can
// happen: all of those in which a process that could go on is interrupted, or
// dies, at most Bound times. It is the same every time.
type Search struct {
	Bound  int
	Mortal []int // the processes that may die, one of them once
	// Sure says that every request gets its answer.
	Sure bool

	Schedules, Steps int // that were tried

	path    []int // what to choose, as far as it was chosen before
	options []int // how many options there were
	at      int
	last    int
	spent   int
	died    bool
	trace   []string
}

// Next begins the next schedule; it reports false if there is none.
func (s *Search) Next() bool {
	if s.Schedules > 0 {
		for len(s.path) > 0 && s.path[len(s.path)-1]+1 >= s.options[len(s.path)-1] {
			s.path = s.path[:len(s.path)-1]
		}
		if len(s.path) == 0 {
			return false
		}
		s.path[len(s.path)-1]++
	}
	s.options = s.options[:0]
	s.at, s.last, s.spent, s.died, s.trace = 0, -1, 0, false, nil
	s.Schedules++
	return true
}

// Trace tells the present schedule.
func (s *Search) Trace() string { return strings.Join(s.trace, "\n") }

// Step chooses the next operation of those that wait.
func (s *Search) Step(t *Turns) bool {
	waiting := t.Waiting()
	if len(waiting) == 0 && (len(t.late) == 0 || s.last == theClock) {
		return false
	}
	options := s.choices(t, waiting)
	if s.at == len(s.path) {
		s.path = append(s.path, 0)
	}
	s.options = append(s.options, len(options))
	chosen := options[min(s.path[s.at], len(options)-1)]
	s.at++
	s.Steps++
	s.spent += chosen.cost
	what := chosen.turn.Op + " " + string(chosen.turn.Key)
	switch chosen.what {
	case died:
		s.died = true
		what = "dies before " + what
	case lost:
		what = "gets no answer to " + what
	}
	switch chosen.turn.Process {
	case theClock:
		s.trace = append(s.trace, what)
		s.last = theClock
		if chosen.turn.Op == "nothing" {
			return false
		}
		time.Sleep(anHour)
	case theNetwork:
		s.trace = append(s.trace, what)
		t.arrive(chosen.turn)
	default:
		s.trace = append(s.trace, string(rune('A'+chosen.turn.Process))+": "+what)
		s.last = chosen.turn.Process
		t.Go(chosen.turn, chosen.what)
	}
	return true
}

// An option is what may happen next, and by how many interruptions.
type option struct {
	turn *Turn
	what outcome
	cost int
}

// choices returns what may happen next within the bound, while these operations wait.
func (s *Search) choices(t *Turns, waiting []*Turn) []option {
	goesOn := slices.ContainsFunc(waiting, func(w *Turn) bool { return w.Process == s.last })
	var options []option
	add := func(o option) {
		if s.spent+o.cost <= s.Bound {
			options = append(options, o)
		}
	}
	var tried []int
	for _, pass := range []bool{true, false} { // the same process first
		for _, w := range waiting {
			if (w.Process == s.last) != pass || slices.Contains(tried, w.Process) {
				continue
			}
			tried = append(tried, w.Process) // of one process, the order of its goroutines is fixed
			cost := 0
			if goesOn && !pass {
				cost = 1
			}
			add(option{w, happens, cost})
			if !s.Sure && t.canBeLost(w) {
				add(option{w, lost, cost + 1})
			}
		}
	}
	for _, w := range waiting {
		if !s.died && slices.Contains(s.Mortal, w.Process) && w.Process == s.last {
			add(option{w, died, 1})
			break
		}
	}
	if len(waiting) == 0 {
		add(option{&Turn{Process: theClock, Op: "nothing"}, happens, 0})
	}
	for _, l := range t.pending() {
		add(option{l, happens, 0})
	}
	if t.fenced && len(waiting) > 0 && s.last != theClock {
		add(option{&Turn{Process: theClock, Op: "an hour passes"}, happens, 1})
	}
	return options
}
