package nixstore

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long a daemon that was told to end may take.
const patience = 2 * time.Second

// dial connects to the daemon that keeps the store: through the socket, or by
// spawning one.
func (l *location) dial(ctx context.Context, program string) (transport, error) {
	var refused error
	if l.socket != "" {
		c, err := new(net.Dialer).DialContext(ctx, "unix", l.socket)
		if err == nil {
			return socketTransport{c}, nil
		}
		if !l.spawn || ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w; is it running?", ErrNoDaemon, err)
		}
		refused = err
	}
	t, err := spawn(program, l.uri)
	if err != nil && refused != nil {
		return nil, fmt.Errorf("%w: %w; %w; start nix-daemon, or put it on PATH", ErrNoDaemon, refused, err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w; install Nix, or say where nix-daemon is", ErrNoDaemon, err)
	}
	return t, nil
}

type socketTransport struct{ net.Conn }

func (socketTransport) lastWords() string { return "" }
func (socketTransport) wait()             {}

// A process is a daemon of our own, spoken to through its standard input and
// output. It ends when its input does, so that it does not outlive us whatever
// happens to us.
type process struct {
	in     *os.File // what it reads
	out    *os.File // what it writes
	words  tail
	exited chan struct{} // closed when it is gone
	close  func()
}

func spawn(program, uri string) (*process, error) {
	if program == "" {
		program = "nix-daemon"
	}
	itsIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer itsIn.Close()
	out, itsOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer itsOut.Close()

	p := &process{in: in, out: out, exited: make(chan struct{})}
	cmd := exec.Command(program, "--stdio", "--store", uri)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = itsIn, itsOut, &p.words
	cmd.WaitDelay = patience // for what it may have started, with its standard error
	// In a process group of its own, so that an interrupt typed at the terminal does
	// not reach it: we decide when we no longer need the roots that it holds.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	p.close = sync.OnceFunc(func() {
		in.Close()
		out.Close()
		time.AfterFunc(patience, func() { cmd.Process.Kill() })
	})
	go func() { // ends with the process, and that with close
		cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *process) Read(b []byte) (int, error)  { return p.out.Read(b) }
func (p *process) Write(b []byte) (int, error) { return p.in.Write(b) }

// Close asks the process to end and returns at once.
func (p *process) Close() error {
	p.close()
	return nil
}

func (p *process) wait() { <-p.exited }

// lastWords returns what the daemon wrote to its standard error.
func (p *process) lastWords() string {
	select {
	case <-p.exited: // all is written
	case <-time.After(patience):
	}
	return plain(p.words.String())
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if len(t.text) > 2*tailSize {
		t.text = append(t.text[:0], t.text[len(t.text)-tailSize:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := t.text[max(0, len(t.text)-tailSize):]
	return strings.ToValidUTF8(string(bytes.TrimSpace(text)), "?")
}
