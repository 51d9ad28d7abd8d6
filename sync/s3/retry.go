package s3

import (
	"context"
	"errors"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

const (
	attempts       = 8
	retryDelay     = 200 * time.Millisecond
	maxRetryDelay  = 20 * time.Second
	throttleFactor = 5
	stall          = 5 * time.Minute
)

// retry calls try, with the number of the attempt, until it succeeds, fails for
// good or failed often enough.
func (b *Bucket) retry(ctx context.Context, what string, try func(n int) error) error {
	var used credentials.Value
	err := b.attempts().Do(ctx, what, func(n int) error {
		used = b.present()
		return try(n)
	}, func(ctx context.Context, err error) netx.Verdict { return b.judge(ctx, err, used) })
	if err != nil && ctx.Err() == nil {
		err = b.explain(err)
	}
	return err
}

func (b *Bucket) attempts() *netx.Retry {
	return &netx.Retry{Attempts: b.loc.Attempts, Delay: b.loc.RetryDelay, Most: maxRetryDelay, Log: b.log}
}

// judge tells whether a request that was made with some credentials may succeed
// when it is made again.
func (b *Bucket) judge(ctx context.Context, err error, used credentials.Value) netx.Verdict {
	again, throttled := transient(err)
	v := netx.Verdict{Again: again}
	if throttled {
		v.Factor = throttleFactor
	}
	if errors.Is(err, ErrCredentials) {
		v.Again = b.renew(ctx, used)
	}
	return v
}
