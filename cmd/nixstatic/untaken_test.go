package main

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// A server reads little more from a client that takes nothing of what it is sent, and all
// of it afterwards.
func TestUntaken(t *testing.T) {
	const sent, answer = 1 << 20, 32 << 20
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner, 100)
	l.secure = true
	defer l.Close()
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	written := make(chan error, 2)
	go func() {
		_, err := conn.Write(make([]byte, answer))
		written <- err
	}()
	for writing := false; !writing; { // until the write stands still, or is about to
		u := conn.(*limitedSecure)
		u.mu.Lock()
		writing = u.writing
		u.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	go func() {
		_, err := client.Write(make([]byte, sent))
		written <- err
	}()
	buf := make([]byte, 4<<10)
	got := 0
	for {
		conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := conn.Read(buf)
		got += n
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if err != nil && got >= maxUntaken { // else the bytes are still on their way
			break
		}
	}
	if most := maxUntaken + len(buf); got > most {
		t.Errorf("%d bytes were read while the client took nothing, want %d at most", got, most)
	}
	// A read that waits goes on when the client takes its answer.
	conn.SetReadDeadline(time.Time{})
	rest := make(chan int64)
	go func() {
		n, _ := io.CopyN(io.Discard, conn, int64(sent-got))
		rest <- n
	}()
	if n, err := io.CopyN(io.Discard, client, answer); err != nil {
		t.Errorf("the answer: %d bytes, %v", n, err)
	}
	for range 2 {
		if err := <-written; err != nil {
			t.Error(err)
		}
	}
	if n := <-rest; n != int64(sent-got) {
		t.Errorf("%d bytes came afterwards, want %d", n, sent-got)
	}
	// A read that waits ends with the connection.
	go conn.Write(make([]byte, answer))
	go client.Write(make([]byte, sent))
	ended := make(chan bool)
	go func() {
		io.Copy(io.Discard, conn)
		close(ended)
	}()
	time.Sleep(20 * time.Millisecond)
	conn.Close()
	<-ended
}
