package netx

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/nixstatic/nixstatic/layout/compress"
)

// maxCodings is more than any server applies, and fewer than a trap would.
const maxCodings = 3

// Codings returns what was applied to a body, in that order. An object store
// gives what was stored with a Content-Encoding to everyone, asked or not; Nix
// decodes it, so do we.
func Codings(header http.Header) []string {
	var list []string
	for _, value := range header.Values("Content-Encoding") {
		for coding := range strings.SplitSeq(value, ",") {
			coding = strings.ToLower(strings.TrimSpace(coding))
			switch coding {
			case "", "identity", "none":
			case "aws-chunked": // how an object once came in; some stores keep that
			default:
				list = append(list, coding)
			}
		}
	}
	return list
}

// Decode returns body without the codings of its headers. Closing the result
// closes body. On an error body stays open.
func Decode(body io.ReadCloser, header http.Header) (io.ReadCloser, error) {
	list := Codings(header)
	if len(list) > maxCodings {
		return nil, fmt.Errorf("content-encoding: %d layers", len(list))
	}
	out := body
	for i := len(list) - 1; i >= 0; i-- {
		method, ok := contentCodings[list[i]]
		if !ok {
			return nil, fmt.Errorf("content-encoding %.40q: not a compression that Nix knows", list[i])
		}
		z, err := compress.NewReader(out, method)
		if err != nil {
			return nil, fmt.Errorf("content-encoding %s: %w", list[i], err)
		}
		out = &decoded{z, out}
	}
	return out, nil
}

var contentCodings = map[string]compress.Method{
	"gzip": compress.Gzip, "x-gzip": compress.Gzip, "br": compress.Brotli, "zstd": compress.Zstd,
	// No client asks for these. A Nix that writes to a bucket stores them, if it is
	// told to.
	"xz": compress.Xz, "bzip2": compress.Bzip2, "lz4": compress.Lz4,
}

// decoded is a decoder that closes what it reads from.
type decoded struct {
	io.ReadCloser
	below io.Closer
}

func (l *decoded) Close() error { return errors.Join(l.ReadCloser.Close(), l.below.Close()) }
