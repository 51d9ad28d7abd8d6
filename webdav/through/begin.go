package through

import (
	"bytes"
	"io"

	"github.com/nixstatic/nixstatic/layout/compress"
)

// A record is not signed for the URL of its NAR. An upstream may name a URL that this server
// can reach and its readers cannot, as of a service for its own machine. So readers
// get nothing of a file before it begins like a NAR; one that does not is wrong, or is shown
// when it was checked to the last byte.

const (
	// headBytes is how much of a file is looked at for that.
	headBytes = 64 << 10
	// narBeginning is what every NAR begins with.
	narBeginning = "\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1"
)

// begins reports whether a file of n bytes begins like a NAR of that compression, or may
// when there is more of it.
func begins(file io.ReaderAt, n int64, method compress.Method) bool {
	head := make([]byte, min(n, headBytes))
	if _, err := file.ReadAt(head, 0); err != nil && err != io.EOF {
		return false
	}
	switch method {
	case compress.None:
		return bytes.HasPrefix(head, []byte(narBeginning))
	case compress.Brotli: // has no mark of its own
		z, err := compress.NewReader(bytes.NewReader(head), method)
		if err != nil {
			return false
		}
		defer z.Close()
		first := make([]byte, len(narBeginning))
		_, err = io.ReadFull(z, first)
		return err == nil && string(first) == narBeginning
	case compress.Zstd:
		// A frame that decoders pass over may come first.
		if len(head) > 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" {
			return true
		}
	}
	return compress.Guess("", head) == method
}
