package main

import (
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/webdav"
	"github.com/nixstatic/nixstatic/webdav/oidc"
	"github.com/nixstatic/nixstatic/webdav/token"
)

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "123": 123, "10B": 10, "1kB": 1000, "1 KiB": 1024, "1.5GiB": 3 << 29, "64G": 64 << 30, "2 TB": 2e12,
		"": -1, "GiB": -1, "1XB": -1, "-1": -1, "1e30": -1, "nan": -1, "inf": -1, "1 Gi B": -1, "9EB": -1,
	} {
		got, err := gc.ParseBytes(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q is read as %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseMinFree(t *testing.T) {
	d := disk{t.TempDir()}
	total, err := d.total()
	if err != nil {
		t.Fatal(err)
	}
	if free, err := d.free(); err != nil || free == 0 || free > total {
		t.Errorf("%d bytes of %d are free, %v", free, total, err)
	}
	for text, want := range map[string]int64{
		"": min(1<<30, int64(total)/50), "100%": int64(total), "0": 0, "0%": 0, "50 %": int64(total) / 2, "2GiB": 2 << 30,
		"101%": -1, "-1%": -1, "nan%": -1, "much": -1,
	} {
		got, err := parseMinFree(text, d)
		if (err != nil) != (want < 0) || err == nil && math.Abs(float64(got-want)) > 1e6 {
			t.Errorf("%q is read as %d, %v; want %d", text, got, err, want)
		}
	}
	if _, err := parseMinFree("", disk{t.TempDir() + "/none"}); err == nil {
		t.Error("the disk of a directory that is not there has a size")
	}
}

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"90d": 90 * day, "2w": 14 * day, "0.5d": 12 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute,
		"": 0, "d": 0, "0d": 0, "-1d": 0, "90": 0, "1y": 0, "99999d": 0, "nand": 0, "infd": 0,
	} {
		got, err := parseDuration(text)
		if (err != nil) != (want == 0) || got != want {
			t.Errorf("%q is read as %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestPairKeys(t *testing.T) {
	const nixos = "https://cache.nixos.org"
	for _, test := range []struct {
		name             string
		urls, keys, want []string
	}{
		{"none", nil, nil, nil},
		{"the default", []string{nixos}, nil, []string{nixosKey}},
		{"the default with a slash", []string{nixos + "/"}, nil, []string{nixosKey}},
		{"another key for it", []string{nixos}, []string{"k"}, []string{"k"}},
		{"two keys of one", []string{"a"}, []string{"k", "l"}, []string{"k l"}},
		{"pairs", []string{"a", "b"}, []string{"k", "l"}, []string{"k", "l"}},
		{"pairs, the default among them", []string{"a", nixos, "b"}, []string{"k", "l"}, []string{"k", nixosKey, "l"}},
		{"two keys in one", []string{"a", "b"}, []string{"k m", "l"}, []string{"k m", "l"}},
	} {
		got, err := pairKeys("upstream", test.urls, test.keys)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	for name, test := range map[string][2][]string{
		"no key":        {{"a"}, nil},
		"too few":       {{"a", "b"}, {"k"}},
		"too many":      {{"a", "b"}, {"k", "l", "m"}},
		"no upstream":   {nil, {"k"}},
		"not the right": {{nixos, "a"}, nil},
	} {
		if got, err := pairKeys("upstream", test[0], test[1]); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSchedule(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"03:30": time.Date(2030, 1, 2, 3, 30, 0, 0, time.UTC),
		"03:04": time.Date(2030, 1, 3, 3, 4, 0, 0, time.UTC),
		"6h":    now.Add(6 * time.Hour),
		"1d":    now.Add(24 * time.Hour),
	} {
		s, err := parseSchedule(text)
		if err != nil || !s.next(now).Equal(want) {
			t.Errorf("%s: %v, %v, want %v", text, s.next(now), err, want)
		}
	}
	for _, text := range []string{"", "daily", "10s", "25:00", "-1h"} {
		if _, err := parseSchedule(text); err == nil {
			t.Errorf("%q is a schedule", text)
		}
	}
}

// The log names everyone who can make a server sign, however the client is let in.
func TestUploaders(t *testing.T) {
	var rules []oidc.Rule
	for _, text := range []string{
		"issuer=https://forge.example.org,audience=x,claim:repository=acme/*,claim:ref=main,scope=upload",
		"issuer=https://forge.example.org,audience=x,claim:repository=others/*,scope=read",
	} {
		rule, err := oidc.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, rule)
	}
	jobs := "oidc:issuer=https://forge.example.org,claim:repository=acme/*,claim:ref=main"
	file := filepath.Join(t.TempDir(), "tokens")
	for name, scope := range map[string]webdav.Scope{"ci": webdav.Upload, "reader": webdav.Read} {
		made, _, err := token.New(name, []webdav.Scope{scope}, time.Time{})
		if err == nil {
			err = token.Add(file, made)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tokens, err := token.OpenFile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	exchange := &token.Exchange{Uploaders: uploadersBy(rules)}
	for want, auth := range map[string]*token.Auth{
		"no client":  {},
		"ci":         {Tokens: tokens},
		jobs:         {Exchange: exchange},
		"ci " + jobs: {Tokens: tokens, Exchange: exchange},
		"everyone":   {Tokens: tokens, Exchange: exchange, AnonymousUpload: true},
	} {
		if got := uploaders(auth); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
