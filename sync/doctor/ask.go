package doctor

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/sync/internal/netx"
	"github.com/nixstatic/nixstatic/sync/nixconf"
)

// nixEncodings is what Nix 2.14 to 2.33 says that it takes, with every request.
const nixEncodings = "zstd, br, gzip, deflate, bzip2, xz"

const (
	maxHops   = 10
	patience  = 30 * time.Second
	maxAnswer = 1 << 20 // bytes of an answer that are read
)

// An asker asks a web server as Nix does, and hides nothing of the answers.
type asker struct {
	base   *url.URL
	agent  string
	client *http.Client
	login  nixconf.Login
	asked  func()
}

func newAsker(base *url.URL, agent, certificates string, asked func()) *asker {
	u := *base
	u.User, u.Fragment = nil, ""
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/")+"/", ""
	transport := netx.NewTransport(netx.Config{Stall: patience, Connections: 4,
		CAFile: cmp.Or(os.Getenv("NIX_SSL_CERT_FILE"), certificates)})
	return &asker{base: &u, agent: agent, asked: asked, client: &http.Client{
		Transport: transport, Timeout: 2 * patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// An answer is what a server says in the end.
type answer struct {
	status int
	header http.Header
	length int64 // announced, -1 if it is not
	body   []byte
	whole  bool     // body is all of it
	at     *url.URL // where redirects led to
	hops   int
	local  time.Time // when it came
	until  time.Time // end of the server's certificate, zero without TLS
}

// encoding returns what the answer is compressed with on top.
func (a *answer) encoding() string {
	return strings.Trim(strings.ToLower(strings.Join(a.header.Values("Content-Encoding"), ",")), ", ")
}

func (a *answer) isPage() bool {
	start := strings.ToLower(strings.TrimSpace(string(a.body[:min(len(a.body), 256)])))
	return strings.HasPrefix(start, "<!doctype") || strings.HasPrefix(start, "<html") ||
		strings.HasPrefix(a.header.Get("Content-Type"), "text/html")
}

// get asks for a name in the cache, with header lines such as "Range: bytes=0-0".
func (w *asker) get(ctx context.Context, name string, header ...string) (*answer, error) {
	return w.ask(ctx, http.MethodGet, name, maxAnswer, header...)
}

// ask asks for a name, follows redirects, and reads at most some bytes.
func (w *asker) ask(ctx context.Context, method, name string, most int64, header ...string) (*answer, error) {
	ref, err := url.Parse(name)
	if err != nil {
		return nil, err
	}
	at := w.base.ResolveReference(ref)
	for hops := 0; ; hops++ {
		if w.asked != nil {
			w.asked()
		}
		req, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("User-Agent", w.agent)
		req.Header.Set("Accept-Encoding", nixEncodings)
		for _, line := range header {
			key, value, _ := strings.Cut(line, ": ")
			req.Header.Set(key, value)
		}
		if w.login.Password != "" && at.Scheme == w.base.Scheme && at.Host == w.base.Host {
			req.SetBasicAuth(w.login.Name, w.login.Password)
		}
		resp, err := w.client.Do(req)
		if err != nil {
			var u *url.Error
			if errors.As(err, &u) {
				err = u.Err
			}
			return nil, err
		}
		a := &answer{status: resp.StatusCode, header: resp.Header, length: resp.ContentLength, at: at, hops: hops, local: time.Now()}
		if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
			a.until = resp.TLS.PeerCertificates[0].NotAfter
		}
		a.body, err = io.ReadAll(io.LimitReader(resp.Body, most+1))
		resp.Body.Close()
		if a.whole = err == nil && int64(len(a.body)) <= most; !a.whole {
			a.body = a.body[:min(int64(len(a.body)), most)]
		}
		next, locErr := resp.Location()
		if resp.StatusCode/100 != 3 || locErr != nil {
			return a, nil
		}
		if hops == maxHops || next.Scheme != "http" && next.Scheme != "https" || at.Scheme == "https" && next.Scheme == "http" {
			return a, nil
		}
		next.User = nil
		at = next
	}
}

// stream asks for a name, follows redirects, and leaves the body to the caller.
func (w *asker) stream(ctx context.Context, at *url.URL) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", w.agent)
	req.Header.Set("Accept-Encoding", "identity")
	if w.login.Password != "" && at.Scheme == w.base.Scheme && at.Host == w.base.Host {
		req.SetBasicAuth(w.login.Name, w.login.Password)
	}
	resp, err := (&http.Client{Transport: w.client.Transport}).Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, errors.New(resp.Status)
	}
	return resp.Body, nil
}
