package s3

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// A request without an answer may succeed later, unless the reason lasts: net/http
// has few types for reasons.
func TestNoAnswer(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		for name, c := range map[string]struct {
			err   error
			again bool
		}{
			"closed while it was kept":  {errors.New("http: server closed idle connection"), true},
			"closed while it was used":  {io.ErrUnexpectedEOF, true},
			"refused":                   {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
			"a name server that is off": {&net.DNSError{IsTimeout: true}, true},
			"a name that is not there":  {&net.DNSError{IsNotFound: true}, false},
			"another scheme":            {http.ErrSchemeMismatch, false},
			"an unknown authority":      {x509.UnknownAuthorityError{}, false},
		} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				transport := netx.NewTransport(netx.Config{})
				transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, c.err }
				_, err := (&http.Client{Transport: &guard{transport}}).Get(scheme + "://store.example.org/bucket/key")
				err = classify(err)
				if again, throttled := transient(err); again != c.again || throttled {
					t.Errorf("%v: again %v, throttled %v; want again %v", err, again, throttled, c.again)
				}
				if u := (*url.Error)(nil); errors.As(err, &u) {
					t.Errorf("%v names the URL", err)
				}
			})
		}
	}
}
