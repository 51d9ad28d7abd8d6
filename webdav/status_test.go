package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// Every refusal has a status that every Nix takes for final, and one line.
func TestRefusals(t *testing.T) {
	for _, reason := range inbox.Reasons() {
		status, ok := refusals[reason]
		if !ok {
			t.Errorf("%s has no status", reason)
		}
		for _, c := range []client{{nix: true}, {nix: true, resends: true}} {
			for _, sent := range []bool{false, true} {
				f := failureOf(&inbox.Refusal{Reason: reason, Msg: "no"}).soften(c, sent)
				if f.status < 400 || f.status == 408 || f.status == 429 || f.status >= 500 || f.result != string(reason) {
					t.Errorf("%s to %+v: %d, result %q", reason, c, f.status, f.result)
				}
			}
		}
		if f := failureOf(&inbox.Refusal{Reason: reason}).soften(client{resends: true}, true); f.status != status {
			t.Errorf("%s to a WebDAV client: %d, want %d", reason, f.status, status)
		}
	}
}

// Trouble of ours is 5xx, and nothing that makes an old Nix hang.
func TestTroubleByClient(t *testing.T) {
	tests := []struct {
		err       error
		agent     string
		sent      bool
		want      int
		wantClass string
	}{
		{syscall.EIO, "", true, 503, ResultStorage},
		{syscall.EIO, "curl/8.23.0 Nix/2.34.8", true, 503, ResultStorage},
		{syscall.EIO, "curl/8.23.0 Nix/2.33.2", true, 503, ResultStorage},
		{syscall.EIO, "curl/8.23.0 Nix/2.33.1", true, 501, ResultStorage},
		{syscall.EIO, "curl/8.23.0 Nix/2.33.1", false, 503, ResultStorage},
		{syscall.EIO, "curl/8.14.1 Nix/2.26.3", true, 501, ResultStorage},
		{syscall.EIO, "curl/7.88.1 Nix/2.8.0", true, 501, ResultStorage},
		{syscall.EIO, "curl/7.88.1 Nix/2.3", true, 501, ResultStorage},
		{syscall.EIO, "Nix/2.36.0pre20260822_88b09c6", true, 503, ResultStorage},
		{syscall.EIO, "Nix/3.0", true, 503, ResultStorage},
		{syscall.EIO, "Nix/x", true, 501, ResultStorage},
		{syscall.EIO, "curl/8 Lix/2.93.0", true, 501, ResultStorage},
		{syscall.EIO, "FunNix/1", true, 503, ResultStorage},
		{syscall.ENOSPC, "", true, 507, ResultStorage},
		{syscall.ENOSPC, "curl/8.23.0 Nix/2.34.8", true, 507, ResultStorage},
		{syscall.ENOSPC, "curl/8.14.1 Nix/2.26.3", true, 501, ResultStorage},
		{&inbox.BodyError{Err: errStalled}, "", true, 408, ResultBroken},
		{&inbox.BodyError{Err: errStalled}, "curl/7.88.1 Nix/2.8.0", true, 400, ResultBroken},
		{&inbox.BodyError{Err: io.ErrUnexpectedEOF}, "", true, 400, ResultBroken},
		{&inbox.BodyError{Err: fmt.Errorf("x: %w", errEncoding)}, "", true, 400, ResultEncoding},
		{&AuthError{Status: 429}, "curl/8.14.1 Nix/2.26.3", true, 403, ""},
		{&AuthError{Status: 429}, "curl/8.14.1 Nix/2.26.3", false, 429, ""},
		{&AuthError{Status: 429}, "curl/8.23.0 Nix/2.34.8", true, 429, ""},
		{&AuthError{Status: 200}, "", true, 403, ""},
		{context.Canceled, "", true, 400, ResultBroken},
	}
	for _, test := range tests {
		r := &http.Request{Header: http.Header{"User-Agent": {test.agent}}}
		f := failureOf(test.err).soften(clientOf(r), test.sent)
		if f.status != test.want || f.result != test.wantClass {
			t.Errorf("%v to %q, sent %v: %d %q, want %d %q", test.err, test.agent, test.sent, f.status, f.result, test.want, test.wantClass)
		}
	}
}

// Trouble with the storage is not the client's fault, and not absence.
func TestUploadTrouble(t *testing.T) {
	mem := treetest.NewMem(t)
	h := newHandler(Config{Tree: mem, Auth: AllowAll, Log: quiet}, fakeInbox{Lister: mem, take: func(layout.Key, io.Reader) (inbox.Outcome, error) {
		return 0, errors.New("SECRET-PATH: input/output error")
	}})
	r := &rig{Server: newServer(t, h)}
	for agent, want := range map[string]int{oldNix: 501, newNix: 503, "User-Agent: x": 503} {
		got := r.do(t, "PUT", "/upload/nix-cache-info", strings.NewReader("x"), agent)
		if got.Status != want || strings.Contains(got.Body, "SECRET") || got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %q", agent, got.Status, got.Body)
		}
	}
}
