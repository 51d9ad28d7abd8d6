package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// A meter tells how far a long command is: on a terminal by one line that
// changes, elsewhere by a line now and then. Nothing is said of what takes less
// than the first interval.
type meter struct {
	w    io.Writer
	line func(elapsed time.Duration) string
	tty  bool
	stop chan struct{}
	done chan struct{}

	once sync.Once

	mu    sync.Mutex // held while something is written
	width int        // of the line that stands on the terminal
}

const (
	ttyInterval = 200 * time.Millisecond
	logInterval = 10 * time.Second
)

// startMeter shows line from time to time until end is called. A nil meter is
// returned, and is fine to end, where nothing is to be shown.
func startMeter(w io.Writer, quiet bool, line func(elapsed time.Duration) string) *meter {
	if quiet {
		return nil
	}
	m := &meter{w: w, line: line, tty: isTerminal(w), stop: make(chan struct{}), done: make(chan struct{})}
	go m.run()
	return m
}

func (m *meter) run() {
	defer close(m.done)
	interval := logInterval
	if m.tty {
		interval = ttyInterval
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	start := time.Now()
	for {
		select {
		case <-tick.C:
			m.show(m.line(time.Since(start)))
		case <-m.stop:
			m.above(func() {})
			return
		}
	}
}

func (m *meter) show(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.tty {
		fmt.Fprintf(m.w, "nixstatic: %s\n", text)
		return
	}
	text = cut(text, m.w)
	fmt.Fprintf(m.w, "\r%s%s", text, strings.Repeat(" ", max(0, m.width-len(text))))
	m.width = len(text)
}

// above takes the line away while write prints what is to stay.
func (m *meter) above(write func()) {
	if m == nil {
		write()
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.width > 0 {
		fmt.Fprintf(m.w, "\r%s\r", strings.Repeat(" ", m.width))
		m.width = 0
	}
	write()
}

// end removes the line and waits until nothing is written any more. To end a
// meter twice is fine.
func (m *meter) end() {
	if m == nil {
		return
	}
	m.once.Do(func() { close(m.stop) })
	<-m.done
}

// cut keeps the line within the terminal: one that wraps cannot be replaced.
func cut(text string, w io.Writer) string {
	f, ok := w.(interface{ Fd() uintptr })
	if !ok {
		return text
	}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 1 && len(text) >= width {
		return text[:width-1]
	}
	return text
}

func termIsTerminal(fd int) bool { return term.IsTerminal(fd) }

// amount words how much of a total is done, at what speed, and what time that
// leaves.
func amount(done, total int64, elapsed time.Duration) string {
	rate := float64(done) / max(elapsed.Seconds(), 0.001)
	text := fmt.Sprintf("%s of %s, %s/s", bytesize(done), bytesize(total), bytesize(int64(rate)))
	if left := total - done; left > 0 && rate > 0 && elapsed > time.Second {
		text += fmt.Sprintf(", %s left", time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second))
	}
	return text
}
