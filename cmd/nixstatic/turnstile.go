package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/webdav"
)

// maxQueue is how long an upload waits for its turn. Nix gives up after five
// minutes without an answer.
const maxQueue = 4 * time.Minute

// A turnstile bounds how many NARs are taken at the same time, since each may
// need the memory of a decompressor. Those beyond wait, unread, for their turn.
// Who may not upload is told so at once, and takes nobody's place.
type turnstile struct {
	webdav.Authenticator
	places chan struct{}
	wait   time.Duration
}

func newTurnstile(auth webdav.Authenticator, n int) *turnstile {
	return &turnstile{auth, make(chan struct{}, n), maxQueue}
}

// place is where a request keeps whether it has a place.
type place struct{ taken bool }

type placeKey struct{}

// Authorize asks who may, and then waits for a place.
func (t *turnstile) Authorize(r *http.Request, need webdav.Scope) (string, error) {
	token, err := t.Authenticator.Authorize(r, need)
	if err != nil {
		return "", err
	}
	p, _ := r.Context().Value(placeKey{}).(*place)
	if p == nil || r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/nar/") {
		return token, nil
	}
	select {
	case t.places <- struct{}{}:
		p.taken = true
		return token, nil
	default:
	}
	timer := time.NewTimer(t.wait)
	defer timer.Stop()
	select {
	case t.places <- struct{}{}:
		p.taken = true
		return token, nil
	case <-r.Context().Done():
		return "", r.Context().Err()
	case <-timer.C:
		return "", &webdav.AuthError{Status: http.StatusTooManyRequests, RetryAfter: 10 * time.Second,
			Msg: fmt.Sprintf("%d NARs are being uploaded, and none was finished for %s: try again later", cap(t.places), t.wait)}
	}
}

// handler gives places back when requests end.
func (t *turnstile) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			p := &place{}
			defer func() {
				if p.taken {
					<-t.places
				}
			}()
			r = r.WithContext(context.WithValue(r.Context(), placeKey{}, p))
		}
		next.ServeHTTP(w, r)
	})
}
