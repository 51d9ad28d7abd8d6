package httpcache

import (
	"net/url"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/sync/webtest"
)

func TestOpenHTTPURL(t *testing.T) {
	for raw, want := range map[string]string{
		"https://cache.example.org":                   "https://cache.example.org/",
		"HTTPS://cache.example.org/":                  "https://cache.example.org/",
		"http://user:s3cret@[::1]:8080/a/b//?x=y#top": "http://[::1]:8080/a/b/",
		"http://h/a%2Fb%20c":                          "http://h/a%2Fb%20c/",
		"http://h//double":                            "http://h//double/",
		"ftp://h":                                     "",
		"https:///path":                               "",
		"https://:8080":                               "",
		"https:opaque":                                "",
		"cache.example.org":                           "",
		"http://user:s3cret@h:port":                   "",
		"http://user:s3cret@h/\x00":                   "",
	} {
		h, err := Open(raw, Options{Netrc: webtest.NoCredentials(t)})
		switch {
		case want == "":
			webtest.WantError(t, err, "cache URL")
		case err != nil || h.URL() != want:
			t.Errorf("%s: %v, want %s", raw, err, want)
		}
	}
}

// TestResolveURL holds what the Nix versions agree on, and what is refused.
func TestResolveURL(t *testing.T) {
	base := mustParse(t, "https://cache.example.org/sub/")
	for ref, want := range map[string]string{
		"nar/x.nar.xz":               "https://cache.example.org/sub/nar/x.nar.xz",
		"nar/x.nar.xz?hash=a&b=c":    "https://cache.example.org/sub/nar/x.nar.xz?hash=a&b=c",
		"nar/a%20b%2Fc":              "https://cache.example.org/sub/nar/a%20b%2Fc",
		"nar//x":                     "https://cache.example.org/sub/nar//x",
		"../x":                       "https://cache.example.org/x",
		"/x":                         "https://cache.example.org/x",
		"?query":                     "https://cache.example.org/sub/?query",
		"nar/x#part":                 "https://cache.example.org/sub/nar/x",
		"http://other.example.org/x": "http://other.example.org/x",
		"https://u:p@other.org/x":    "https://other.org/x",
		"//other.org/x":              "https://other.org/x",
		"file:///etc/passwd":         "",
		"data:text/plain,x":          "",
		"https:x":                    "",
		"https://":                   "",
		"nar/\x7f":                   "",
		"%zz":                        "",
		"s3://u:s3cret@bucket/x":     "",
	} {
		u, err := resolveURL(base, ref)
		switch {
		case want == "":
			webtest.WantError(t, err, "resolve URL")
		case err != nil || u.String() != want:
			t.Errorf("%s: %v, %v, want %s", ref, u, err, want)
		}
	}
}

// FuzzResolveURL checks that no narinfo leads anywhere but to a web server,
// and that none gets at the credentials.
func FuzzResolveURL(f *testing.F) {
	for _, ref := range []string{
		"nar/1a4n8qcdbqgwxc88b9bdfayrv11z632cdf4f1ibyd04cr748ifx4.nar.xz",
		"nar/x.nar.xz?hash=1a4n8qcdbqgwxc88b9bdfayrv11z632cdf4f1ibyd04cr748ifx4",
		"https://user:password@other.example.org:8443/a%2Fb?c=d#e", "//cache.example.org:443/x", "../..//x", "HTTP://CACHE.example.org",
		"file:///etc/passwd", "https:opaque", "nar/a b", "https://cache.example.org@evil.example/", "\\\\host\\share", "//00000000000:0000:",
	} {
		f.Add(ref)
	}
	base, err := url.Parse("https://cache.example.org/sub/")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		u, err := resolveURL(base, ref)
		if err != nil {
			return
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q leads to %q", ref, u)
		}
		again, err := url.Parse(u.String())
		if err != nil {
			t.Fatalf("%q leads to %q: %v", ref, u, err)
		}
		if sameOrigin(u, base) != sameOrigin(again, base) {
			t.Fatalf("%q: %q has two origins", ref, u)
		}
		if sameOrigin(u, base) && !strings.EqualFold(u.Host, "cache.example.org") && !strings.EqualFold(u.Host, "cache.example.org:443") &&
			!strings.EqualFold(u.Host, "cache.example.org:") {
			t.Fatalf("%q: credentials go to %q", ref, u.Host)
		}
	})
}
