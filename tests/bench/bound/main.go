// Command bound tells how close an export comes to what the machine can do:
//
//	bound STORE TREE
//
// For every NAR of TREE, an export of the store root STORE, it takes the steps
// that no exporter can leave out one at a time, on one core: read the path as a
// NAR, hash it, compress it, hash the result, write it. Their sum divided by the
// number of cores is the time that a perfect exporter would take. It prints the
// sum for each step and the bound, in seconds.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/nar"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: bound STORE TREE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "bound: error:", err)
		os.Exit(1)
	}
}

// frame is what nixstatic compresses at a time.
const frame = 16 << 20

func run(store, tree string) error {
	dir, err := layout.OpenDir(tree)
	if err != nil {
		return err
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(filepath.Clean(tree)), "bound-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	var read, narHash, compress, fileHash, write time.Duration
	timed := func(total *time.Duration, step func()) {
		start := time.Now()
		step()
		*total += time.Since(start)
	}
	ctx := context.Background()
	for info, err := range dir.List(ctx, "") {
		if err != nil {
			return err
		}
		if info.Key.Kind() != layout.KindNarInfo {
			continue
		}
		text, err := layout.ReadAll(ctx, dir, info.Key)
		if err != nil {
			return err
		}
		n, err := layout.ParseNarInfo(text, "")
		if err != nil {
			return err
		}
		path := store + n.Path.Abs(layout.DefaultStoreDir)
		var content bytes.Buffer
		content.Grow(int(n.NarSize) + 1<<20)
		if err := nar.Dump(ctx, &content, path); err != nil { // into the page cache, and memory touched
			return err
		}
		content.Reset()
		timed(&read, func() { err = nar.Dump(ctx, &content, path) })
		if err != nil {
			return err
		}
		timed(&narHash, func() { sha256.Sum256(content.Bytes()) })
		packed := make([]byte, 0, frame+frame/8)
		for b := content.Bytes(); len(b) > 0; {
			piece := b[:min(len(b), frame)]
			b = b[len(piece):]
			timed(&compress, func() { packed = encoder.EncodeAll(piece, packed[:0]) })
			timed(&fileHash, func() { sha256.Sum256(packed) })
			timed(&write, func() { _, err = out.Write(packed) })
			if err != nil {
				return err
			}
		}
	}
	timed(&write, func() { err = out.Sync() })
	if err != nil {
		return err
	}
	sum := read + narHash + compress + fileHash + write
	fmt.Printf("read %.2f, NAR hash %.2f, compress %.2f, file hash %.2f, write %.2f: %.2f s\n",
		read.Seconds(), narHash.Seconds(), compress.Seconds(), fileHash.Seconds(), write.Seconds(), sum.Seconds())
	fmt.Printf("bound %.2f s on %d cores\n", sum.Seconds()/float64(runtime.GOMAXPROCS(0)), runtime.GOMAXPROCS(0))
	return nil
}
