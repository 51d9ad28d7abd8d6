package browser

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/dop251/goja"
	klauspost "github.com/klauspost/compress/zstd"
)

// mostDecoded is how many bytes a fuzzed frame may hold: the engine of the test is slow.
const mostDecoded = 1 << 20

var errLarge = errors.New("it holds more than the test looks at")

// An engine runs the decoder of the page in Go. It knows no generators that wait, so the decoder
// runs without waiting: all bytes are there.
type engine struct {
	vm     *goja.Runtime
	decode goja.Callable
}

func newEngine(t testing.TB) *engine {
	t.Helper()
	source, err := os.ReadFile("../../layout/pages/assets/zstd.js")
	if err != nil {
		source, err = os.ReadFile("layout/pages/assets/zstd.js") // once TestMain has gone to the root
	}
	if err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer("export ", "", "async ", "", "await ", "", "asyncIterator", "iterator").Replace(string(source)) + fmt.Sprintf(`
(function (input) {
	const parts = [];
	let n = 0;
	try {
		for (const part of decompress([input])) {
			parts.push(part);
			if ((n += part.length) > %d) return "large";
		}
	} catch (err) {
		if (err instanceof ZstdError) return "refused: " + err.message;
		throw err;
	}
	const all = new Uint8Array(n);
	let at = 0;
	for (const part of parts) { all.set(part, at); at += part.length; }
	return all.buffer;
})`, mostDecoded)
	e := &engine{vm: goja.New()}
	value, err := e.vm.RunScript("zstd.js", script)
	if err != nil {
		t.Fatal(err)
	}
	var ok bool
	if e.decode, ok = goja.AssertFunction(value); !ok {
		t.Fatal("the decoder is not a function")
	}
	return e
}

// run returns what a frame holds, or why it is refused. Any other error is a fault.
func (e *engine) run(t *testing.T, input []byte) (out []byte, refused error) {
	t.Helper()
	array, err := e.vm.New(e.vm.Get("Uint8Array"), e.vm.ToValue(e.vm.NewArrayBuffer(bytes.Clone(input))))
	if err != nil {
		t.Fatal(err)
	}
	value, err := e.decode(goja.Undefined(), array)
	if err != nil {
		t.Fatalf("the decoder breaks: %v", err)
	}
	switch got := value.Export().(type) {
	case goja.ArrayBuffer:
		return got.Bytes(), nil
	case string:
		if got == "large" {
			return nil, errLarge
		}
		return nil, errors.New(got)
	}
	t.Fatalf("the decoder returns %v", value)
	return nil, nil
}

// FuzzZstd has the decoder of the page and one in Go read the same bytes. They differ only where
// the page is stricter. The fuzzer does not see which lines of the script run, but sees those of the
// decoder in Go, and keeps inputs that reach other ones there.
func FuzzZstd(f *testing.F) {
	rng := rand.New(rand.NewPCG(7, 8))
	noise, few := make([]byte, 600), make([]byte, 1500)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	for i := range few {
		few[i] = byte(rng.ExpFloat64() * 3)
	}
	for _, text := range [][]byte{nil, []byte("x"), noise, few, bytes.Repeat([]byte("abcdefghij"), 100), []byte(strings.Repeat("The decoder of the page reads what the program writes. ", 9)), append(bytes.Clone(few), noise[:40]...)} {
		for _, level := range []klauspost.EncoderLevel{klauspost.SpeedFastest, klauspost.SpeedBestCompression} {
			for _, sum := range []bool{false, true} {
				w, err := klauspost.NewWriter(nil, klauspost.WithEncoderLevel(level), klauspost.WithEncoderCRC(sum), klauspost.WithEncoderConcurrency(1))
				if err != nil {
					f.Fatal(err)
				}
				f.Add(w.EncodeAll(text, nil))
			}
		}
	}
	r, err := klauspost.NewReader(nil, klauspost.WithDecoderConcurrency(1), klauspost.WithDecoderMaxWindow(128<<20), klauspost.WithDecoderMaxMemory(mostDecoded))
	if err != nil {
		f.Fatal(err)
	}
	defer r.Close()
	e := newEngine(f)
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 4<<10 {
			return
		}
		got, refused := e.run(t, input)
		want, err := r.DecodeAll(input, nil)
		switch {
		case refused != nil:
		case errors.Is(err, klauspost.ErrDecoderSizeExceeded), errors.Is(err, klauspost.ErrWindowSizeExceeded):
		case err != nil && strings.Contains(err.Error(), "fse decompress returned: unexpected EOF"):
			// The weights of Huffman's codes end with fewer bits than they name. The zstd
			// program takes that, and so does the page.
		case err != nil:
			t.Errorf("the page takes what it should not, %d bytes: %v", len(got), err)
		case !bytes.Equal(got, want):
			t.Errorf("%d bytes, and %d in Go, or other ones", len(got), len(want))
		}
	})
}

// The frames that the fuzzer begins with are read, so that it does not compare refusals alone.
func TestEngine(t *testing.T) {
	w, err := klauspost.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(strings.Repeat("one and two; ", 50))
	packed := w.EncodeAll(text, nil)
	e := newEngine(t)
	if got, err := e.run(t, packed); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := e.run(t, packed[:len(packed)-5]); err == nil {
		t.Error("a frame that is cut off is taken")
	}
}
