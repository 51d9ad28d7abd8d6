package oidc

import (
	"strings"
	"testing"
)

func TestParseRule(t *testing.T) {
	const start = "issuer=https://i.example.org,audience=a,"
	for text, want := range map[string]string{
		"":                                "want NAME=VALUE",
		"audience=a,claim:b=c,scope=read": "no issuer",
		"issuer=https://i.example.org,scope=read,claim:b=c":                "no audience",
		start + "scope=upload":                                             "everyone at the issuer",
		start + "scope=upload,claim:repository=*":                          "everyone at the issuer",
		start + "scope=upload,claim:repository=**/*":                       "everyone at the issuer",
		start + "claim:b=c":                                                "no scope",
		start + "claim:b=c,scope=all":                                      "scope",
		start + "claim:b=c,scope=read,ttl=1s":                              "ttl",
		start + "claim:b=c,scope=read,ttl=48h":                             "ttl",
		start + "claim:b=c,scope=read,root=a b":                            "root",
		start + "claim:b=c,scope=read,root={":                              "root",
		start + "claim:b=c,scope=read,claims=x":                            "choose of",
		start + "claim:b=c,claim:b=d,scope=read":                           "twice",
		start + "issuer=https://j.example.org,claim:b=c,scope=read":        "twice",
		"issuer=http://i.example.org,audience=a,claim:b=c,scope=read":      "https",
		"issuer=https://u:p@i.example.org,audience=a,claim:b=c,scope=read": "want a URL",
		"issuer=https://i.example.org?x=1,audience=a,claim:b=c,scope=read": "want a URL",
	} {
		if _, err := ParseRule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	r, err := ParseRule(start + "claim:b=c,scope=read")
	if err != nil {
		t.Fatal(err)
	}
	other, err := ParseRule(start + "claim:b=d,scope=read")
	if err != nil || r.ID() == other.ID() {
		t.Errorf("two rules have one ID: %v", err)
	}
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"acme/*", "acme/app", true}, {"acme/*", "acme/", true}, {"acme/*", "acme/a/b", false}, {"acme/**", "acme/a/b", true},
		{"*", "", true}, {"", "", true}, {"", "a", false}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "axxbyy", false},
		{"refs/heads/*", "refs/heads/release/1", false}, {"refs/heads/**", "refs/heads/release/1", true}, {"**/x", "a/b/x", true},
		{"[a]?", "[a]?", true}, {"[a]?", "ab", false},
	} {
		if got := match(test.pattern, test.text); got != test.want {
			t.Errorf("%q of %q: %v", test.pattern, test.text, got)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	f.Add("issuer=https://i.example.org,audience=a,claim:b=c*,scope=read,root={b}/*", "c", `{"b":"cc"}`)
	f.Fuzz(func(t *testing.T, text, value, _ string) {
		r, err := ParseRule(text)
		if err != nil {
			return
		}
		if len(r.Claims) == 0 || len(r.Scopes) == 0 || r.Audience == "" || r.Issuer == "" {
			t.Errorf("%+v", r)
		}
		for _, c := range r.Claims {
			match(c.Pattern, value)
		}
	})
}

func TestNameOf(t *testing.T) {
	long := "repo:acme/" + strings.Repeat("a", 50)
	names := map[string]string{}
	for _, subject := range []string{"", "a b", "a_b", "a\"b", "a~b", long, long + "b", long + "c", long + "c "} {
		name := nameOf(subject)
		if other, ok := names[name]; ok {
			t.Errorf("%q and %q are both %q", subject, other, name)
		}
		names[name] = subject
		if strings.ContainsAny(name, "\", \n") || len(name) > 90 {
			t.Errorf("%q is not a name", name)
		}
	}
	if name := nameOf(long); name != "oidc:"+long {
		t.Errorf("%q has a name of its own: %q", long, name)
	}
}
