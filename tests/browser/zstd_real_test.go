//go:build real

package browser

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// zstd runs the real program. It reports false for what that does not take.
func zstd(t *testing.T, input []byte, args ...string) ([]byte, bool) {
	t.Helper()
	cmd := exec.Command("zstd", append([]string{"-q", "-c"}, args...)...)
	cmd.Stdin = bytes.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.Bytes(), err == nil
}

// samples are bytes of several natures.
func samples(t *testing.T) map[string][]byte {
	t.Helper()
	source, err := os.ReadFile(nixtest.Source(t, "layout/pages/assets/zstd.js"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(nixtest.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	few := make([]byte, 200_000) // of a few symbols, far from even
	for i := range few {
		few[i] = byte(rng.ExpFloat64() * 3)
	}
	return map[string][]byte{"nothing": {}, "one": {7}, "text": source, "program": program[:1_500_000], "noise": noise, "few": few,
		"zeros": make([]byte, 1_000_000), "far": append(append(bytes.Clone(noise), program[2_000_000:3_000_000]...), noise...),
		"same": bytes.Repeat([]byte("abcdefghij"), 50_000)}
}

// A decoder is a page in which zstd.js runs, and a server that it fetches from.
type decoder struct {
	b     *tab
	url   string
	cases map[string][]byte
}

func newDecoder(t *testing.T) *decoder {
	t.Helper()
	d := &decoder{cases: map[string][]byte{}}
	assets := http.FileServer(http.Dir(nixtest.Source(t, "layout/pages/assets")))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch name, isCase := strings.CutPrefix(r.URL.Path, "/case/"); {
		case isCase:
			w.Write(d.cases[name])
		case r.URL.Path == "/":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<!doctype html><link rel=icon href=favicon.svg>")
		default:
			assets.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	d.url, d.b = server.URL, openTab(t)
	d.b.open(t, d.url)
	js[bool](t, d.b, `import("./zstd.js").then((m) => {
		window.decode = async (name) => {
			const input = new Uint8Array(await (await fetch("case/" + name)).arrayBuffer()), parts = [];
			// In pieces of odd sizes, as a network gives them.
			const pieces = (function* () { for (let i = 0, n = 1; i < input.length; i += n, n = n * 7 % 65521 + 1) yield input.subarray(i, i + n); })();
			try {
				for await (const chunk of m.decompress(pieces)) parts.push(chunk);
			} catch (e) {
				return e instanceof m.ZstdError ? "refused: " + e.message : "BROKEN: " + e.stack;
			}
			const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer()));
			return [...sum].map((b) => b.toString(16).padStart(2, "0")).join("");
		};
		return true;
	})`)
	return d
}

func (d *decoder) decode(t *testing.T, name string, input []byte) string {
	t.Helper()
	d.cases[name] = input
	defer delete(d.cases, name)
	return js[string](t, d.b, fmt.Sprintf("decode(%q)", name))
}

func sum(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// TestZstd has our decoder read what the real program writes, in all its ways.
func TestZstd(t *testing.T) {
	d := newDecoder(t)
	for name, data := range samples(t) {
		for i, args := range [][]string{{"-1"}, {"-3", "--no-check"}, {"-9"}, {"--fast=7"}, {"-9", "--long=27"}, {"-6", "--zstd=wlog=10"}, {"-5", "--no-content-size"}, {"-4", "--single-thread", "--stream-size=" + fmt.Sprint(len(data))}} {
			packed, ok := zstd(t, data, args...)
			if !ok {
				t.Fatalf("zstd %v does not write %s", args, name)
			}
			if got := d.decode(t, fmt.Sprint(name, i), packed); got != sum(data) {
				t.Errorf("%s by %v: %s", name, args, got)
			}
		}
	}
	// Frames one after the other, and one to be skipped among them.
	a, _ := zstd(t, []byte("one, "))
	b, _ := zstd(t, []byte("two"), "--no-check")
	skip := append([]byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, "abc"...)
	if got := d.decode(t, "frames", append(append(append(a, skip...), b...), skip...)); got != sum([]byte("one, two")) {
		t.Errorf("frames: %s", got)
	}
	d.b.untroubled(t)
}

// TestZstdDamaged changes what the real program wrote, and has both read it: where the
// program finds fault, so does the decoder, and it never says anything else.
func TestZstdDamaged(t *testing.T) {
	d := newDecoder(t)
	rng := rand.New(rand.NewPCG(3, 4))
	all := samples(t)
	var inputs [][]byte
	for _, name := range []string{"text", "few", "same", "one"} {
		for _, args := range [][]string{{"-1", "--no-check"}, {"-19", "--no-check"}, {"-3"}} {
			packed, _ := zstd(t, all[name][:min(len(all[name]), 20_000)], args...)
			inputs = append(inputs, packed)
		}
	}
	const tries = 300
	refused, taken, stricter := 0, 0, 0
	for n := range tries {
		input := bytes.Clone(inputs[n%len(inputs)])
		for range 1 + rng.IntN(2) {
			// The headers, of the frame, blocks and tables, are at the beginning.
			at := rng.IntN(len(input))
			if rng.IntN(2) == 0 {
				at = rng.IntN(min(len(input), 60))
			}
			switch rng.IntN(4) {
			case 0:
				input = input[:max(1, at)]
			case 1:
				input[at] = byte(rng.Uint32())
			default:
				input[at] ^= 1 << rng.IntN(8)
			}
		}
		want, ok := zstd(t, input, "-d", "--memory=128MB")
		got := d.decode(t, fmt.Sprint(n), input)
		switch {
		case ok && got == sum(want):
			taken++
		case strings.HasPrefix(got, "refused: ") && !ok:
			refused++
		case strings.HasPrefix(got, "refused: "):
			// The program does not look whether streams of bits end where they should.
			stricter++
		default:
			t.Errorf("%d: the program takes it: %v, and the decoder says %s: %x", n, ok, got, input[:min(len(input), 40)])
		}
	}
	t.Logf("%d refused, %d taken, %d refused by the decoder alone", refused, taken, stricter)
	if refused == 0 || taken == 0 || stricter > tries/5 {
		t.Error("the changes are all of one nature")
	}
	d.b.untroubled(t)
}

// A decoder that sets the window of each frame aside would not get through many small ones.
func TestZstdSmallFrames(t *testing.T) {
	d := newDecoder(t)
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x09, 0, 0, 'x'} // of one byte, in a window of 128 MiB
	const frames = 20_000
	if got := d.decode(t, "small", bytes.Repeat(frame, frames)); got != sum(bytes.Repeat([]byte("x"), frames)) {
		t.Error(got)
	}
	d.b.untroubled(t)
}
