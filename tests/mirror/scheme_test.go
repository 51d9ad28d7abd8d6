//go:build real

package mirror_test

import (
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout/treetest"
)

// TestSchemes: a server that speaks HTTPS and is asked in plain HTTP, or the
// other way round, or whose certificate is not trusted, is told with what to do.
func TestSchemes(t *testing.T) {
	w := newWorld(t)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	secure.StartTLS()
	defer secure.Close()
	host, tls := strings.TrimPrefix(w.store.Endpoint, "http://"), strings.TrimPrefix(secure.URL, "https://")
	keys := []string{"AWS_ACCESS_KEY_ID=" + w.store.AccessKey, "AWS_SECRET_ACCESS_KEY=" + w.store.SecretKey}
	bundle := append([]string{"AWS_CA_BUNDLE=/none/bundle", "NIX_SSL_CERT_FILE=/none/bundle"}, keys...)
	for url, c := range map[string]struct {
		env         []string
		error, hint string
	}{
		"s3://some-bucket?endpoint=" + host:                            {keys, "HTTP response to HTTPS client", "'s3://some-bucket?endpoint=" + host + "&scheme=http'"},
		"s3://some-bucket?endpoint=https://" + host:                    {keys, "HTTP response to HTTPS client", "'s3://some-bucket?endpoint=http://" + host + "'"},
		"s3://some-bucket?scheme=https&endpoint=" + host:               {keys, "HTTP response to HTTPS client", "'s3://some-bucket?scheme=http&endpoint=" + host + "'"},
		"s3://some-bucket?scheme=http&endpoint=" + tls:                 {keys, "speaks HTTPS", "scheme=https"},
		"s3://some-bucket?endpoint=" + tls:                             {keys, "certificate", "AWS_CA_BUNDLE"},
		"https://" + host + "/":                                        {nil, "HTTP response to HTTPS client", "http://"},
		"http://" + tls + "/":                                          {nil, "HTTP request to an HTTPS server", "https://"},
		"https://" + tls + "/":                                         {nil, "certificate", "NIX_SSL_CERT_FILE"},
		"https://" + strings.Replace(tls, "127.0.0.1", "localhost", 1): {[]string{"NIX_SSL_CERT_FILE=" + certificate(t, secure)}, "certificate is valid for", "another name"},
		"https://" + tls + "/bundle":                                   {bundle, "/none/bundle", "unset it"},
		"s3://other-bucket?endpoint=" + tls:                            {bundle, "/none/bundle", "unset it"},
	} {
		r := w.bare(t, c.env, "sync", url, filepath.Join(t.TempDir(), "new")).Refused(t, c.error)
		wantHint(t, r, c.hint)
		if strings.HasPrefix(url, "s3://") {
			wantHint(t, w.bare(t, c.env, "init", url).Refused(t, c.error), c.hint)
		}
	}
}

// certificate writes that of a server to a file.
func certificate(t *testing.T, s *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestBrokenSettings: settings that nothing asks for may be broken.
func TestBrokenSettings(t *testing.T) {
	w := newWorld(t)
	bucketURL, _ := w.bucket(t)
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("neither a section\nnor a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"AWS_ACCESS_KEY_ID=" + w.store.AccessKey, "AWS_SECRET_ACCESS_KEY=" + w.store.SecretKey,
		"AWS_CONFIG_FILE=" + broken, "AWS_SHARED_CREDENTIALS_FILE=" + broken, "AWS_CA_BUNDLE=/none", "NIX_SSL_CERT_FILE=" + broken,
		"SSL_CERT_FILE=/none", "NETRC=" + broken, "HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=:", "AWS_ENDPOINT_URL=no URL", "AWS_PROFILE=none"}
	w.bare(t, env, "sync", w.dir, bucketURL).Want(t, 0)
	w.bare(t, env, "sync", bucketURL, filepath.Join(t.TempDir(), "new")).Want(t, 0)
	w.bare(t, env, "verify", "--deep", bucketURL).Want(t, 0)
	served := httptest.NewServer(http.FileServer(http.Dir(w.dir)))
	defer served.Close()
	top := string(treetest.Record(t, treetest.OpenDir(t, w.dir), "app").Path)
	w.bare(t, env, "export", "--from", served.URL, "--no-check-sigs", "--to", filepath.Join(t.TempDir(), "export"), top).Want(t, 0)
}
