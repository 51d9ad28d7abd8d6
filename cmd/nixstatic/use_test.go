package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/urfave/cli/v2"
)

// A cache that does not answer is waited for, but not for long, and an end that came from
// elsewhere is not taken for that.
func TestUsePatiently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		u := &using{c: cli.NewContext(cli.NewApp(), nil, &cli.Context{Context: ctx}), url: "https://cache.example.org"}
		silent := func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		began := time.Now()
		if err := u.patiently(silent); err == nil || !strings.Contains(err.Error(), "cache.example.org does not answer") || time.Since(began) != patience {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		broken := errors.New("broken")
		if err := u.patiently(func(context.Context) error { return broken }); err != broken {
			t.Errorf("%v, want %v", err, broken)
		}
		go cancel()
		if err := u.patiently(silent); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "answer") {
			t.Errorf("interrupted: %v", err)
		}
	})
}
