package signer

import "testing"

// TestCheck: a good signature is found beside bad ones, and a bad one by a trusted
// name is named beside good ones.
func TestCheck(t *testing.T) {
	sign := func(key SecretKey, text string) string {
		sig, err := key.Sign(text)
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	key := func(name string) SecretKey {
		key, err := Generate(name)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	one, two, second, strange := key("one"), key("two"), key("one"), key("strange")
	trusted := Trusted{one.Public(), two.Public(), second.Public()} // two keys of one name
	for name, c := range map[string]struct {
		sigs []string
		good bool
		bad  string
	}{
		"none":                     {},
		"good":                     {sigs: []string{sign(one, "a")}, good: true},
		"good of the other text":   {sigs: []string{sign(one, "b")}, good: true},
		"by the other of a name":   {sigs: []string{sign(second, "a")}, good: true},
		"of another text":          {sigs: []string{sign(one, "c")}, bad: "one"},
		"bad beside good":          {sigs: []string{sign(two, "c"), sign(one, "a")}, good: true, bad: "two"},
		"good beside bad":          {sigs: []string{sign(one, "a"), sign(two, "c")}, good: true, bad: "two"},
		"by a key nobody trusts":   {sigs: []string{sign(strange, "a")}},
		"by such a key and a good": {sigs: []string{sign(strange, "c"), sign(two, "a")}, good: true},
		"malformed":                {sigs: []string{"one:AAAA"}, bad: "one"},
		"no signature at all":      {sigs: []string{"", ":", "x"}},
	} {
		if good, bad := trusted.Check(c.sigs, "a", "b"); good != c.good || bad != c.bad {
			t.Errorf("%s: %v, %q, want %v, %q", name, good, bad, c.good, c.bad)
		}
	}
	if good, bad := Trusted(nil).Check([]string{sign(one, "a")}, "a"); good || bad != "" {
		t.Errorf("nobody is trusted: %v, %q", good, bad)
	}
}
