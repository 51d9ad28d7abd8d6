package s3

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// lateAtMost is how long after it was signed a request may take effect where the store
// does not compare the date. Nothing is known then but that a connection does not last
// for ever.
const lateAtMost = 25 * time.Hour

// Fence is what this process knows of removals from the bucket.
func (b *Bucket) Fence() *layout.Fence { return &b.fence }

// ProveFence finds out whether the store keeps to conditions, and for how long after
// it was signed a request may take effect. It costs two requests more than Prove.
func (b *Bucket) ProveFence(ctx context.Context) (layout.FenceProof, error) {
	can, err := b.Prove(ctx)
	if err != nil {
		return layout.FenceProof{}, err
	}
	proof := layout.FenceProof{Conditions: can.SeveralWriters(), Late: lateAtMost}
	if b.anonymous {
		return proof, nil
	}
	// A good signature of now shows that the other one is refused for its date.
	for _, age := range []time.Duration{0, stale} {
		taken, err := b.headDated(ctx, time.Now().Add(-age))
		if err != nil {
			return proof, fmt.Errorf("probe %s: %w", b.loc, err)
		}
		if taken != (age == 0) {
			return proof, nil
		}
	}
	proof.Late = lateUsually
	return proof, nil
}

// headDated asks for an object that there is none of, with a signature of a moment,
// and reports whether the store takes it.
func (b *Bucket) headDated(ctx context.Context, at time.Time) (taken bool, err error) {
	err = b.retry(ctx, "probe the clock", func(int) error {
		c := b.client.Load()
		// The library knows where the bucket is, and signs with the time of now alone.
		target, err := c.Presign(ctx, http.MethodHead, b.loc.Bucket, b.object(layout.Key(layout.ProbePrefix+rand.Text())), time.Minute, nil)
		if err != nil {
			return classify(err)
		}
		target.RawQuery = ""
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, target.String(), nil)
		if err != nil {
			return err
		}
		used := b.present()
		sign(req, used.AccessKeyID, used.SecretAccessKey, used.SessionToken, c.region, at.UTC())
		resp, err := b.guard.RoundTrip(req)
		if err != nil {
			return &url.Error{Op: "HEAD", URL: target.String(), Err: err}
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		switch {
		case resp.StatusCode >= 500:
			return &refusal{status: resp.StatusCode}
		case resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusBadRequest, resp.StatusCode == http.StatusUnauthorized:
			taken = false
		default:
			taken = true
		}
		return nil
	})
	return taken, err
}

// sign signs a request without a body and without a query, dated as told.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
func sign(req *http.Request, id, secret, session, region string, at time.Time) {
	empty := sha256.Sum256(nil)
	day, moment := at.Format("20060102"), at.Format("20060102T150405Z")
	headers := [][2]string{{"host", req.URL.Host}, {"x-amz-content-sha256", hex.EncodeToString(empty[:])}, {"x-amz-date", moment}}
	if session != "" {
		headers = append(headers, [2]string{"x-amz-security-token", session})
	}
	var canonical, names []string
	for _, h := range headers {
		canonical, names = append(canonical, h[0]+":"+h[1]+"\n"), append(names, h[0])
		if h[0] != "host" {
			req.Header.Set(h[0], h[1])
		}
	}
	signed := strings.Join(names, ";")
	request := sha256.Sum256([]byte(strings.Join([]string{req.Method, req.URL.EscapedPath(), "", strings.Join(canonical, ""), signed, hex.EncodeToString(empty[:])}, "\n")))
	scope := strings.Join([]string{day, region, "s3", "aws4_request"}, "/")
	key := []byte("AWS4" + secret)
	for _, part := range []string{day, region, "s3", "aws4_request", strings.Join([]string{"AWS4-HMAC-SHA256", moment, scope, hex.EncodeToString(request[:])}, "\n")} {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	req.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", id, scope, signed, hex.EncodeToString(key)))
}
