package s3

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// errUnsigned says that there is nothing to sign with.
var errUnsigned = errors.New("there are no credentials to sign with")

// Presign returns a URL at which anyone may GET an object for some time, a week
// at most, with the rights of these credentials. Whether the object exists is
// not looked at, and nothing is asked of the store.
func (b *Bucket) Presign(ctx context.Context, key layout.Key, valid time.Duration) (string, error) {
	if b.anonymous {
		return "", b.about("presign", key, errUnsigned)
	}
	u, err := b.client.Load().PresignedGetObject(ctx, b.loc.Bucket, b.object(key), valid, nil)
	if err != nil {
		return "", b.about("presign", key, netx.WithoutURL(err))
	}
	return u.String(), nil
}

// WebURL returns the URL below which the objects are for clients without
// credentials, if Prepare or an operator let everyone read.
func (b *Bucket) WebURL(ctx context.Context) (string, error) {
	signed, err := b.Presign(ctx, layout.CacheInfoKey, time.Minute)
	if err != nil {
		return "", err
	}
	plain, _, _ := strings.Cut(signed, "?")
	return strings.TrimSuffix(plain, "/"+string(layout.CacheInfoKey)), nil
}
