package s3

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	partsInFlight = 4
	// abortTimeout is for tidying up when the caller has given up already.
	abortTimeout = 30 * time.Second
	// begunAnew is how often an upload that vanished on its way is begun anew.
	begunAnew = 3
)

// putParts stores a NAR in parts. Nothing is there before they are joined, so a
// crash leaves at most parts, which the next Put of this NAR takes up.
//
// Stores differ in when they look at the conditions: MinIO also at the start,
// Amazon only when the parts are joined, some never. The name of a NAR says what
// its bytes are, so that two who put it agree anyway: that is why no other kind
// of object goes up in parts.
func (b *Bucket) putParts(ctx context.Context, u *upload) error {
	size := u.body.Size()
	if size > maxObject {
		return fmt.Errorf("%d bytes are more than an object store takes", size)
	}
	// The parts that S3 allows are many, but not any number.
	step := max(b.loc.PartSize, minPartSize, (size+maxParts-1)/maxParts)
	step = (step + mib - 1) / mib * mib

	if u.conditional() {
		err := b.retry(ctx, "put "+string(u.key), func(int) error { return b.look(ctx, u, false) })
		if err != nil {
			return err
		}
	}
	for n := 1; ; n++ {
		p, err := b.resumeParts(ctx, u, step)
		if err == nil {
			err = p.send(ctx)
		}
		if err == nil {
			err = p.join(ctx)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errNoUpload) && n < begunAnew:
			// Someone else may have joined the same parts.
			if err := b.retry(ctx, "put "+string(u.key), func(int) error { return b.look(ctx, u, true) }); err != nil {
				return settled(err)
			}
			if !u.opts.IfAbsent {
				if have, err := b.stat(ctx, u.key); err == nil && have.Size == size {
					return nil
				}
			}
		default:
			if p != nil {
				p.giveUp(ctx, err)
			}
			return err
		}
	}
}

// parts is an upload in parts, begun by us or before us.
type parts struct {
	b     *Bucket
	u     *upload
	id    string
	step  int64 // bytes of each part but the last
	ours  bool  // begun by us: no other process counts on it
	parts []minio.CompletePart
}

// resumeParts takes up the latest upload of this NAR that was left, or begins
// one.
func (b *Bucket) resumeParts(ctx context.Context, u *upload, step int64) (*parts, error) {
	count := (u.body.Size() + step - 1) / step
	p := &parts{b: b, u: u, step: step, parts: make([]minio.CompletePart, count)}
	if have := b.leftParts(ctx, u.key); have != nil {
		p.id = have.UploadID
		kept, err := p.take(ctx)
		if err != nil {
			return nil, err
		}
		if kept > 0 {
			b.log.Info("upload resumed", "key", string(u.key), "parts", kept, "of", count)
			return p, nil
		}
	}
	p.ours = true
	err := b.retry(ctx, "put "+string(u.key), func(int) error {
		return b.inManner(func(m manner) (err error) {
			opts := b.headers(u.key)
			if m.checksum() {
				// Asks for parts with checksums, and keeps them.
				opts.UserMetadata = map[string]string{"X-Amz-Checksum-Algorithm": "SHA256"}
			}
			// An upload whose answer was lost stays behind empty. Leftovers finds it.
			p.id, err = b.client.Load().NewMultipartUpload(ctx, b.loc.Bucket, b.object(u.key), opts)
			return classify(err)
		})
	})
	return p, err
}

// take keeps the parts of the upload that are as ours would be. The store says
// what it has; our bytes are hashed, which is quicker than sending them.
func (p *parts) take(ctx context.Context) (kept int, err error) {
	object := p.b.object(p.u.key)
	for marker := 0; ; {
		result, err := p.b.client.Load().ListObjectParts(ctx, p.b.loc.Bucket, object, p.id, marker, pageSize)
		if err != nil {
			// A client that may put need not be allowed to list parts.
			p.b.log.Debug("parts cannot be listed", "key", string(p.u.key), "error", classify(err))
			return kept, ctx.Err()
		}
		for _, have := range result.ObjectParts {
			i := have.PartNumber - 1
			if i < 0 || i >= len(p.parts) {
				continue
			}
			offset, size := p.stretch(i)
			if have.Size != size || have.ChecksumSHA256 == "" {
				continue
			}
			sum, err := hash(p.u.body, offset, size)
			if err != nil {
				return 0, err
			}
			if base64.StdEncoding.EncodeToString(sum[:]) == have.ChecksumSHA256 {
				p.parts[i] = minio.CompletePart{PartNumber: have.PartNumber, ETag: have.ETag, ChecksumSHA256: have.ChecksumSHA256}
				kept++
			}
		}
		if !result.IsTruncated || result.NextPartNumberMarker <= marker {
			return kept, nil
		}
		marker = result.NextPartNumberMarker
	}
}

// stretch is where part i of the parts lies in the body.
func (p *parts) stretch(i int) (offset, size int64) {
	offset = int64(i) * p.step
	return offset, min(p.step, p.u.body.Size()-offset)
}

// send uploads what is missing, and meanwhile checks that the whole is what its
// name says: the store knows the hashes of the parts alone (I1).
func (p *parts) send(ctx context.Context) error {
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(partsInFlight + 1)
	workers.Go(p.u.check)
	for i := range p.parts {
		if p.parts[i].PartNumber != 0 {
			continue
		}
		workers.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return p.sendPart(ctx, i)
		})
	}
	return workers.Wait()
}

func (p *parts) sendPart(ctx context.Context, i int) error {
	offset, size := p.stretch(i)
	sum, err := hash(p.u.body, offset, size)
	if err != nil {
		return err
	}
	return p.b.retry(ctx, fmt.Sprintf("put part %d of %s", i+1, p.u.key), func(int) error {
		return p.b.inManner(func(m manner) error {
			part := minio.CompletePart{PartNumber: i + 1}
			opts := minio.PutObjectPartOptions{Sha256Hex: hex.EncodeToString(sum[:]), DisableContentSha256: true}
			if m.checksum() {
				part.ChecksumSHA256 = base64.StdEncoding.EncodeToString(sum[:])
				opts.CustomHeader = http.Header{"X-Amz-Checksum-Sha256": {part.ChecksumSHA256}}
			}
			body := newPart(p.u.body, offset, size)
			done, err := p.b.client.Load().PutObjectPart(ctx, p.b.loc.Bucket, p.b.object(p.u.key), p.id, i+1, body, size, opts)
			if err != nil {
				return body.judge(err)
			}
			part.ETag = done.ETag
			p.parts[i] = part
			return nil
		})
	})
}

// join makes one object of the parts, if the conditions hold.
func (p *parts) join(ctx context.Context) error {
	var opts minio.PutObjectOptions
	p.u.condition(&opts)
	err := p.b.retry(ctx, "put "+string(p.u.key), func(n int) error {
		_, err := p.b.client.Load().CompleteMultipartUpload(ctx, p.b.loc.Bucket, p.b.object(p.u.key), p.id, p.parts, opts)
		err = p.b.unconditional(p.u, classify(err))
		if n > 1 && (p.u.refused(err) || errors.Is(err, errNoUpload)) {
			// An earlier attempt may have joined them.
			have, statErr := p.b.stat(ctx, p.u.key)
			if statErr == nil && have.Size == p.u.body.Size() {
				return nil
			}
		}
		return p.u.outcome(err)
	})
	return err
}

// giveUp removes the parts if no run can go on with them, and if no other process
// may be about to. An upload that broke off for a reason that may pass is kept.
func (p *parts) giveUp(ctx context.Context, cause error) {
	again, _ := transient(cause)
	if !p.ours || p.id == "" || again || ctx.Err() != nil || errors.Is(cause, errNoUpload) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if err := p.b.abort(ctx, p.u.key, p.id); err != nil {
		p.b.log.Warn("parts of a failed upload remain", "key", string(p.u.key), "error", err)
	}
}

func (b *Bucket) abort(ctx context.Context, key layout.Key, id string) error {
	err := b.retry(ctx, "remove parts of "+string(key), func(int) error {
		return classify(b.client.Load().AbortMultipartUpload(ctx, b.loc.Bucket, b.object(key), id))
	})
	if errors.Is(err, errNoUpload) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
