package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	// Up to this size an object that may change is read whole before Get returns.
	// MinIO lets nobody replace an object while someone reads it, and what reads
	// slowly would hold up who writes.
	readWhole = 8 * mib
	// muchProgress is how much must arrive for a broken body to count as a new
	// failure: a store that gives one byte a connection is given up in the end.
	muchProgress = mib
)

// Get opens an object. A body that breaks off is resumed where it did, of the
// same version or not at all: then the error is layout.ErrChanged.
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
	raw, o, _, err := b.client.Load().GetObject(ctx, b.loc.Bucket, b.object(key), minio.GetObjectOptions{})
	if err != nil {
		return nil, layout.Info{}, meaning(err)
	}
	info := layout.Info{Key: key, Size: o.Size, ModTime: o.LastModified, ETag: o.ETag}
	if key.Kind().Immutable() || o.Size < 0 || o.Size > readWhole {
		return &download{b: b, ctx: ctx, info: info, end: o.Size, raw: raw}, info, nil
	}
	defer raw.Close()
	data := make([]byte, o.Size)
	if _, err := io.ReadFull(raw, data); err != nil {
		return nil, layout.Info{}, fmt.Errorf("%w: %w", errClosed, err)
	}
	return io.NopCloser(bytes.NewReader(data)), info, nil
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
	return layout.Info{Key: key, Size: o.Size, ModTime: o.LastModified, ETag: o.ETag}, nil
}

func (b *Bucket) stat(ctx context.Context, key layout.Key) (minio.ObjectInfo, error) {
	o, err := b.client.Load().StatObject(ctx, b.loc.Bucket, b.object(key), minio.StatObjectOptions{})
	if err != nil {
		return minio.ObjectInfo{}, meaning(err)
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
	d := &download{b: b, ctx: ctx, info: info, off: from, mark: from, end: to}
	if err := d.ask(); err != nil {
		return nil, b.about("get", info.Key, err)
	}
	return d, nil
}

// A download reads one version of an object, or a part of it, over as many
// answers as it takes.
type download struct {
	b    *Bucket
	ctx  context.Context
	info layout.Info
	raw  io.ReadCloser
	off  int64 // where the next byte is from
	end  int64 // where to stop; -1 if the size is not known

	failures int   // in a row
	mark     int64 // off at the last failure
	err      error // final
}

// Read fills p from the present answer, or from the next.
func (d *download) Read(p []byte) (int, error) {
	for d.err == nil {
		n, err := d.raw.Read(p)
		d.off += int64(n)
		switch {
		case err == io.EOF && (d.end < 0 || d.off == d.end):
			d.err = io.EOF
		case err != nil:
			d.err = d.resume(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, d.err
}

// resume asks for the rest after err. It returns nil if there is an answer to
// go on with.
func (d *download) resume(err error) error {
	d.raw.Close()
	key := d.info.Key
	if d.ctx.Err() != nil {
		return d.b.about("get", key, context.Cause(d.ctx))
	}
	if d.info.ETag == "" || d.end < 0 {
		return d.b.about("get", key, err) // two versions could be mixed
	}
	if d.off-d.mark >= muchProgress {
		d.failures = 0
	}
	d.mark = d.off
	if d.failures++; d.failures >= d.b.loc.Attempts {
		return d.b.about("get", key, fmt.Errorf("%w after %d of %d bytes", err, d.off, d.info.Size))
	}
	if err := d.b.pause(d.ctx, "get "+string(key), d.failures, false, err); err != nil {
		return err
	}
	if err := d.ask(); err != nil {
		return d.b.about("get", key, err)
	}
	return nil
}

// ask requests the bytes from off to end, of this very version.
func (d *download) ask() error {
	var opts minio.GetObjectOptions
	if err := errors.Join(opts.SetMatchETag(d.info.ETag), opts.SetRange(d.off, d.end-1)); err != nil {
		return err
	}
	return d.b.retry(d.ctx, "get "+string(d.info.Key), func(int) error {
		raw, o, _, err := d.b.client.Load().GetObject(d.ctx, d.b.loc.Bucket, d.b.object(d.info.Key), opts)
		switch {
		case err != nil && errors.Is(meaning(err), errPrecondition):
			return layout.ErrChanged
		case err != nil:
			return meaning(err)
		case o.ETag != d.info.ETag || o.Size != d.end-d.off:
			raw.Close()
			return layout.ErrChanged
		}
		d.raw = raw
		return nil
	})
}

// Close ends the request.
func (d *download) Close() error { return d.raw.Close() }
