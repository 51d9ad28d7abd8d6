package compress

import (
	"bytes"
	"context"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	ulikunitz "github.com/ulikunitz/xz"
)

// XzNote is "" if xz is written by the xz program, and otherwise one sentence that says what
// writes it instead and what would help.
func XzNote() string {
	if xzProgram() != "" {
		return ""
	}
	return "there is no xz program of XZ Utils on PATH, so xz is written by an encoder in Go whose files are about a quarter larger: installing xz-utils helps"
}

// xzPrograms remembers which candidates are XZ Utils: path → bool.
var xzPrograms sync.Map

// xzProgram returns the path of an xz of XZ Utils, or "". Another program of that name does not
// do: the xz of BusyBox can only decompress.
func xzProgram() string {
	path, err := exec.LookPath("xz")
	if err != nil {
		return ""
	}
	good, known := xzPrograms.Load(path)
	if !known {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		good = err == nil && bytes.Contains(out, []byte("XZ Utils"))
		xzPrograms.Store(path, good)
	}
	if !good.(bool) {
		return ""
	}
	return path
}

// xzDictionary is the size of dictionary for a frame of n bytes: that of the level, unless the frame
// is smaller. A larger one would find no more, and cost the memory and time to clear it on
// both sides.
func xzDictionary(level, n int) int {
	// The presets of XZ Utils, xz(1) "-0 ... -9".
	ofLevel := [...]int{256 << 10, 1 << 20, 2 << 20, 4 << 20, 4 << 20, 8 << 20, 8 << 20, 16 << 20, 32 << 20, 64 << 20}[level]
	ofFrame := 1 << bits.Len(uint(max(n, 64<<10)-1))
	return min(ofLevel, ofFrame, frameSizeOf(Xz, frameSize))
}

// xzCommand compresses each frame by a child of its own.
type xzCommand struct {
	program string
	level   int
}

func (e xzCommand) encode(ctx context.Context, dst, src []byte) ([]byte, error) {
	out, complaint := appender{dst}, limited{left: 1 << 10}
	cmd := exec.CommandContext(ctx, e.program, "--compress", "--stdout", "--format=xz", "-T1",
		fmt.Sprintf("--lzma2=preset=%d,dict=%d", e.level, xzDictionary(e.level, len(src))))
	cmd.Env = xzEnvironment()
	cmd.Stdin = bytes.NewReader(src)
	cmd.Stdout = &out
	cmd.Stderr = &complaint
	// A child that was killed is gone at once; this is for one that left its pipes to another.
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && len(complaint.b) > 0:
		return nil, fmt.Errorf("run %s: %w: %s", e.program, err, bytes.TrimSpace(complaint.b))
	case err != nil:
		return nil, fmt.Errorf("run %s: %w", e.program, err)
	}
	frame := out.b[len(dst):]
	if !bytes.HasPrefix(frame, []byte("\xfd7zXZ\x00")) || !bytes.HasSuffix(frame, []byte("YZ")) {
		return nil, fmt.Errorf("run %s: its output is not an xz file", e.program)
	}
	return out.b, nil
}

// xzEnvironment is ours without the variables that hold further options for xz, which would
// make the output depend on who runs us.
func xzEnvironment() []string {
	env := []string{"LC_ALL=C"}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name != "XZ_DEFAULTS" && name != "XZ_OPT" && name != "LC_ALL" {
			env = append(env, kv)
		}
	}
	return env
}

// limited keeps the first bytes that are written to it.
type limited struct {
	b    []byte
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.b = append(l.b, p[:n]...)
	return len(p), nil
}

// xzInGo stands in for the program. It takes the size of the dictionary from the level; the search
// is the same for all.
type xzInGo struct{ level int }

func (e xzInGo) encode(ctx context.Context, dst, src []byte) ([]byte, error) {
	out := appender{dst}
	config := ulikunitz.WriterConfig{
		DictCap:  xzDictionary(e.level, len(src)),
		CheckSum: ulikunitz.CRC64,
	}
	z, err := config.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	if err := writeInPieces(ctx, z, src); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.b, nil
}
