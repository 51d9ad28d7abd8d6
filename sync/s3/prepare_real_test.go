//go:build real

package s3

import (
	"io"
	"net/http"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7/pkg/lifecycle"

	"github.com/nixstatic/nixstatic/layout"
)

// These are a key of each public kind, and private ones that were made to slip
// through a pattern of the others.
var (
	publicKeys = []layout.Key{
		"nix-cache-info", "index.html", "style.css", "favicon.ico", "favicon.svg", "robots.txt",
		"0123456789abcdfghijklmnpqrsvwxyz.narinfo", "zyxwvsrqpnmlkjihgfdcba9876543210.ls",
		"nar/0000000000000000000000000000000000000000000000000000.nar.zst",
		"log/00000000000000000000000000000000-we?ird=x+1.0.drv",
		"debuginfo/0123456789abcdef0123456789abcdef01234567.debug",
		"realisations/sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef!out.doi",
		"build-trace-v2/00000000000000000000000000000000-x.drv/out.doi",
	}
	privateKeys = []layout.Key{".nixstatic/x", ".nixstatic/aaaaaaaaaaaaaaaaaaaaa.narinfo",
		".nixstatic/index.html", ".nixstatic/nar/x", ".nixstatic/a.ls"}
)

func TestPublic(t *testing.T) {
	for _, prefix := range []string{"", "pre/fix"} {
		loc := location(t, server.Endpoint)
		loc.Prefix = prefix
		b := connected(t, loc)
		done, err := b.Prepare(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Prepared{Created: true, Public: true, CleansUp: true, Unasked: true}, done); diff != "" {
			t.Errorf("Prepare (-want +got):\n%s", diff)
		}
		for _, key := range append(publicKeys, privateKeys...) {
			if err := b.putPlain(t.Context(), &upload{key: unhashed(key), body: layout.Bytes([]byte("x"))}); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range publicKeys {
			if key.Kind() == layout.KindNAR {
				key = unhashed(key)
			}
			if got := anonymously(t, b, http.MethodGet, key); got != 200 {
				t.Errorf("anyone's GET of %s: %d", b.object(key), got)
			}
			if got := anonymously(t, b, http.MethodPut, key); got != 403 {
				t.Errorf("anyone's PUT of %s: %d", b.object(key), got)
			}
			if got := anonymously(t, b, http.MethodDelete, key); got != 403 {
				t.Errorf("anyone's DELETE of %s: %d", b.object(key), got)
			}
		}
		for _, key := range privateKeys {
			if got := anonymously(t, b, http.MethodGet, key); got != 403 {
				t.Errorf("anyone's GET of %s: %d", b.object(key), got)
			}
		}
		if got := anonymously(t, b, http.MethodGet, ""); got != 403 {
			t.Errorf("anyone's listing: %d", got)
		}
		// A second time changes nothing.
		if again, err := b.Prepare(t.Context(), true); err != nil || again.Created {
			t.Errorf("Prepare again: %+v, %v", again, err)
		}
	}
}

// unhashed gives a NAR the name of the bytes that the test puts.
func unhashed(key layout.Key) layout.Key {
	if key.Kind() == layout.KindNAR {
		return narOf([]byte("x"))
	}
	return key
}

func anonymously(t *testing.T, b *Bucket, method string, key layout.Key) int {
	t.Helper()
	// As an URL has it: Go would leave the plus and the question mark alone.
	escaped := strings.NewReplacer("?", "%3F", "+", "%2B", "=", "%3D", "!", "%21", ":", "%3A").Replace(b.object(key))
	req, err := http.NewRequestWithContext(t.Context(), method, server.Endpoint+"/"+b.loc.Bucket+"/"+escaped, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// The patterns match what is public, whatever the length of the policy, and
// nothing private. path.Match is stricter than the store about slashes, so each
// pattern's beginning is looked at too.
func TestPublicPatterns(t *testing.T) {
	for _, key := range publicKeys {
		if !key.Kind().Public() {
			t.Errorf("%s is not public", key)
		}
	}
	for _, pattern := range layout.PublicPatterns() {
		start, _, _ := strings.Cut(pattern, "*")
		if start == "" || strings.HasPrefix(layout.PrivatePrefix, start) || strings.HasPrefix(start, layout.PrivatePrefix) {
			t.Errorf("%s matches private keys", pattern)
		}
		if _, err := path.Match(pattern, ""); err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
	}
	b := connected(t, Location{Bucket: strings.Repeat("b", 63), Prefix: strings.Repeat("p", 100), Options: Options{Endpoint: server.Endpoint}})
	text, err := addStatement("", b.statement())
	if err != nil || len(text) > 20<<10 {
		t.Errorf("the policy has %d bytes, Amazon takes 20 kB: %v", len(text), err)
	}
}

// TestCleansUp stands in for a store that knows the rule, which MinIO does not.
func TestCleansUp(t *testing.T) {
	m := between(t, server.Endpoint)
	var rules string
	m.instead = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case !r.URL.Query().Has("lifecycle"):
			return false
		case r.Method == http.MethodPut:
			text, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			rules = string(text)
		case rules == "":
			answer(w, 404, "NoSuchLifecycleConfiguration")
		default:
			io.WriteString(w, rules)
		}
		return true
	}
	loc := location(t, m.URL)
	for _, prefix := range []string{"", "", "pre/fix", "pre/fix"} {
		loc.Prefix = prefix
		done, err := connected(t, loc).Prepare(t.Context(), false)
		if err != nil || !done.CleansUp || done.Unwilling != "" {
			t.Errorf("Prepare below %q: %+v, %v", prefix, done, err)
		}
	}
	rule := func(id, prefix string) string {
		return "<Rule><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>" +
			"<ID>" + id + "</ID><Filter><Prefix>" + prefix + "nar/</Prefix></Filter><Status>Enabled</Status></Rule>"
	}
	wanted := "<LifecycleConfiguration>" + rule("nixstatic-unfinished-uploads", "") + rule("nixstatic-unfinished-uploads-prefix", "pre/fix/") + "</LifecycleConfiguration>"
	if diff := cmp.Diff(wanted, rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// Rules of others are left to them.
func TestRulesOfOthers(t *testing.T) {
	b := create(t, location(t, server.Endpoint))
	config := lifecycle.NewConfiguration()
	config.Rules = []lifecycle.Rule{{ID: "theirs", Status: "Enabled", RuleFilter: lifecycle.Filter{Prefix: "tmp/"},
		Expiration: lifecycle.Expiration{Days: 1}}}
	if err := b.client.Load().SetBucketLifecycle(t.Context(), b.loc.Bucket, config); err != nil {
		t.Fatal(err)
	}
	done, err := b.Prepare(t.Context(), false)
	if err != nil || done.CleansUp || !strings.Contains(done.Unwilling, "rules of its own") {
		t.Errorf("Prepare: %+v, %v", done, err)
	}
	have, err := b.client.Load().GetBucketLifecycle(t.Context(), b.loc.Bucket)
	if err != nil || len(have.Rules) != 1 || have.Rules[0].ID != "theirs" {
		t.Errorf("rules: %+v, %v", have, err)
	}
}
