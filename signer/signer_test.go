package signer

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const fingerprint = "1;/nix/store/syd87l2rxw8cbsxmxl853h0r6pdwhwjr-curl-7.82.0-bin;sha256:1b4sb93wp679q4zx9k1ignby1yna3z7c4c2ri3wphylbc2dwsys0;196040;"

func TestRoundTrip(t *testing.T) {
	key, err := Generate("cache.example.org-1")
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseSecretKey(key.Reveal() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	sig, err := again.Sign(fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	if !key.Public().Verifies(fingerprint, sig) {
		t.Error("the key does not verify its own signature")
	}
	if key.Public().Verifies(fingerprint+"x", sig) {
		t.Error("the signature covers another fingerprint")
	}
	if name, err := SignatureName(sig); err != nil || name != "cache.example.org-1" {
		t.Errorf("SignatureName = %q, %v", name, err)
	}
}

// A key of Nix's own making, and a signature that Nix itself accepts, pin the
// formats: cache.nixos.org's signature of a published path.
func TestCacheNixosOrg(t *testing.T) {
	trusted, err := ParseTrusted("cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=")
	if err != nil {
		t.Fatal(err)
	}
	full := "1;/nix/store/syd87l2rxw8cbsxmxl853h0r6pdwhwjr-curl-7.82.0-bin;sha256:1b4sb93wp679q4zx9k1ignby1yna3z7c4c2ri3wphylbc2dwsys0;196040;/nix/store/0jqd0rlxzra1rs38rdxl43yh6rxchgc6-curl-7.82.0,/nix/store/6w8g7njm4mck5dmjxws0z1xnrxvl81xa-glibc-2.34-115,/nix/store/j5jxw3iy7bbz4a57fh9g2xm2gxmyal8h-zlib-1.2.12,/nix/store/yxvjs9drzsphm9pcf42a4byzj1kb9m7k-openssl-1.1.1n"
	sigs := []string{
		"cache.nixos.org-1:AAAAsLHHUqUMUSsgZGIBqBbQIpIHcgHbRHAAxlGXqmyuiBhYIQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
		"cache.nixos.org-1:TsTTb3WGTZKphvYdBHXwo6weVILmTytUjLB+vcX89fOjjRicCHmKA4RCPMVLkj6TMJ4GMX3HPVWRdD1hkeKZBQ==",
	}
	if name, ok := trusted.Verify(full, sigs); !ok || name != "cache.nixos.org-1" {
		t.Errorf("Verify = %q, %v: a bad signature hid the good one", name, ok)
	}
	if _, ok := trusted.Verify(full, sigs[:1]); ok {
		t.Error("a bad signature verified")
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	key, err := Generate("k")
	if err != nil {
		t.Fatal(err)
	}
	_, payload, _ := strings.Cut(key.Reveal(), ":")
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", key)
	for _, text := range []string{
		fmt.Sprint(key), fmt.Sprintf("%v %+v %#v %s %q", key, key, key, key, key), log.String(),
		fmt.Sprintf("%v %+v", []SecretKey{key}, struct{ K SecretKey }{key}),
	} {
		if strings.Contains(text, payload[:16]) {
			t.Errorf("the secret shows in %q", text)
		}
	}
}

func TestRefusals(t *testing.T) {
	key, err := Generate("k")
	if err != nil {
		t.Fatal(err)
	}
	_, payload, _ := strings.Cut(key.Reveal(), ":")
	raw, err := base64.StdEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw[40] ^= 1
	damaged := "k:" + base64.StdEncoding.EncodeToString(raw)
	for name, text := range map[string]string{
		"empty": "", "no colon": "abc", "no name": ":" + payload, "blank in name": "a b:" + payload,
		"not base64": "k:!!!!", "short": "k:AAAA", "public": key.Public().String(), "damaged": damaged,
		"truncated": key.Reveal()[:40],
	} {
		if _, err := ParseSecretKey(text); err == nil {
			t.Errorf("%s: accepted", name)
		} else if len(text) > 20 && strings.Contains(err.Error(), payload[:10]) {
			t.Errorf("%s: the error quotes the secret: %v", name, err)
		}
	}
	if _, err := ParsePublicKey(key.Reveal()); err == nil {
		t.Error("a secret key passed for a public key")
	} else if strings.Contains(err.Error(), payload[:10]) {
		t.Errorf("the error quotes the secret: %v", err)
	}
	for _, sig := range []string{"", "x", "x:", "x:AAAA", ":AAAA"} {
		if _, err := SignatureName(sig); err == nil {
			t.Errorf("signature %q: accepted", sig)
		}
	}
}

func FuzzKeys(f *testing.F) {
	f.Add("cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=")
	f.Add("k:" + strings.Repeat("A", 88))
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := ParsePublicKey(text); err == nil && k.String() != strings.TrimSpace(text) {
			// base64 with other trailing bits may decode alike; it must decode to the same key.
			if again, err := ParsePublicKey(k.String()); err != nil || again.String() != k.String() {
				t.Errorf("%q reads as %q", text, k)
			}
		}
		if k, err := ParseSecretKey(text); err == nil {
			if _, err := k.Sign("x"); err != nil {
				t.Error(err)
			}
		}
		_, _ = SignatureName(text)
	})
}
