package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/nixstatic/nixstatic/layout"
)

// Capabilities are what a store was seen to do.
type Capabilities struct {
	IfAbsent bool // of several Puts with IfAbsent, exactly one succeeds
	IfMatch  bool // of several Puts with the same IfMatch, exactly one succeeds
	Checksum bool // bytes that do not have the SHA-256 announced are refused
}

// SeveralWriters reports whether several processes may write at the same time.
func (c Capabilities) SeveralWriters() bool { return c.IfAbsent && c.IfMatch }

// Prove finds out what the store keeps to, once in the life of a Bucket. If the
// store keeps to no conditions, this process checks them from then on, which is
// right as long as no other process writes (AssumeOneWriter); Alone is told so.
func (b *Bucket) Prove(ctx context.Context) (Capabilities, error) {
	b.proving.Lock()
	defer b.proving.Unlock()
	if b.proved != nil {
		return *b.proved, nil
	}
	can, err := b.Probe(ctx)
	if err != nil {
		return can, err
	}
	b.proved = &can
	if !can.SeveralWriters() {
		b.AssumeOneWriter()
		if !b.loc.OneWriter && b.loc.Alone != nil {
			b.loc.Alone()
		}
	}
	return can, nil
}

// An unproved Bucket leaves each condition to the store.
type unproved struct{ *Bucket }

func (b unproved) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	return b.putPlain(ctx, &upload{key: key, body: body, opts: opts})
}

// racers is how many writers a probe sets against each other. A store that
// looks first and writes then lets more than one of them pass.
const racers = 8

// Probe finds out what the store keeps to, with a private object that it removes
// again: 23 requests, where the store keeps to all. It returns an error if it may
// not write, and none if the store lacks something.
func (b *Bucket) Probe(ctx context.Context) (Capabilities, error) {
	var c Capabilities
	key := layout.Key(layout.ProbePrefix + rand.Text())
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		if err := b.Delete(ctx, key); err != nil {
			b.log.Warn("an object of a probe remains", "error", err)
		}
	}()
	// A plain Put must work, even if the store lacks all else.
	if err := b.putWhole(ctx, probe(key, "first", layout.PutOptions{})); err != nil {
		return c, b.about("probe", key, err)
	}
	var err error
	if c.IfAbsent, c.IfMatch, err = layout.KeepsConditions(ctx, unproved{b}, key, layout.Bytes([]byte("second"))); err != nil {
		return c, b.about("probe", key, err)
	}
	if c.IfMatch {
		have, err := b.Stat(ctx, key)
		if err != nil {
			return c, err
		}
		if c.IfMatch, err = b.probeRace(ctx, key, layout.PutOptions{IfMatch: have.ETag}, layout.ErrChanged, racers, 1); err != nil {
			return c, b.about("probe", key, err)
		}
	}
	if err := b.Delete(ctx, key); err != nil {
		return c, err
	}
	if c.IfAbsent {
		if c.IfAbsent, err = b.probeRace(ctx, key, layout.PutOptions{IfAbsent: true}, fs.ErrExist, racers, 1); err != nil {
			return c, b.about("probe", key, err)
		}
	}
	wrong := probe(key, "not what was announced", layout.PutOptions{})
	wrong.sum = layout.Hash{1}
	err = b.send(ctx, wrong)
	c.Checksum = mismatch(err)
	if err != nil && !c.Checksum {
		return c, b.about("probe", key, err)
	}
	return c, nil
}

func probe(key layout.Key, text string, opts layout.PutOptions) *upload {
	u := &upload{key: key, body: layout.Bytes([]byte(text)), opts: opts}
	u.sum, _ = hash(u.body, 0, u.body.Size()) // of memory
	return u
}

// probeRace has so many put at once, all with the same condition. It reports
// whether as many succeeded as should, and the others failed as they should.
func (b *Bucket) probeRace(ctx context.Context, key layout.Key, opts layout.PutOptions, want error, racers, winners int) (bool, error) {
	var won, lost atomic.Int32
	errs := make([]error, racers)
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			u := probe(key, string(bytes.Repeat([]byte{byte('a' + i)}, 10)), opts)
			u.token = rand.Text()
			err := b.putWhole(ctx, u)
			switch {
			case err == nil:
				won.Add(1)
			case errors.Is(err, want):
				lost.Add(1)
			case unknown(err):
				// The store says itself that it cannot.
			default:
				errs[i] = err
			}
		})
	}
	all.Wait()
	return int(won.Load()) == winners && int(lost.Load()) == racers-winners, errors.Join(errs...)
}

// AssumeOneWriter has conditions checked here, by looking before writing, for a
// store that does not keep to them. No other process may write to the tree then:
// two would undo each other's work without noticing.
func (b *Bucket) AssumeOneWriter() { b.alone.Store(true) }

// putAlone is a Put with a condition that the store cannot check.
func (b *Bucket) putAlone(ctx context.Context, u *upload) error {
	b.writer.Lock()
	defer b.writer.Unlock()
	if err := b.retry(ctx, fmt.Sprintf("look at %s", u.key), func(int) error { return b.look(ctx, u, false) }); err != nil {
		return err
	}
	return b.putPlain(ctx, &upload{key: u.key, body: u.body})
}
