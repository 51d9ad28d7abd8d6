//go:build real

package serve_test

import (
	"io"
	"net/http"
	"testing"
)

// get asks for a URL, and returns the status and the body.
func get(t testing.TB, url string, header ...string) (int, string) {
	t.Helper()
	response, body := do(t, http.DefaultTransport, "GET", url, nil, header...)
	return response.StatusCode, body
}

// do makes one request, and follows nothing.
func do(t testing.TB, transport http.RoundTripper, method, url string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}
