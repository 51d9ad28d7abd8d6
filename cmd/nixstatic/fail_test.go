package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/lock"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/sync/export"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/mirror"
	"github.com/nixstatic/nixstatic/sync/s3"
)

// TestFail: each error becomes one exit code, its own words, and advice that
// fits it best.
func TestFail(t *testing.T) {
	done, cancel := context.WithCancel(t.Context())
	cancel()
	within := func(err error) error { return fmt.Errorf("do something: %w", err) }
	for _, test := range []struct {
		name  string
		ctx   context.Context
		err   error
		code  int
		error string // "" for nothing at all
		hint  string // what it begins with, "" for none
	}{
		{"nothing", t.Context(), nil, 0, "", ""},
		{"nothing, after a signal", done, nil, 0, "", ""},
		{"problems", t.Context(), within(errProblems), exitProblems, "", ""},
		{"a signal", done, within(context.Canceled), exitInterrupted, "interrupted", "what was finished is in the cache"},
		{"another error after a signal", done, within(fs.ErrExist), exitFailed, "do something: file already exists", ""},
		{"cancelled without a signal", t.Context(), context.Canceled, exitFailed, "context canceled", ""},
		{"usage", t.Context(), usage("--level %d", 7), exitUsage, "--level 7", "nixstatic COMMAND --help"},
		{"usage within", t.Context(), within(usage("odd")), exitUsage, "do something: odd", "nixstatic COMMAND --help"},
		{"usage with a hint", t.Context(), withHint(usage("odd"), "do %s", "this"), exitUsage, "odd", "do this"},
		{"a hint before the usual one", t.Context(), withHint(within(syscall.ENOSPC), "empty the bin"), exitFailed, "do something: no space left on device", "empty the bin"},
		{"a hint on nothing", t.Context(), withHint(nil, "never"), 0, "", ""},
		{"incomplete", t.Context(), within(&mirror.IncompleteError{}), exitFailed, "do something: ", "nixstatic verify --deep"},
		{"no source", t.Context(), within(mirror.ErrNoSource), exitFailed, "do something: ", "check the path"},
		{"not listable", t.Context(), within(layout.ErrNotListable), exitFailed, "do something: ", "leave out --delete"},
		{"no bucket", t.Context(), within(s3.ErrNoBucket), exitFailed, "do something: ", "make the bucket"},
		{"untrusted", t.Context(), within(&export.UntrustedError{}), exitFailed, "do something: ", "name the key with --trusted-public-key"},
		{"a reference that is missing", t.Context(), within(&export.MissingReferenceError{Reference: "abc-x"}), exitFailed, "do something: ", "leave out --no-closure, or export abc-x first"},
		{"another hash", t.Context(), within(&layout.HashMismatch{}), exitFailed, "do something: ", "the source is damaged"},
		{"no NAR", t.Context(), within(&nar.SyntaxError{}), exitFailed, "do something: ", "the NAR is damaged"},
		{"a full disk", t.Context(), within(syscall.ENOSPC), exitFailed, "do something: no space left on device", "make room"},
		{"a quota", t.Context(), within(syscall.EDQUOT), exitFailed, "do something: disk quota exceeded", "make room"},
		{"the clock", t.Context(), within(s3.ErrClock), exitFailed, "do something: ", "set the clock"},
		{"no credentials", t.Context(), within(s3.ErrUnsigned), exitFailed, "do something: ", "give credentials"},
		{"wrong credentials", t.Context(), within(s3.ErrCredentials), exitFailed, "do something: ", "the credentials are wrong"},
		{"no right", t.Context(), within(s3.ErrDenied), exitFailed, "do something: ", "the credentials are good"},
		{"a password", t.Context(), within(httpcache.ErrRefused), exitFailed, "do something: ", "check the user name"},
		{"a page", t.Context(), fmt.Errorf("%w: the token up is good for upload, not for admin", httpcache.ErrRefused), exitFailed, "refused by the server: permission denied: the token up is good for upload, not for admin", "pages for browsers need a token with the scope admin"},
		{"no such host", t.Context(), within(&net.DNSError{Name: "h"}), exitFailed, "do something: ", "check the address"},
		{"no answer", t.Context(), within(syscall.ECONNREFUSED), exitFailed, "do something: connection refused", "check the address"},
		{"a file of another", t.Context(), within(fs.ErrPermission), exitFailed, "do something: permission denied", "check who owns the file"},
		{"read-only", t.Context(), within(syscall.EROFS), exitFailed, "do something: read-only file system", "the file system is mounted read-only"},
		{"a lock", t.Context(), &lock.DirError{Path: "/srv/cache", Err: syscall.EACCES}, exitFailed, "lock /srv/cache: permission denied", "this command changes the cache, and locks it meanwhile: run it as the user whose files those in /srv/cache are"},
		{"a lock, read-only", t.Context(), fmt.Errorf("adopt: %w", &lock.DirError{Path: "/srv/cache", Err: syscall.EROFS}), exitFailed, "adopt: lock /srv/cache: read-only file system", "the file system is mounted read-only: mount it for writing"},
		{"a policy of another", t.Context(), aboutPolicy(within(fs.ErrPermission)), exitFailed, "do something: permission denied", "check who owns the file"},
		{"anything", t.Context(), errors.New("odd"), exitFailed, "odd", ""},
		{"a name that turns text around", t.Context(), errors.New("a\u202eb\u2066c\u2028"), exitFailed, "a\uFFFDb\uFFFDc\uFFFD", ""},
		{"a name that steers terminals", t.Context(), withHint(errors.New("a\x1b[2Jb\u009bc\x7f"), "rm \x07"), exitFailed, "a\uFFFD[2Jb\uFFFDc\uFFFD", "rm \uFFFD"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stderr strings.Builder
			if code := fail(test.ctx, &stderr, test.err); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			message, hint, hinted := strings.Cut(strings.TrimSuffix(stderr.String(), "\n"), "\nnixstatic: hint: ")
			if want := "nixstatic: error: " + test.error; test.error == "" && stderr.Len() > 0 || !strings.HasPrefix(message, want) && test.error != "" {
				t.Errorf("it says %q, want %q", message, want)
			}
			if hinted != (test.hint != "") || !strings.HasPrefix(hint, test.hint) {
				t.Errorf("the hint is %q, want %q", hint, test.hint)
			}
		})
	}
}
