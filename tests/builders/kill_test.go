//go:build real

package builders_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// builds is how many small builds a test of dying processes does: some of them, or as many
// as NIXSTATIC_BUILDS says.
func builds(t testing.TB) int {
	t.Helper()
	text := os.Getenv("NIXSTATIC_BUILDS")
	if text == "" {
		return 24
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// All that is built gets into the cache, whatever is killed meanwhile: the server, the process
// that sends, and the builds. Nothing is published twice.
func TestKilled(t *testing.T) {
	for _, feeder := range []string{"hook", "store"} {
		t.Run(feeder, func(t *testing.T) {
			eachNix(t, func(t *testing.T, nix peers.Nix) { killed(t, nix, feeder) })
		})
	}
}

func killed(t *testing.T, nix peers.Nix, feeder string) {
	b := newBuilder(t, nix)
	b.makeStore(t)
	s := newServer(t, nix, "--store-dir", b.storeDir, "--log-level", "debug")
	args := []string{"watch", s.upload(), "--queue", b.queue, "--nix-store", b.store, "--netrc-file", s.Netrc}
	var options []string
	if feeder == "hook" {
		options = []string{"--option", "post-build-hook", b.hook(t, s)}
	} else {
		args = append(args, "--store")
	}
	watch := nixtest.Start(t, b.program().Command(t, args...))
	until(t, "the watch looks", func() bool { _, err := os.Stat(b.queue + "/status"); return err == nil })
	const step = 6
	count := builds(t)
	for from := 0; from < count; from += step {
		cmd := b.Command(t, "nix-build", b.buildArgs(from, step, options...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(400 * time.Millisecond))
		switch rand.IntN(3) {
		case 0:
			s.kill(t)
			s.start(t)
		case 1:
			watch.Signal(t, syscall.SIGKILL)
			watch.Wait(t)
			watch = nixtest.Start(t, b.program().Command(t, args...))
		case 2:
			cmd.Process.Kill()
		}
		cmd.Wait()
	}
	// Builds that were killed are done again; the hook is not asked about others.
	built := b.build(t, 0, count, options...)
	// A Nix that was killed after a build did not tell its hook.
	watch.Signal(t, syscall.SIGTERM)
	watch.Wait(t).Want(t, 0)
	b.program().Run(t, "watch", "drain", "--strict", "--queue", b.queue).Want(t, 0)
	checkSent(t, s, b.closure(t, built))
	checkOnce(t, s)
}

// checkOnce looks that the server published something, and nothing twice.
func checkOnce(t *testing.T, s *server) {
	t.Helper()
	published := map[string]int{}
	for _, m := range regexp.MustCompile(`msg=upload key=([0-9a-z]{32})\.narinfo .* outcome=created`).FindAllStringSubmatch(s.log.String(), -1) {
		if published[m[1]]++; published[m[1]] > 1 {
			t.Errorf("%s was published twice", m[1])
		}
	}
	if len(published) == 0 {
		t.Errorf("no publication is in the log:\n%s", s.log)
	}
}

// A command that builds is killed with the process that sends what it builds, alone or after
// it, or the server is: the next one sends what the last one did not.
func TestExecKilled(t *testing.T) {
	eachNix(t, func(t *testing.T, nix peers.Nix) {
		b := newBuilder(t, nix)
		b.makeStore(t)
		s := newServer(t, nix, "--store-dir", b.storeDir, "--log-level", "debug")
		run := func(from, count int, flags ...string) *exec.Cmd {
			args := append([]string{"watch", s.upload(), "--exec", "--queue", b.queue, "--nix-store", b.store, "--netrc-file", s.Netrc}, flags...)
			return b.program().Command(t, append(append(args, "--", b.Bin("nix-build")), b.buildArgs(from, count)...)...)
		}
		const step = 6
		count := builds(t)
		for from := 0; from < count; from += step {
			cmd := run(from, step)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			running := nixtest.Start(t, cmd)
			time.Sleep(rand.N(600 * time.Millisecond))
			switch rand.IntN(3) {
			case 0:
				s.kill(t)
				s.start(t)
			case 1:
				cmd.Process.Kill() // the command goes on
			case 2:
				syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			}
			running.Wait(t)
		}
		last := nixtest.Wait(t, run(0, count, "--strict")).Want(t, 0)
		checkSent(t, s, b.closure(t, strings.Fields(last.Stdout)))
		checkOnce(t, s)
	})
}
