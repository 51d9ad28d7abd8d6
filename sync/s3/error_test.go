package s3

import (
	"errors"
	"net/url"
	"testing"
)

// Errors of net/http about connections have no type, and are wrapped in the URL,
// which is dropped: the rest has to be known as passing all the same.
func TestClosedConnections(t *testing.T) {
	for text, want := range map[string]bool{
		"http: server closed idle connection":                                true,
		"net/http: HTTP/1.x transport connection broken: write: broken pipe": true,
		"http2: client connection lost":                                      true,
		"http2: Transport received Server's graceful shutdown GOAWAY":        true,
		"http: server gave HTTP response to HTTPS client":                    false,
		"unsupported protocol scheme \"ftp\"":                                false,
	} {
		err := withoutURL(&url.Error{Op: "Put", URL: "http://store.example.org/bucket/key", Err: errors.New(text)})
		if again, throttled := transient(err); again != want || throttled {
			t.Errorf("%s: again %v, throttled %v; want again %v", text, again, throttled, want)
		}
	}
}
