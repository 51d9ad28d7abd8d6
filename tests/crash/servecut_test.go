//go:build linux && real

package crash

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// A client sends the closure to a server, or what is left of it to send.
type client struct {
	name string
	send func(t testing.TB, url string) error
}

// clients returns the scripts, and the real Nix with the connections that it
// opens side by side.
func clients(t testing.TB) []client {
	var list []client
	for _, s := range scripts(t) {
		list = append(list, client{s.name + ", recorded", func(t testing.TB, url string) error { return s.send(t.Context(), url) }})
	}
	for _, nix := range []peers.Nix{peers.Newest(t), peers.Old(t)} {
		list = append(list, client{"Nix " + nix.Version, func(t testing.TB, url string) error {
			nix := nix
			nix.Home = t.TempDir() // it would believe what it remembers
			if out, err := nix.Command(t, "nix", pushArgs(uploaded(t), url)...).CombinedOutput(); err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			return nil
		}})
	}
	return list
}

// The power goes at each instant of an upload. The tree must be right with
// anything that the disk may have by then beyond what it owes us, and have what
// clients were told that it has; and with a server started on it, the client that
// tries again completes it.
func TestServePowerCut(t *testing.T) {
	for _, c := range clients(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			testServePowerCut(t, c)
		})
	}
}

func testServePowerCut(t *testing.T, c client) {
	p, dir := newRunner(t), scratch(t)
	run := watch{Dir: dir}.serve(t, p.Command(t, serveArgs(t, dir)...), func(url string) {
		if err := c.send(t, url); err != nil {
			t.Error(err)
		}
	})
	run.Want(t, 0)
	want := contents(t, filepath.Join(dir, "tree"))
	d := newDisk(t, withCache(t))
	d.run(t, run.Calls, dir)
	promises := promisesOf(run, 0, true)
	if len(promises) < len(want)-len(uploaded(t).Paths) { // links to debug files have two names
		t.Errorf("of %d files only %d were acknowledged", len(want), len(promises))
	}
	trees := map[string]bool{}
	for instant, o := range d.cuts(0) {
		checkKept(t, d, o, instant, promises)
		id := o.id()
		if trees[id] {
			continue
		}
		trees[id] = true
		t.Run(fmt.Sprint(len(trees)), func(t *testing.T) {
			t.Parallel()
			dir := scratch(t)
			o.write(t, dir)
			if err := soundness(t, dir); err != nil {
				t.Errorf("the power goes at instant %d of %d, and leaves\n%v%v", instant, d.end, o, err)
			}
			sameTree(t, want, p.resume(t, dir, func(url string) error { return c.send(t, url) }))
		})
	}
	t.Logf("%d calls, %d uploads acknowledged, %d different trees", len(run.Calls), len(promises), len(trees))
	nothingToLose(t, d, dir, "tree", nil)
}

func checkKept(t *testing.T, d *disk, o outcome, instant int, promises []promise) {
	t.Helper()
	for _, p := range promises {
		if p.at <= instant && !p.kept(o) {
			t.Fatalf("%s was acknowledged at instant %d, and the power that goes at %d of %d takes it along:\n%v",
				p.names[0], p.at, instant, d.end, o)
		}
	}
}

// A server rests on what one left that was killed. Names that the first had not
// brought to disk go with the power as well, unless the second flushed them
// before it said that they are there. The real Nix is let down where names are
// there already, and not yet for good.
func TestServePowerCutAfterKill(t *testing.T) {
	all := clients(t)
	for i, c := range all {
		real := i >= len(scripts(t))
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, plain := newRunner(t), scratch(t)
			run := watch{Dir: plain}.serve(t, p.Command(t, serveArgs(t, plain)...), func(url string) {
				if err := c.send(t, url); err != nil {
					t.Error(err)
				}
			})
			run.Want(t, 0)
			want := contents(t, filepath.Join(plain, "tree"))
			for i, call := range run.Calls {
				if call.staging() || real && call.naming() { // what is staged is all the same to the next one
					continue
				}
				t.Run(fmt.Sprint(i+1), func(t *testing.T) {
					t.Parallel()
					testServePowerCutAfterKill(t, p, c, i+1, want)
				})
			}
		})
	}
}

func testServePowerCutAfterKill(t *testing.T, p runner, c client, at int, want map[string]string) {
	killed, dir := scratch(t), scratch(t)
	first := watch{Dir: dir, Fault: fault{At: at, Kill: true}}.serve(t, p.Command(t, serveArgs(t, dir)...), func(url string) {
		c.send(t, url)
	})
	if err := soundness(t, dir); err != nil {
		t.Error(err)
	}
	copyTree(t, killed, dir)
	second := watch{Dir: dir}.serve(t, p.Command(t, serveArgs(t, dir)...), func(url string) {
		if err := c.send(t, url); err != nil {
			t.Error(err)
		}
	})
	second.Want(t, 0)
	defer func() {
		if t.Failed() {
			t.Logf("the first server was killed before %v", first.Hit)
		}
	}()
	sameTree(t, want, contents(t, filepath.Join(dir, "tree")))

	d := newDisk(t, withCache(t))
	d.run(t, settled(first.Calls, killed), killed)
	between := d.end
	d.run(t, second.Calls, dir)
	promises := append(promisesOf(first, 0, false), promisesOf(second, between, false)...)
	for instant, o := range d.cuts(between) {
		checkKept(t, d, o, instant, promises)
		if err := o.check(t, "tree", nil); err != nil {
			t.Fatalf("the power goes at instant %d of %d, and leaves\n%v%v", instant, d.end, o, err)
		}
	}
	nothingToLose(t, d, dir, "tree", nil)
}
