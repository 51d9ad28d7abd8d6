package compress

import "io"

// A Frame is a part of a file that decompresses by itself: one or more frames of zstd, or streams of
// xz, that follow each other.
type Frame struct {
	Compressed int64 // bytes of the file
	Content    int64 // bytes that come out of them
}

// MaxFrames is how many parts of one file are told apart at most.
const MaxFrames = 8192

// leastContent is how much each part holds, but for the last: to begin at one costs a request, and
// less is not worth it.
const leastContent = 1 << 20

// A Stream compresses what is written to it.
type Stream interface {
	io.WriteCloser
	// Frames are the parts of the file, known after Close, by the rules of Reader.
	Frames() []Frame
}

// A Reader decompresses a file.
type Reader interface {
	io.ReadCloser
	// Frames are the parts of the file, known once Read has returned io.EOF, and nil for methods other
	// than zstd and xz. They depend on the bytes of the file alone, not on the program that wrote it:
	//
	//   - a part ends where a frame of zstd or a stream of xz does, as soon as it holds 1 MiB of content;
	//     what stands between frames, such as a skippable frame, belongs to the part before it;
	//   - if there are more than MaxFrames, 2 MiB, 4 MiB and so on take the place of 1 MiB.
	Frames() []Frame
}

// framed reports whether files of m have parts that are told apart.
func (m Method) framed() bool { return m == Zstd || m == Xz }

// frames gathers the parts of a file. The zero value has none yet.
type frames struct {
	list  []Frame
	least int64 // bytes of content of a part; 0 for leastContent
}

// add takes the next frame.
func (f *frames) add(next Frame) {
	f.least = max(f.least, leastContent)
	f.join(next)
	for len(f.list) > MaxFrames {
		f.least *= 2
		all := f.list
		f.list = f.list[:0] // which is never ahead of what is read
		for _, frame := range all {
			f.join(frame)
		}
	}
}

func (f *frames) join(next Frame) {
	if n := len(f.list); n > 0 && f.list[n-1].Content < f.least {
		f.list[n-1].Compressed += next.Compressed
		f.list[n-1].Content += next.Content
		return
	}
	f.list = append(f.list, next)
}
