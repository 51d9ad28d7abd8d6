package doctor

import (
	"strings"
	"testing"
	"time"
)

const aKey = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="

func TestParsePublicKeys(t *testing.T) {
	for text, want := range map[string]int{
		aKey: 1, aKey + "\n": 1, "# ours\n\n" + aKey + "\r\n" + aKey + "\n": 1, aKey + "\n" + strings.Replace(aKey, "-1:", "-2:", 1): 2,
		"": 0, "# none\n": 0, "<html>": 0, aKey + " " + aKey: 0, "name:abc": 0, aKey + "\nx\n": 0,
		strings.Repeat("#\n", 64<<10) + aKey: 0,
	} {
		keys, err := parsePublicKeys(text)
		if len(keys) != want || (err == nil) != (want > 0) {
			t.Errorf("%.80q: %d keys, %v", text, len(keys), err)
		}
	}
	var many strings.Builder
	for i := range maxPublicKeys + 1 {
		many.WriteString(strings.Replace(aKey, "-1:", "-"+strings.Repeat("1", i+1)+":", 1) + "\n")
	}
	if _, err := parsePublicKeys(many.String()); err == nil {
		t.Error("there is no bound on the number of keys")
	}
}

func FuzzPublicKeys(f *testing.F) {
	f.Add(aKey + "\n# x\n")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parsePublicKeys(text)
		if (err == nil) != (len(keys) > 0) || len(keys) > maxPublicKeys {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, key := range keys {
			again, err := parsePublicKeys(key.String())
			if err != nil || again[0].String() != key.String() {
				t.Fatalf("%s is read as %v, %v", key, again, err)
			}
		}
	})
}

func TestMaxAge(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "no-store": 0, "max-age=60": time.Minute, "public, Max-Age=3600": time.Hour, "max-age=x": 0, "max-age=-1": 0, "max-age=99999999999": 0,
	} {
		if got := maxAge(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// TestNames: every check can be named, and says why it matters.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range checks {
		if c.name == "" || c.advice == "" || c.run == nil || seen[c.name] {
			t.Errorf("%+v", c)
		}
		seen[c.name] = true
	}
}
