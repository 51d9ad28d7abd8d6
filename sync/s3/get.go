package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// smallDecoded is the size up to which an object that has to be decoded is decoded
// before Get returns, so that its size is known.
const smallDecoded = 64 << 10

// readWhole is the size up to which an object that may change is read whole
// before Get returns. MinIO lets no client replace an object while another reads
// it, so that a slow reader would hold up a writer.
const readWhole = 8 * mib

// Get opens an object. A body that breaks off is gone on with where it did, of the
// same version or not at all: then the error is layout.ErrChanged. An object that
// was stored with a Content-Encoding is decoded.
func (b *Bucket) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	var body io.ReadCloser
	var info layout.Info
	err := b.retry(ctx, "get "+string(key), func(int) (err error) {
		body, info, err = b.open(ctx, key)
		return err
	})
	if err != nil {
		return nil, layout.Info{}, b.about("get", key, err)
	}
	return body, info, nil
}

func (b *Bucket) open(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	answer, o, err := b.ask(ctx, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, layout.Info{}, err
	}
	info := layout.Info{Key: key, Size: o.Size, ModTime: o.LastModified, ETag: o.ETag}
	var body io.ReadCloser
	if key.Kind().Immutable() || o.Size < 0 || o.Size > readWhole {
		body, err = netx.Whole(ctx, b.source(key, o.ETag, key.Kind().Immutable()), answer)
	} else {
		body, err = readNow(answer)
	}
	if err != nil {
		answer.Body.Close()
		return nil, layout.Info{}, err
	}
	if len(netx.Codings(answer.Header)) == 0 {
		return body, info, nil
	}
	decoded, size, err := decode(body, answer.Header)
	if err != nil {
		body.Close()
		return nil, layout.Info{}, err
	}
	info.Size = size
	return decoded, info, nil
}

// decode takes the codings of an object off. The size of the result is -1 unless
// the object is small.
func decode(body io.ReadCloser, header http.Header) (io.ReadCloser, int64, error) {
	decoded, err := netx.Decode(body, header)
	if err != nil {
		return nil, 0, err
	}
	head, err := io.ReadAll(io.LimitReader(decoded, smallDecoded))
	switch {
	case err != nil:
		decoded.Close()
		return nil, 0, fmt.Errorf("content-encoding: %w", err)
	case len(head) < smallDecoded:
		return io.NopCloser(bytes.NewReader(head)), int64(len(head)), decoded.Close()
	}
	return &headed{io.MultiReader(bytes.NewReader(head), decoded), decoded}, -1, nil
}

// headed is a body of which the beginning was read.
type headed struct {
	io.Reader
	io.Closer
}

// readNow reads an answer to its end.
func readNow(answer *netx.Answer) (io.ReadCloser, error) {
	if err := netx.CheckWhole(answer); err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	data := make([]byte, answer.Length)
	if _, err := io.ReadFull(answer.Body, data); err != nil {
		return nil, netx.BrokenOff(err)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// ask makes one request for an object.
func (b *Bucket) ask(ctx context.Context, key layout.Key, opts minio.GetObjectOptions) (*netx.Answer, minio.ObjectInfo, error) {
	raw, o, header, err := b.client.Load().GetObject(ctx, b.loc.Bucket, b.object(key), opts)
	if err != nil {
		return nil, o, classify(err)
	}
	header = header.Clone()
	header.Set("ETag", quoted(o.ETag)) // some stores forget the quotes
	return &netx.Answer{Body: raw, Header: header, Length: o.Size}, o, nil
}

func quoted(etag string) string {
	if etag == "" {
		return ""
	}
	return `"` + etag + `"`
}

// source tells how the body of a version is gone on with. If it is checked, the
// bytes are those of a NAR, which has its name because of them (I4).
func (b *Bucket) source(key layout.Key, etag string, checked bool) netx.Source {
	var used credentials.Value
	return netx.Source{
		Checked: checked, Retry: b.attempts(), What: "get " + string(key),
		Judge: func(ctx context.Context, err error) netx.Verdict { return b.judge(ctx, err, used) },
		Name: func(err error) error {
			if errors.Is(err, netx.ErrChanged) {
				err = fmt.Errorf("%w: %w", layout.ErrChanged, err)
			}
			return b.about("get", key, b.explain(err))
		},
		Ask: func(ctx context.Context, from, to int64) (*netx.Answer, error) {
			used = b.present()
			opts, err := rangeOf(etag, from, to)
			if err != nil {
				return nil, err
			}
			answer, _, err := b.ask(ctx, key, opts)
			var e *refusal
			switch {
			case errors.Is(err, errPrecondition) && !checked:
				return nil, netx.ErrChanged
			case from >= 0 && errors.As(err, &e) && (e.is == errPrecondition || e.status == http.StatusRequestedRangeNotSatisfiable || unknown(err)):
				return nil, netx.NotUsable(err)
			}
			return answer, err
		},
	}
}

// rangeOf asks for the bytes [from, to) of a version, and for the whole with a
// negative from. The caller compares the version of the answer.
func rangeOf(etag string, from, to int64) (opts minio.GetObjectOptions, err error) {
	if from < 0 {
		return opts, nil
	}
	if etag != "" {
		err = opts.SetMatchETag(etag)
	}
	return opts, errors.Join(err, opts.SetRange(from, max(0, to-1)))
}

// Stat describes an object.
func (b *Bucket) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	var o minio.ObjectInfo
	err := b.retry(ctx, "stat "+string(key), func(int) (err error) {
		o, err = b.stat(ctx, key)
		return err
	})
	if err != nil {
		return layout.Info{}, b.about("stat", key, err)
	}
	info := layout.Info{Key: key, Size: o.Size, ModTime: o.LastModified, ETag: o.ETag}
	if len(netx.Codings(o.Metadata)) > 0 {
		info.Size = -1
	}
	return info, nil
}

func (b *Bucket) stat(ctx context.Context, key layout.Key) (minio.ObjectInfo, error) {
	o, err := b.client.Load().StatObject(ctx, b.loc.Bucket, b.object(key), minio.StatObjectOptions{})
	if err != nil {
		return minio.ObjectInfo{}, classify(err)
	}
	return o, nil
}

var _ layout.RangeReader = (*Bucket)(nil)

// OpenRange opens the bytes [from, to) of the version that info describes. The
// error is layout.ErrChanged if another stands there by now.
func (b *Bucket) OpenRange(ctx context.Context, info layout.Info, from, to int64) (io.ReadCloser, error) {
	if from < 0 || from > to || to > info.Size {
		return nil, b.about("get", info.Key, fmt.Errorf("no bytes %d to %d in %d", from, to, info.Size))
	}
	if from == to {
		return http.NoBody, nil // no range is empty
	}
	source := b.source(info.Key, info.ETag, false) // a part has no hash
	body := netx.Range(ctx, source, info.Size, quoted(info.ETag), from, to)
	if err := body.Open(); err != nil {
		return nil, err
	}
	return body, nil
}
