package nixstore

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

var onePath = []layout.StorePath{fakePath}

func TestHostileDaemon(t *testing.T) {
	change := func(f func(*fakeInfo)) func(*fakeDaemon) {
		i := goodInfo
		f(&i)
		return func(d *fakeDaemon) { d.info(i) }
	}
	const huge = 1 << 60
	tests := []struct {
		name   string
		answer func(*fakeDaemon)
		want   string
	}{
		{"nothing", func(d *fakeDaemon) { d.Close() }, "hung up"},
		{"half a number", func(d *fakeDaemon) { d.Write([]byte("abc")); d.Close() }, "hung up"},
		{"unknown message", func(d *fakeDaemon) { d.out.num(7) }, "not of the worker protocol"},
		{"asks for data", func(d *fakeDaemon) { d.out.num(0x64617461); d.out.num(huge) }, "not of the worker protocol"},
		{"huge log message", func(d *fakeDaemon) { d.out.num(stderrNext); d.out.num(huge) }, "announces 1152921504606846976 bytes"},
		{"huge error", func(d *fakeDaemon) { d.out.num(stderrError); d.out.num(huge) }, "announces"},
		{"huge trace", func(d *fakeDaemon) {
			d.refuse("x")
			d.out.to.Flush()
		}, "x"},
		{"many fields", func(d *fakeDaemon) { d.out.num(stderrResult); d.out.num(0); d.out.num(0); d.out.num(huge) }, "announces"},
		{"odd field", func(d *fakeDaemon) {
			for _, n := range []uint64{stderrResult, 0, 0, 1, 9} {
				d.out.num(n)
			}
		}, "field of type 9"},
		{"error with a position", func(d *fakeDaemon) {
			d.out.num(stderrError)
			d.out.text("Error")
			d.out.num(0)
			d.out.text("")
			d.out.text("x")
			d.out.num(1)
		}, "position"},
		{"huge deriver", func(d *fakeDaemon) { d.out.num(stderrLast); d.out.num(1); d.out.num(huge) }, "announces"},
		{"all bits deriver", func(d *fakeDaemon) { d.out.num(stderrLast); d.out.num(1); d.out.num(1<<64 - 1) }, "announces"},
		{"dirty padding", func(d *fakeDaemon) {
			d.out.num(stderrLast)
			d.out.num(1)
			d.out.num(1)
			d.out.num(1<<64 - 1)
		}, "padding"},
		{"many references", func(d *fakeDaemon) {
			d.out.num(stderrLast)
			d.out.num(1)
			d.out.text("")
			d.out.text(goodInfo.hash)
			d.out.num(huge)
		}, "references"},
		{"deriver elsewhere", change(func(i *fakeInfo) { i.deriver = "/gnu/store/" + string(fakePath) }), "deriver"},
		{"short hash", change(func(i *fakeInfo) { i.hash = i.hash[2:] }), "NAR hash"},
		{"long hash", change(func(i *fakeInfo) { i.hash += "00" }), "NAR hash"},
		{"no hash", change(func(i *fakeInfo) { i.hash = "" }), "NAR hash"},
		{"reference out of the store", change(func(i *fakeInfo) { i.refs = []string{"/nix/store/../../etc/passwd"} }), "reference"},
		{"relative reference", change(func(i *fakeInfo) { i.refs = []string{string(fakePath)} }), "reference"},
		{"no size", change(func(i *fakeInfo) { i.size = 0 }), "NAR size"},
		{"negative size", change(func(i *fakeInfo) { i.size = 1 << 63 }), "NAR size"},
		{"signature with a line", change(func(i *fakeInfo) { i.sigs = []string{"k:x\nCA: y"} }), "control character"},
		{"address with a line", change(func(i *fakeInfo) { i.ca = "x\nSig: y" }), "control character"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store := listen(t, func(d *fakeDaemon) {
				d.greet(35)
				d.serve(func(uint64, string) { test.answer(d); d.out.to.Flush(); d.Close() })
			})
			s, err := Open(t.Context(), Options{Store: store})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			_, err = s.Infos(t.Context(), onePath)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want an error with %q", err, test.want)
			}
			if errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v: taken for absence", err)
			}
		})
	}
}

func TestHostileHandshake(t *testing.T) {
	tests := []struct {
		name  string
		serve func(*fakeDaemon)
		want  string
	}{
		{"gone at once", func(d *fakeDaemon) {}, ""},
		{"web server", func(d *fakeDaemon) { d.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, "does not speak the worker protocol"},
		{"other major version", func(d *fakeDaemon) { d.out.num(daemonMagic); d.out.num(2 << 8); d.out.to.Flush() }, "protocol 2.0"},
		{"too old", func(d *fakeDaemon) { d.out.num(daemonMagic); d.out.num(1<<8 | 20); d.out.to.Flush() }, "protocol 1.20"},
		{"refuses", func(d *fakeDaemon) {
			d.out.num(daemonMagic)
			d.out.num(1<<8 | 32)
			d.refuse("you are \x1b[31mnot allowed\x1b[0m here")
			d.out.to.Flush()
		}, "you are not allowed here"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store := listen(t, func(d *fakeDaemon) {
				test.serve(d)
				if test.name != "gone at once" {
					io.Copy(io.Discard, d) // until the client has enough
				}
			})
			_, err := Open(t.Context(), Options{Store: store})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want an error with %q", err, test.want)
			}
		})
	}
}

// Each generation of the protocol with what it brought, and log messages and
// refusals in between that leave the connection as it was.
func TestProtocolVersions(t *testing.T) {
	for _, minor := range []uint64{21, 26, 32, 33, 34, 35, 37, 38, 39, 200} {
		var connections atomic.Int32
		store := listen(t, func(d *fakeDaemon) {
			connections.Add(1)
			d.greet(minor, "some-feature")
			n := 0
			d.serve(func(op uint64, path string) {
				n++
				if n == 2 && minor < 26 {
					d.out.num(stderrError)
					d.out.text("no luck")
					d.out.num(1)
					return
				} else if n == 2 {
					d.refuse("error: no luck", "while trying")
					return
				}
				d.out.num(stderrNext)
				d.out.text("a message\n")
				for _, id := range []uint64{1, 1 << 60} {
					d.out.num(stderrStartActivity)
					d.out.num(id)
					d.out.num(3)
					d.out.num(105)
					d.out.text("doing")
					d.out.num(2)
					d.out.num(0)
					d.out.num(42)
					d.out.num(1)
					d.out.text("field")
					d.out.num(0)
				}
				d.out.num(stderrResult)
				d.out.num(1)
				d.out.num(101)
				d.out.num(0)
				d.out.num(stderrStopActivity)
				d.out.num(1)
				d.info(goodInfo)
			})
		})
		s, err := Open(t.Context(), Options{Store: store})
		if err != nil {
			t.Errorf("protocol 1.%d: %v", minor, err)
			continue
		}
		want := layout.PathInfo{Path: fakePath, NarSize: 120, References: onePath}
		for i := range want.NarHash {
			want.NarHash[i] = 0xab
		}
		for n := range 3 {
			infos, err := s.Infos(t.Context(), onePath)
			if n == 1 {
				if err == nil || !strings.Contains(err.Error(), "fake: no luck") {
					t.Errorf("protocol 1.%d: %v, want the daemon's own words", minor, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("protocol 1.%d: %v", minor, err)
			} else if diff := cmp.Diff(want, infos[0]); diff != "" {
				t.Errorf("protocol 1.%d (-want +got):\n%s", minor, diff)
			}
		}
		s.Close()
		if n := connections.Load(); n != 1 {
			t.Errorf("protocol 1.%d: %d connections, want 1", minor, n)
		}
	}
}

// A call that is abandoned returns while the daemon still ponders, and the late
// reply does no harm.
func TestCancel(t *testing.T) {
	ponder, begun := make(chan struct{}), make(chan struct{})
	var connections, asked atomic.Int32
	store := listen(t, func(d *fakeDaemon) {
		connections.Add(1)
		d.greet(35)
		d.serve(func(op uint64, path string) {
			if asked.Add(1) == 1 {
				close(begun)
			}
			<-ponder
			d.info(goodInfo)
		})
	})
	s, err := Open(t.Context(), Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	many := slices.Repeat(onePath, 100_000)
	go func() { <-begun; cancel() }()
	if _, err := s.Infos(ctx, many); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want context.Canceled", err)
	}
	if _, err := s.Infos(ctx, onePath); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for the connection: %v, want context.Canceled", err)
	}
	close(ponder)
	infos, err := s.Infos(t.Context(), onePath)
	if err != nil || infos[0].Path != fakePath {
		t.Errorf("after a cancelled call: %v, %v", infos, err)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if n := asked.Load(); n > 2*ahead+3 {
		t.Errorf("%d paths were asked for, most of them for nobody", n)
	}
}

func TestCancelledOpen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	store := listen(t, func(d *fakeDaemon) {
		cancel()
		d.in.text(1 << 62) // says nothing, ever
		select {}
	})
	if _, err := Open(ctx, Options{Store: store}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

func TestCloseWakesUp(t *testing.T) {
	asked := make(chan struct{})
	store := listen(t, func(d *fakeDaemon) {
		d.greet(35)
		d.serve(func(uint64, string) { close(asked); select {} })
	})
	s, err := Open(t.Context(), Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-asked; s.Close() }()
	if _, err := s.Infos(t.Context(), onePath); err == nil {
		t.Error("an answer from a closed store")
	}
}

// A connection that breaks in the middle of a call is replaced, the roots are
// taken again, and the call succeeds. A second break is an error.
func TestReconnect(t *testing.T) {
	lives := []int{150, 250, 0, 1000} // of each connection, in answers
	var connections, rootsOfSecond atomic.Int32
	store := listen(t, func(d *fakeDaemon) {
		n := int(connections.Add(1)) - 1
		d.greet(35)
		for answers := 0; ; {
			op := d.in.num()
			d.in.text(maxText)
			switch {
			case d.in.err != nil || op == opQueryPathInfo && answers == lives[n]:
				return
			case op == opAddTempRoot:
				if answers == 0 && n == 1 {
					rootsOfSecond.Add(1)
				}
				d.out.num(stderrLast)
				d.out.num(1)
			default:
				answers++
				d.info(goodInfo)
			}
			d.out.to.Flush()
		}
	})
	s, err := Open(t.Context(), Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	paths := slices.Repeat(onePath, 100)
	for i := range 3 { // the second call breaks, half way through
		if _, err := s.Infos(t.Context(), paths); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	// The first is for what was held, the second that of the first path, asked
	// for again.
	if n := rootsOfSecond.Load(); n != 2 {
		t.Errorf("%d roots before the second connection's first answer, want 2", n)
	}
	// The second connection breaks in the next call, and the third at once.
	if _, err := s.Infos(t.Context(), paths); !errors.Is(err, errLost) {
		t.Errorf("twice broken: %v, want errLost", err)
	}
	if _, err := s.Infos(t.Context(), paths); err != nil {
		t.Errorf("after that: %v", err)
	}
}

func TestNoDaemon(t *testing.T) {
	withoutNixEnv(t)
	dir := t.TempDir()
	root := newRootDir(t)
	t.Setenv("NIX_DAEMON_SOCKET_PATH", filepath.Join(dir, "none"))
	tests := []struct {
		name   string
		o      Options
		is     error
		advice string
	}{
		{"no socket", Options{Store: "daemon"}, fs.ErrNotExist, "is it running?"},
		{"no such socket", Options{Store: "unix://" + dir + "/nowhere"}, fs.ErrNotExist, "is it running?"},
		{"no program", Options{Store: root, Daemon: "no-such-daemon"}, exec.ErrNotFound, "where nix-daemon is"},
		{"neither", Options{Daemon: "no-such-daemon"}, exec.ErrNotFound, "start nix-daemon"},
		{"another program", Options{Store: root, Daemon: "/bin/false"}, nil, "greet the Nix daemon"},
		{"a program with words", Options{Store: root, Daemon: "/bin/ls"}, nil, "stdio"},
	}
	for _, test := range tests {
		_, err := Open(t.Context(), test.o)
		if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.advice) {
			t.Errorf("%s: %v, want %v with %q", test.name, err, test.is, test.advice)
		}
	}
}
