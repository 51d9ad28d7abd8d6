package s3

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/minio/minio-go/v7"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	// From this size on, a Put with IfAbsent looks before it sends: a request
	// more costs less than a body that is refused at its end.
	lookFirst = 8 * mib
	// tokenName is metadata that tells our own lost Put from one of someone else.
	tokenName = "Nixstatic-Put"
)

// An upload is one Put, over all its attempts.
type upload struct {
	key   layout.Key
	body  layout.Body
	opts  layout.PutOptions
	sum   layout.Hash // of the body
	token string      // "" where equal bytes are as good as ours
}

// Put stores an object. It is there, and durable, when the store has answered.
func (b *Bucket) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	if b.loc.ProveFirst {
		if _, err := b.Prove(ctx); err != nil {
			return err
		}
	}
	if err := b.put(ctx, &upload{key: key, body: body, opts: opts}); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New(err.Error()) // of something else than the object
		}
		return b.about("put", key, err)
	}
	return nil
}

func (b *Bucket) put(ctx context.Context, u *upload) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if u.key.Kind() == layout.KindForeign {
		return errors.New("not a key of a binary cache")
	}
	if u.conditional() {
		switch {
		case b.alone.Load():
			return b.putAlone(ctx, u)
		case b.refuses.Load():
			return &noConditions{}
		}
	}
	return b.putPlain(ctx, u)
}

func (b *Bucket) putPlain(ctx context.Context, u *upload) error {
	size := u.body.Size()
	if u.key.Kind().Immutable() && size > b.loc.PartThreshold {
		return b.putParts(ctx, u)
	}
	if size > maxSinglePut {
		return fmt.Errorf("%d bytes are more than an object store takes at once", size)
	}
	if err := u.prepare(); err != nil {
		return err
	}
	return b.putWhole(ctx, u)
}

// prepare finds out the hash of the bytes.
func (u *upload) prepare() error {
	var err error
	if u.conditional() && !(u.opts.IfAbsent && u.key.Immutable()) {
		u.token = rand.Text()
	}
	if sum, ok := u.promised(); ok {
		// The store compares: bytes that are not those of the name do not get in.
		u.sum = sum
		return nil
	}
	u.sum, err = hash(u.body, 0, u.body.Size())
	return err
}

// promised returns the hash that the bytes are to have: the one that is known of
// them, or that is in the name of a NAR.
func (u *upload) promised() (layout.Hash, bool) {
	if s, ok := u.body.(layout.Summed); ok {
		return s.Sum(), true
	}
	sum, err := u.key.FileHash()
	return sum, err == nil
}

// hash reads a stretch of a body.
func hash(body layout.Body, offset, size int64) (layout.Hash, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(body, offset, size))
	switch {
	case err != nil:
		return layout.Hash{}, unreadable(err)
	case n != size:
		return layout.Hash{}, unreadable(io.ErrUnexpectedEOF)
	}
	return layout.Hash(h.Sum(nil)), nil
}

// putWhole stores the object with one request.
func (b *Bucket) putWhole(ctx context.Context, u *upload) error {
	err := b.retry(ctx, "put "+string(u.key), func(n int) error {
		if n > 1 && u.conditional() || u.opts.IfAbsent && u.body.Size() >= lookFirst {
			if err := b.look(ctx, u, n > 1); err != nil {
				return err
			}
		}
		err := b.send(ctx, u)
		if n > 1 && u.refused(err) {
			// An earlier attempt may have happened after we looked.
			if err := b.look(ctx, u, true); err != nil {
				return err
			}
		}
		return u.outcome(err)
	})
	return settled(err)
}

// send makes the request, more than once if the store does not take it as it is.
func (b *Bucket) send(ctx context.Context, u *upload) error {
	err := b.inManner(func(m manner) error { return b.sendAs(ctx, u, m) })
	return u.judge(b.unconditional(u, err))
}

func (b *Bucket) sendAs(ctx context.Context, u *upload, m manner) error {
	opts := b.headers(u.key)
	opts.UserMetadata = map[string]string{}
	if m.checksum() {
		opts.UserMetadata["X-Amz-Checksum-Sha256"] = base64.StdEncoding.EncodeToString(u.sum[:])
	}
	if u.token != "" {
		opts.UserMetadata[tokenName] = u.token
	}
	u.condition(&opts)
	body := newPart(u.body, 0, u.body.Size())
	answer, err := b.client.Load().PutObject(ctx, b.loc.Bucket, b.object(u.key), body, u.body.Size(), "", m.payload(u.sum), opts)
	if err == nil {
		b.learn(m, u.sum, answer)
	}
	return body.judge(err)
}

// judge tells a body that never fitted its name from one that was damaged on
// the way.
func (u *upload) judge(err error) error {
	if !mismatch(err) || !u.key.Kind().Immutable() {
		return err
	}
	if wrong := u.check(); wrong != nil {
		return wrong
	}
	return err
}

// check compares the bytes of a NAR with its name.
func (u *upload) check() error {
	want, ok := u.promised()
	if !ok {
		return nil
	}
	got, err := hash(u.body, 0, u.body.Size())
	if err == nil && got != want {
		err = &bodyError{fmt.Errorf("its bytes hash to %s, which is not its name", got.Nix32())}
	}
	return err
}

// headers are those that the kind of the key asks for.
func (b *Bucket) headers(key layout.Key) minio.PutObjectOptions {
	return minio.PutObjectOptions{
		ContentType:          key.ContentType(),
		CacheControl:         key.CacheControl(),
		StorageClass:         b.loc.StorageClass,
		DisableContentSha256: true, // not in signed chunks: the whole is signed
	}
}

func (u *upload) conditional() bool { return u.opts != layout.PutOptions{} }

// condition has the store decide.
func (u *upload) condition(opts *minio.PutObjectOptions) {
	if u.opts.IfAbsent {
		opts.SetMatchETagExcept("*")
	}
	if u.opts.IfMatch != "" {
		opts.SetMatchETag(u.opts.IfMatch)
	}
}

// refused reports that the condition did not hold. Some stores answer 404 where
// there is nothing to match.
func (u *upload) refused(err error) bool {
	return u.conditional() && errors.Is(err, errPrecondition) || u.opts.IfMatch != "" && errors.Is(err, fs.ErrNotExist)
}

// outcome says what a failed condition means to the caller.
func (u *upload) outcome(err error) error {
	switch {
	case !u.refused(err):
		return err
	case u.opts.IfMatch != "":
		return layout.ErrChanged
	}
	return fs.ErrExist
}

// errDone says that the object is there as wanted.
var errDone = errors.New("done")

// settled turns errDone into success.
func settled(err error) error {
	if err == errDone {
		return nil
	}
	return err
}

// look compares what is there with what the conditions ask for, and if there
// was an attempt before, with what that may have left. It returns nil if the
// Put is to go on, errDone if it has happened, else why it cannot.
func (b *Bucket) look(ctx context.Context, u *upload, again bool) error {
	have, err := b.stat(ctx, u.key)
	switch {
	case errors.Is(err, fs.ErrNotExist) && u.opts.IfMatch != "":
		return layout.ErrChanged
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case again && u.token != "" && have.UserMetadata[tokenName] == u.token:
		return errDone
	case again && u.token == "" && u.opts.IfAbsent && have.Size == u.body.Size():
		return errDone // its name says that these are the bytes
	case u.opts.IfAbsent:
		return fs.ErrExist
	case u.opts.IfMatch != "" && have.ETag != u.opts.IfMatch:
		return layout.ErrChanged
	}
	return nil
}
