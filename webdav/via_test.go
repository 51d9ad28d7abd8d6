package webdav

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

// A server knows its own questions, and passes on nothing of a header but the names of
// servers.
func TestVia(t *testing.T) {
	own, other := NewServerName(), NewServerName()
	h := &Handler{cfg: Config{Name: own}}
	many := strings.TrimSuffix(strings.Repeat("1.1 "+other+", ", maxHops), ", ")
	for _, test := range []struct {
		name  string
		via   []string
		loops bool
		next  string
	}{
		{"none", nil, false, "1.1 " + own},
		{"another server", []string{"1.1 " + other}, false, "1.1 " + other + ", 1.1 " + own},
		{"proxies between", []string{"1.1 varnish (x), 1.1 " + other, "2 cdn.example.org"}, false, "1.1 " + other + ", 1.1 " + own},
		{"itself", []string{"1.1 " + other + ", 1.1 " + own}, true, ""},
		{"too many", []string{many}, true, ""},
		{"made up", []string{"nixstatic-x, nixstatic-" + strings.Repeat("A", 26), strings.Repeat("z", 9000)}, false, "1.1 " + own},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, loops := h.via(t.Context(), &http.Request{Header: http.Header{"Via": test.via}})
			if loops != test.loops {
				t.Errorf("loops: %v", loops)
			}
			if got := ViaHeader(WithVia(context.Background(), ctx), own); !loops && got != test.next {
				t.Errorf("%q goes on, want %q", got, test.next)
			}
		})
	}
}
