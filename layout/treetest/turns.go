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
	}

	mu      sync.Mutex
	waiting []*Turn
	dead    map[int]bool
	readers map[int]int // of each process: how often it holds the gate
	sweeper int         // the process that holds the gate alone; -1 for none
}

// A Turn is an operation that waits.
type Turn struct {
	Process int
	Op      string
	Key     layout.Key

	granted chan bool // false: the process died
}

// ErrDied is what operations return in a process that died.
var ErrDied = errors.New("the process has died")

// NewTurns returns a tree of turns over what is in mem.
func NewTurns(mem *Mem) *Turns {
	return &Turns{Mem: mem, dead: map[int]bool{}, readers: map[int]int{}, sweeper: -1}
}

// Process returns the tree as a process sees it.
func (t *Turns) Process(number int) layout.Tree { return &process{t, number} }

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
func (t *Turns) Go(turn *Turn, die bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if die {
		t.dead[turn.Process] = true
		t.readers[turn.Process] = 0
		if t.sweeper == turn.Process {
			t.sweeper = -1
		}
		t.waiting = slices.DeleteFunc(t.waiting, func(w *Turn) bool {
			if w.Process == turn.Process {
				w.granted <- false
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
	turn.granted <- true
}

// A process is a view of the tree by one process.
type process struct {
	t      *Turns
	number int
}

func (p *process) wait(ctx context.Context, op string, key layout.Key) error {
	if p.t.Free != nil && p.t.Free(key) {
		return nil
	}
	p.t.mu.Lock()
	if p.t.dead[p.number] {
		p.t.mu.Unlock()
		return ErrDied
	}
	turn := &Turn{p.number, op, key, make(chan bool, 1)}
	p.t.waiting = append(p.t.waiting, turn)
	p.t.mu.Unlock()
	if !<-turn.granted {
		return ErrDied
	}
	return ctx.Err()
}

// Gate is a turn as well.
func (p *process) Gate(ctx context.Context, sweep bool) (leave func(), err error) {
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
			if err := p.wait(ctx, "list", ""); err != nil {
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
	if len(waiting) == 0 {
		return false
	}
	type option struct {
		turn *Turn
		die  bool
		cost int
	}
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
			add(option{w, false, cost})
		}
	}
	for _, w := range waiting {
		if !s.died && slices.Contains(s.Mortal, w.Process) && w.Process == s.last {
			add(option{w, true, 1})
			break
		}
	}
	if s.at == len(s.path) {
		s.path = append(s.path, 0)
	}
	s.options = append(s.options, len(options))
	chosen := options[min(s.path[s.at], len(options)-1)]
	s.at++
	s.Steps++
	s.spent += chosen.cost
	s.last = chosen.turn.Process
	what := chosen.turn.Op + " " + string(chosen.turn.Key)
	if chosen.die {
		s.died = true
		what = "dies before " + what
	}
	s.trace = append(s.trace, string(rune('A'+chosen.turn.Process))+": "+what)
	t.Go(chosen.turn, chosen.die)
	return true
}
