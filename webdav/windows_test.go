package webdav

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// wideNAR begins a NAR in a frame of zstd whose window is as large as any may be,
// and fills that. It takes a few kilobytes.
func wideNAR() string {
	var archive strings.Builder
	word := func(s string) {
		binary.Write(&archive, binary.LittleEndian, uint64(len(s)))
		archive.WriteString(s + strings.Repeat("\x00", -len(s)&7))
	}
	for _, s := range []string{"nix-archive-1", "(", "type", "regular", "contents"} {
		word(s)
	}
	binary.Write(&archive, binary.LittleEndian, uint64(1<<30))
	var file strings.Builder
	block := func(kind, size int, content string) {
		head := size<<3 | kind<<1
		file.Write([]byte{byte(head), byte(head >> 8), byte(head >> 16)})
		file.WriteString(content)
	}
	file.WriteString("\x28\xb5\x2f\xfd\x00\x88") // 128 MiB
	block(0, archive.Len(), archive.String())
	for range 1100 {
		block(1, 128<<10, "\x00")
	}
	return file.String()
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Windows of decompression are memory that clients share: however many of the
// largest are held, there is no more of them than fits, and others have theirs.
func TestWideWindows(t *testing.T) {
	for n, c := range []struct {
		name string
		wide []string
	}{{"many clients", []string{"m1", "m2", "m3", "m4"}}, {"one client", []string{"mallory"}}} {
		if n%quick.Step(2) > 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			dir, _ := example(t)
			r := newSiege(t, func(c *Config, in *inbox.Config) {
				c.BodyStall = time.Second
				c.Decoding = share.NewPool(layout.DecoderMemory, 8*time.Second)
				in.Decoding = c.Decoding
			})
			before := heap()
			for i := range 16 / quick.Step(2) {
				conn, err := net.Dial("tcp", r.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprintf(conn, "PUT /upload/nar/%052d.nar.zst HTTP/1.1\r\nHost: x\r\nX-Who: %s\r\nContent-Length: 1000000\r\n\r\n", i, c.wide[i%len(c.wide)])
				io.WriteString(conn, wideNAR())
			}
			most := uint64(0)
			for range 10 {
				time.Sleep(50 * time.Millisecond)
				most = max(most, heap())
			}
			if most < before+128<<20 || most > before+layout.DecoderMemory+64<<20 {
				t.Errorf("%d MiB of memory, %d before", most>>20, before>>20)
			}
			for _, key := range keysOf(t, dir) {
				if got := r.put(t, dir, key, alice, "User-Agent: rclone/v1.60.1"); got.Status != 201 && got.Status != 204 {
					t.Errorf("PUT %s: %d %s", key, got.Status, got.Body)
				}
			}
			if most = heap(); most > before+layout.DecoderMemory+64<<20 {
				t.Errorf("%d MiB of memory, %d before", most>>20, before>>20)
			}
		})
	}
}
