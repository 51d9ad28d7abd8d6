package s3

import (
	"net/http"

	"github.com/nixstatic/nixstatic/layout"
)

// A punctual transport does not send what was signed too late, see layout.SignBy.
// It is below the signer: a process that slept between the two sends nothing
// either. The date of the signature, which the store compares, bounds the rest.
type punctual struct{ http.RoundTripper }

func (p *punctual) RoundTrip(req *http.Request) (*http.Response, error) {
	if layout.Late(req.Context()) {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, layout.ErrLate
	}
	return p.RoundTripper.RoundTrip(req)
}
