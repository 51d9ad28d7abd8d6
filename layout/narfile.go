package layout

import (
	"bufio"
	"context"
	"io"
	"strings"

	"github.com/nixstatic/nixstatic/layout/compress"
)

// HoldsNAR reports whether a file at the key of a NAR holds the NAR that hashes to
// want: some caches call a file by the hash of the NAR in it. The compression is
// guessed, as no record is known here. A file that decompresses to more than any
// real one of its size is not known to hold a NAR.
func HoldsNAR(ctx context.Context, key Key, file io.Reader, size int64, want Hash) (bool, error) {
	from := bufio.NewReaderSize(file, 64<<10)
	head, _ := from.Peek(16) // the error comes back when the rest is read
	name, _, _ := strings.Cut(string(key), "?")
	method := compress.Guess(name[strings.LastIndex(name, ".nar")+len(".nar"):], head)
	found, err := Inspect(ctx, from, method, "", &PathInfo{NarSize: max(1<<30, size*1000)})
	if err != nil {
		return false, err
	}
	defer found.Close()
	return found.Broken == nil && !found.TooLong && found.NarHash == want, nil
}
