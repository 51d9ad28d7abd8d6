package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// installed holds a cycle (a, b), a provided name, an alternative of which only
// the second is there, a removed package, and one of a foreign architecture.
const installed = `ii |a|a|1:2~rc1|amd64|10||||b (>= 1), libc | other
ii |b|b|1|amd64|10||a||mail-agent, gone
ii |libc:amd64|libc|3|amd64|10||||
ii |libc:i386|libc|3|i386|10||||
ii |post|post|1|all|10|mail-agent (= 1), x|none | libc:any||
rc |old|old|1|amd64|10||||
`

func TestPlan(t *testing.T) {
	tests := []struct {
		name     string
		maxPaths int
		maxBytes int64
		want     []string
	}{
		{"everything", 10, 1e6, []string{
			"libc:amd64: libc",
			"post: libc",
			"b: post",
			"a: b libc",
		}},
		{"three paths cannot hold a's closure", 3, 1e6, []string{"libc:amd64: libc", "post: libc"}},
		{"nor can 30 KiB", 10, 30 << 10, []string{"libc:amd64: libc", "post: libc"}},
		{"nothing fits", 0, 1e6, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := run(strings.NewReader(installed), &out, test.maxPaths, test.maxBytes); err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(out.String()) {
				f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
				var refs []string
				for _, ref := range strings.Fields(f[3]) {
					refs = append(refs, strings.Split(ref, "-")[1])
				}
				got = append(got, f[0]+": "+strings.Join(refs, " "))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNames(t *testing.T) {
	p := &pkg{name: "libstdc++6", version: "1:12~rc+1", arch: "amd64"}
	if got, want := p.storeName()[32:], "-libstdc++6-12_rc+1"; got != want {
		t.Errorf("store name ends in %q, want %q", got, want)
	}
	if got, want := p.deriverName()[32:], "-libstdc++6-12_rc+1.drv"; got != want {
		t.Errorf("deriver name ends in %q, want %q", got, want)
	}
	if p.storeName()[:32] == p.deriverName()[:32] {
		t.Error("store path and deriver share a hash")
	}
	p.arch = "all"
	if got := p.deriverName(); got != "-" {
		t.Errorf("a package of data has deriver %q", got)
	}
}

func TestReadPackagesRefuses(t *testing.T) {
	for _, in := range []string{"", "ii |a|a|1\n", "rc |old|old|1|amd64|10||||\n"} {
		if _, err := readPackages(strings.NewReader(in)); err == nil {
			t.Errorf("readPackages(%q) succeeded", in)
		}
	}
}
