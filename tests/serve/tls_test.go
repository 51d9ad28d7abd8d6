//go:build real

package serve_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// An authority signs certificates for the loopback.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate, for NIX_SSL_CERT_FILE
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, file: filepath.Join(t.TempDir(), "ca.pem")}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// issue writes a certificate with this serial number, and its key.
func (a *authority) issue(t testing.TB, serial int64, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", secret)
	// As in a Nix store, where secrets and certificates often come from.
	for _, file := range []string{certFile, keyFile} {
		if err := os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Over TLS, and so over HTTP/2, all is as without; and a certificate that is
// renewed is used without a restart.
func TestTLS(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca.issue(t, 100, cert, key)
	s := start(t, "--tls-cert", cert, "--tls-key", key)
	for _, nix := range peers.Nixes(t) {
		secure := fresh(t, nix)
		cmd := secure.Command(t, "nix", copyArgs(t, s.upload("compression=zstd"), somePaths(t)...)...)
		cmd.Env = append(cmd.Env, "NIX_SSL_CERT_FILE="+ca.file)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("Nix %s: %v\n%s", nix.Version, err, out)
		}
		root := peers.StoreRoot(t)
		cmd = secure.Command(t, "nix", append([]string{"copy", "--from", s.URL, "--to", root, "--option", "trusted-public-keys", s.Key.Public}, somePaths(t)...)...)
		cmd.Env = append(cmd.Env, "NIX_SSL_CERT_FILE="+ca.file)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("Nix %s: %v\n%s", nix.Version, err, out)
		}
	}
	verify(t, s.Tree, s.Key.Public)

	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	serial := func() int64 {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		response, _ := do(t, transport, "GET", s.URL+"/nix-cache-info", nil)
		if response.ProtoMajor != 2 || response.StatusCode != 200 {
			t.Errorf("%s, status %d", response.Proto, response.StatusCode)
		}
		return response.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 100 {
		t.Errorf("the certificate is number %d", got)
	}
	ca.issue(t, 101, cert, key)
	until(t, "the new certificate is used", func() bool { return serial() == 101 })
	if err := os.WriteFile(cert, []byte("half of"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	if got := serial(); got != 101 {
		t.Errorf("with a broken file, the certificate is number %d", got)
	}
	ca.issue(t, 102, cert, key)
	until(t, "the repaired certificate is used", func() bool { return serial() == 102 })
	s.allowErrors(t, "the certificate stays as it was")
}
