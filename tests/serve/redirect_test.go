//go:build real

package serve_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// Every Nix follows to where the NARs are, whether that is for everyone or for
// those alone whom the server lets in; no byte of a NAR passes through it.
func TestRedirect(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	newest(t).Output(t, "init", bucket)
	filler := startOn(t, bucket, nil)
	push(t, peers.Newest(t), filler.upload(), somePaths(t)...)
	filler.stop(t)

	private := startOn(t, bucket, filler, "--redirect", "presigned", "--private")
	newest(t).Output(t, "init", "--public", bucket)
	public := startOn(t, bucket, filler, "--redirect", store.web(bucket))
	for name, s := range map[string]*server{"presigned": private, "public": public} {
		t.Run(name, func(t *testing.T) {
			from := s.URL
			if s == private {
				from = strings.TrimSuffix(s.upload(), "/upload")
			}
			for _, nix := range peers.Nixes(t) {
				before := store.nars.Load()
				pull(t, fresh(t, nix), from, s.Key.Public, somePaths(t)...)
				if n := store.nars.Load() - before; n != 6 {
					t.Errorf("Nix %s read %d NARs from the store, want 6", nix.Version, n)
				}
			}
			for _, line := range s.metric(t, `nixstatic_http_response_body_bytes_total{class="nar"}`) {
				if !strings.HasSuffix(line, " 0") {
					t.Errorf("bytes of NARs passed through the server: %s", line)
				}
			}
			// The upload URL never redirects, and requests for anything but NARs
			// are answered here.
			auth := []string{"Authorization", "Bearer " + s.Token}
			_, text := get(t, s.URL+"/"+hashPart(somePaths(t)[0])+".narinfo", auth...)
			nar := lines(text, "URL")[0]
			for path, want := range map[string]int{"/upload/" + nar: 200, "/" + nar: 302, "/nix-cache-info": 200} {
				response, _ := do(t, http.DefaultTransport, "GET", s.URL+path, nil, auth...)
				if response.StatusCode != want {
					t.Errorf("GET %s: %s, want %d", path, response.Status, want)
				}
			}
			if response, _ := do(t, http.DefaultTransport, "HEAD", s.URL+"/"+nar, nil, auth...); response.StatusCode != 200 || response.ContentLength <= 0 {
				t.Errorf("HEAD of a NAR: %s, %d bytes", response.Status, response.ContentLength)
			}
			push(t, fresh(t, peers.Old(t)), s.upload("compression=none"), named(t, "libaudit-common-")...)
		})
	}
	if status, _ := get(t, private.URL+"/nar/"+strings.Repeat("0", 52)+".nar"); status != 401 {
		t.Errorf("whoever may not read is given a signed URL: status %d", status)
	}
	verify(t, bucket, filler.Key.Public)
}

// If clients may not read the bucket, the operator is told at the start.
func TestRedirectElsewhere(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	newest(t).Output(t, "init", bucket)
	s := startOn(t, bucket, nil, "--redirect", store.web(bucket)) // which is not public
	if !strings.Contains(s.log.String(), "cannot be read where --redirect sends readers") {
		t.Errorf("no warning:\n%s", s.log)
	}
}
