package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
)

// encodings are the values of Content-Encoding that Nix's narinfo-compression,
// ls-compression and log-compression send, and what others call the same.
var encodings = map[string]compress.Method{
	"":         compress.None,
	"identity": compress.None,
	"gzip":     compress.Gzip,
	"x-gzip":   compress.Gzip,
	"br":       compress.Brotli,
	"zstd":     compress.Zstd,
	"xz":       compress.Xz,
	"bzip2":    compress.Bzip2,
}

const acceptEncoding = "gzip, br, zstd, xz, bzip2, identity"

// encodingOf tells how a body is encoded. A body that is encoded more than once is
// refused: no honest client sends one.
func encodingOf(header http.Header, kind layout.Kind) (compress.Method, *failure) {
	value := strings.ToLower(strings.TrimSpace(strings.Join(header["Content-Encoding"], ",")))
	method, ok := encodings[value]
	switch {
	case !ok:
		return "", &failure{status: http.StatusUnsupportedMediaType, result: ResultEncoding,
			text: "Content-Encoding is not known here: use one of " + acceptEncoding}
	case method != compress.None && kind == layout.KindNAR:
		return "", &failure{status: http.StatusUnsupportedMediaType, result: ResultEncoding,
			text: "a NAR is stored as it is sent: leave out the Content-Encoding and set compression= in the store URL"}
	}
	return method, nil
}

// decode returns the content of a body. Its second result is to be called when
// that was read.
func (h *Handler) decode(ctx context.Context, method compress.Method, kind layout.Kind, from io.Reader) (io.Reader, func(), *failure) {
	if method == compress.None {
		return from, func() {}, nil
	}
	source := &sourceError{from: from}
	reader, err := layout.NewDecoder(ctx, source, method, h.cfg.Decoding, h.cfg.Turns)
	if err != nil {
		return nil, nil, failureOf(err)
	}
	decoded := io.Reader(&decoder{from: reader, source: source})
	if kind != layout.KindLog { // logs have a limit of their own, which is larger
		decoded = &bounded{from: decoded, left: h.cfg.MaxSmall}
	}
	return decoded, func() { reader.Close() }, nil
}

// A decoder tells damage from trouble with the client's connection.
type decoder struct {
	from   io.Reader
	source *sourceError
}

func (d *decoder) Read(p []byte) (int, error) {
	n, err := d.from.Read(p)
	if err != nil && err != io.EOF && d.source.err == nil && errors.Is(err, compress.ErrCorrupt) {
		err = fmt.Errorf("%w: %w", errEncoding, err)
	}
	return n, err
}

// sourceError remembers how reading the client's body failed, if it did.
type sourceError struct {
	from io.Reader
	err  error
}

func (s *sourceError) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// errTooLarge is what a body decodes to more than MaxSmall.
var errTooLarge = errors.New("the body decodes to more than an object of its kind may have")

// bounded fails where io.LimitReader would pretend that the end came.
type bounded struct {
	from io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.from.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
