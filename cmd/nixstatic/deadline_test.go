package main

import (
	"errors"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A socket is told of a deadline when it passes, and not when it moves.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []time.Time
		began := time.Now()
		d := deadline{set: func(t time.Time) error {
			told = append(told, t)
			return nil
		}}
		passed := func() bool { return len(told) > 0 && !told[len(told)-1].IsZero() }
		at := func(when time.Duration, move func(now time.Time) time.Time, want bool) {
			t.Helper()
			time.Sleep(when - time.Since(began))
			synctest.Wait()
			if move != nil {
				d.move(move(time.Now()))
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if passed() != want {
				t.Errorf("after %s it has passed: %v", when, !want)
			}
		}
		in := func(wait time.Duration) func(time.Time) time.Time {
			return func(now time.Time) time.Time { return now.Add(wait) }
		}
		never := func(time.Time) time.Time { return time.Time{} }
		at(0, in(10*time.Second), false)
		at(9*time.Second, in(10*time.Second), false) // later
		at(18*time.Second, nil, false)
		at(19*time.Second, nil, true)
		at(20*time.Second, in(time.Minute), false)
		at(21*time.Second, in(time.Second), false) // earlier
		at(22*time.Second, nil, true)
		at(30*time.Second, never, false)
		at(31*time.Second, in(time.Second), false)
		at(31*time.Second, never, false)
		at(10*time.Minute, in(0), true)
		at(11*time.Minute, in(time.Second), false)
		at(11*time.Minute, func(time.Time) time.Time { return time.Unix(1, 0) }, true)
		at(12*time.Minute, nil, true)
		at(12*time.Minute, never, false)
		at(13*time.Minute, in(time.Second), false)
		d.end()
		at(14*time.Minute, nil, false)

		told = nil
		busy := deadline{set: d.set}
		for range 1000 { // as a server that answers requests
			busy.move(time.Now().Add(2 * time.Minute))
			busy.move(time.Now().Add(10 * time.Second))
			busy.move(time.Time{})
			time.Sleep(time.Second)
		}
		synctest.Wait()
		busy.end()
		if len(told) > 0 {
			t.Errorf("the socket was told of %v", told)
		}
	})
}

// A socket whose calls are counted is told of a deadline only while one of them is under way.
func TestDeadlineOfCalls(t *testing.T) {
	var told []bool // whether it passed
	d := deadline{counted: true, set: func(t time.Time) error {
		told = append(told, !t.IsZero())
		return nil
	}}
	check := func(name string, may bool, want ...bool) {
		t.Helper()
		entered := d.enter()
		if entered {
			d.leave()
		}
		if entered != may || !slices.Equal(told, want) {
			t.Errorf("%s: a call may begin: %v, the socket was told %v; want %v, %v", name, entered, told, may, want)
		}
	}
	check("at first", true)
	d.move(time.Unix(1, 0))
	check("passed before a call", false)
	d.move(time.Time{})
	check("taken back", true)
	d.enter()
	d.move(time.Unix(1, 0))
	check("passed in a call", false, true)
	d.leave()
	check("and after it", false, true)
	d.move(time.Time{})
	check("taken back after a call", true, true, false)
	d.move(time.Now().Add(time.Hour))
	check("in an hour", true, true, false)
	d.move(time.Unix(1, 0))
	check("passed after calls", false, true, false)
	d.end()
}

// A Read that is under way ends when a deadline passes that was set before it or meanwhile,
// and one that comes later reads on.
func TestConnectionDeadlines(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = t.TempDir() + "/socket"
			}
			inner, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer inner.Close()
			peer, err := net.Dial(network, inner.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			conn, err := limitConnections(inner, 10).Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			b := make([]byte, 1)
			expired := func(name string) {
				t.Helper()
				if _, err := conn.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: %v", name, err)
				}
			}
			conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			expired("before it")
			conn.SetReadDeadline(time.Now().Add(time.Hour))
			time.AfterFunc(10*time.Millisecond, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
			expired("meanwhile, in the past")
			conn.SetDeadline(time.Now().Add(time.Hour))
			time.AfterFunc(10*time.Millisecond, func() { conn.SetDeadline(time.Now().Add(10 * time.Millisecond)) })
			expired("meanwhile, earlier")
			conn.SetReadDeadline(time.Time{})
			peer.Write([]byte("x"))
			if _, err := conn.Read(b); err != nil {
				t.Error(err)
			}
			conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			for err = nil; err == nil; { // until what the kernel keeps is full
				_, err = conn.Write(make([]byte, 1<<20))
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			conn.SetWriteDeadline(time.Now().Add(time.Hour))
			go func() {
				sink := make([]byte, 1<<20)
				for {
					if _, err := peer.Read(sink); err != nil {
						return
					}
				}
			}()
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
}
