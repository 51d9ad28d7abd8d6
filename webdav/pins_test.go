package webdav

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
)

// pinned remembers what it is told.
type pinned struct {
	seen []string
	err  error
}

func (p *pinned) Pin(_ context.Context, name string, paths []layout.StorePath) error {
	for _, path := range paths {
		p.seen = append(p.seen, name+" "+string(path))
	}
	return p.err
}

// Only the scope admin pins: a pin keeps what it names for ever.
func TestPutPin(t *testing.T) {
	pins := &pinned{}
	auth := allow(Admin)
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.Pins, c.Auth = pins, &auth })
	one := strings.Repeat("a", 32) + "-one"
	text := "/nix/store/" + one + "\r\n\n/nix/store/" + strings.Repeat("b", 32) + "-two\n"
	put := func(path, body string, want int) {
		t.Helper()
		if got := r.do(t, "PUT", path, strings.NewReader(body)); got.Status != want {
			t.Errorf("PUT %s: %d %s, want %d", path, got.Status, got.Body, want)
		}
	}
	put("/upload/pins/hosts/a", text, http.StatusCreated)
	if diff := cmp.Diff([]string{"hosts/a " + one, "hosts/a " + strings.Repeat("b", 32) + "-two"}, pins.seen); diff != "" {
		t.Errorf("pinned (-want +got):\n%s", diff)
	}
	put("/pins/a", text, http.StatusMethodNotAllowed)
	put("/upload/pins/a", "hello", http.StatusUnprocessableEntity)
	put("/upload/pins/a", "/nix/store/../etc", http.StatusUnprocessableEntity)
	put("/upload/pins/a", "\n", http.StatusUnprocessableEntity)
	put("/upload/pins/a", strings.Repeat("/nix/store/"+one+"\n", layout.MaxNarInfo/40), http.StatusRequestEntityTooLarge)
	pins.err = &PinError{Msg: "it is not there"}
	put("/upload/pins/a", text, http.StatusConflict)
	pins.err = errors.New("trouble")
	put("/upload/pins/a", text, http.StatusServiceUnavailable)
	auth, pins.seen = allow(Upload), nil
	put("/upload/pins/a", text, http.StatusForbidden)
	if len(pins.seen) > 0 {
		t.Error("an upload token pins")
	}
}
