package s3

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestUnreachable(t *testing.T) {
	loc := location(t, "http://127.0.0.1:1")
	loc.Attempts = 2
	_, err := Open(t.Context(), loc)
	if err == nil || errors.Is(err, ErrNoBucket) || !strings.Contains(err.Error(), "http://127.0.0.1:1") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Open: %v", err)
	}
	// A service that is none: what it answers is about no bucket of ours.
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	if _, err := Open(t.Context(), location(t, s.URL)); err == nil {
		t.Error("Open of something else succeeded")
	}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	loc = location(t, secure.URL)
	loc.Attempts = 50 // not tried: it would be the same
	if _, err := Open(t.Context(), loc); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("Open of an unknown authority: %v", err)
	}
}
