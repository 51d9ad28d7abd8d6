package gc_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

const busy = `# what stays
keep pins
keep roots  */main/*    last 5, daily 7
keep roots  */pull/*    within 7d     # of the newest

expire roots *          unrenewed 30d
keep young  14d
keep used   30d
life logs   90d
life debug  210d
max-size    500GB warn 85%
undo        30d
`

func days1(n int) *gc.Age { return &gc.Age{Days: n} }

func TestParsePolicy(t *testing.T) {
	got, err := gc.ParsePolicy([]byte(busy))
	if err != nil {
		t.Fatal(err)
	}
	want := gc.Policy{Pins: true,
		Roots:  []gc.RootRule{{"*/main/*", gc.Keep{Last: 5, Daily: 7}}, {"*/pull/*", gc.Keep{Within: gc.Age{Days: 7}}}},
		Expire: []gc.ExpireRule{{"*", gc.Age{Days: 30}}},
		Young:  gc.Age{Days: 14}, Used: gc.Age{Days: 30}, Logs: days1(90), Debug: days1(210), MaxSize: 500e9, Warn: 85, Undo: gc.Age{Days: 30}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	const tidy = `keep pins
keep roots    */main/*  last 5, daily 7
keep roots    */pull/*  within 7d
expire roots  *         unrenewed 30d
keep young    14d
keep used     30d
life logs     90d
life debug    210d
max-size      500GB warn 85%
undo          30d
`
	if diff := cmp.Diff(tidy, got.String()); diff != "" {
		t.Errorf("as text (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("keep pins\nkeep roots  *  last 5\nkeep young  30d\nundo        7d\n", gc.DefaultPolicy().String()); diff != "" {
		t.Errorf("the default (-want +got):\n%s", diff)
	}
	if got, err := gc.ParsePolicy([]byte(strings.ReplaceAll(strings.ReplaceAll(busy, "  ", "\t"), "\n", "\r\n"))); err != nil || !cmp.Equal(got, want) {
		t.Errorf("with tabs and the ends of lines of DOS it is %+v, %v", got, err)
	}
	for name, text := range map[string]string{"the mark of editors on Windows": "\ufeff" + busy, "other blanks": strings.ReplaceAll(strings.ReplaceAll(busy, "  ", "\u00a0\u2003"), "\n", "\u3000\n")} {
		if got, err := gc.ParsePolicy([]byte(text)); err != nil || !cmp.Equal(got, want) {
			t.Errorf("with %s it is %+v, %v", name, got, err)
		}
	}
	if empty, err := gc.ParsePolicy(nil); err != nil || !cmp.Equal(empty, gc.Policy{Undo: gc.DefaultUndo}) {
		t.Errorf("an empty policy is %+v, %v", empty, err)
	}
}

func TestParsePolicyErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"keep pins\n\nkeeep roots * last 5\n", `line 3: "keeep" is not a rule`},
		{"keep", `line 1: "keep": what?`},
		{"keep everything", `line 1: "keep everything" is not a rule`},
		{"keep pins for ever", `line 1: "keep pins" wants nothing behind it`},
		{"keep pins\nkeep young 3d\nkeep young 4d", `line 3: line 2 says "keep young" already`},
		{"keep young", `line 1: "keep young" wants one age`},
		{"keep young 3 d", `line 1: "keep young" wants one age`},
		{"keep young 3", `line 1: "3" is not an age`},
		{"keep young -3d", `line 1: "-3d" is not an age`},
		{"keep young 99999999999d", `is not an age`},
		{"keep young 3s", `is not an age`},
		{"keep roots", `line 1: "keep roots" wants a pattern`},
		{"keep roots *", `line 1: say how many stay`},
		{"keep roots a?b last 1", `line 1: "a?b" is not a pattern`},
		{"keep roots * last", `line 1: "last" wants one value`},
		{"keep roots * last 5 daily 7", `line 1: "last" wants one value`},
		{"keep roots * last 5,, daily 7", `nothing beside a comma`},
		{"keep roots * last 0", `line 1: last "0": want a number`},
		{"keep roots * last +5", `want a number`},
		{"keep roots * last 5, last 6", `line 1: "last" is said twice`},
		{"keep roots * hourly 5", `line 1: "hourly" is not one of`},
		{"keep roots * within 0d", `line 1: within 0 keeps nothing`},
		{"keep roots * all 5", `line 1: "all" wants nothing behind it`},
		{"expire roots *", `line 1: want: expire roots`},
		{"expire roots * unrenewed 0", `line 1: unrenewed 0`},
		{"max-size lots", `line 1: "lots" is not a size`},
		{"max-size 0", `line 1: max-size 0`},
		{"max-size 500", `line 1: "500" is a number of bytes: name a unit, as in 500GB`},
		{"max-size 2000", `line 1: "2000" is a number of bytes: name a unit, as in 2000GB`},
		{"max-size 0.1B", `line 1: max-size 0`},
		{"max-size -5GB", `line 1: "-5GB" is not a size`},
		{"max-size 99999999TB", `line 1: "99999999TB" is not a size`},
		{"max-size infGB", `is not a size`},
		{"max-size nanGB", `is not a size`},
		{"max-size 5GB\nmax-size 6GB", `line 2: line 1 says "max-size" already`},
		{"max-size 5GB warn", `line 1: want: max-size`},
		{"max-size 5GB warn 0%", `line 1: "0%" is not a percentage`},
		{"max-size 5GB warn -1%", `line 1: "-1%" is not a percentage`},
		{"max-size 5GB warn 85", `line 1: "85" is not a percentage`},
		{"max-size 5GB warn 99999999999999999999%", `is not a percentage`},
		{"keep roots * within 99999999y", `line 1: "99999999y" is not an age`},
		{"keep roots * within 1000y12000m366001d", `is not an age`},
		{"keep roots * last 99999999999999999999", `want a number`},
		{"keep roots * last 1000001", `want a number`},
		{"keep roots * last -5", `want a number`},
		{"keep\u200byoung 3d", `line 1: "keep\u200byoung" is not a rule`},
		{"keep young 3d\x00", `is not an age`},
		{"keep pins\rkeep young 3d", `line 1: "keep pins" wants nothing behind it`},
		{"keep pins\u2028keep young 3d", `line 1: "keep pins" wants nothing behind it`},
		{"keep pins\n\ufeffkeep young 3d", `line 2: "\ufeffkeep" is not a rule`},
		{"keep roots " + strings.Repeat("a", 201) + " all", `line 1: a pattern of names has 1 to 200 bytes`},
		{strings.Repeat("keep roots * all\n", 1001), `line 1001: there are more than 1000 rules`},
		{"max-size 5GB warn 101%", `line 1: "101%" is not a percentage`},
		{"max-size 5GB at 85%", `line 1: want: max-size`},
		{"life cats 9d", `line 1: "life cats" is not a rule`},
		{"keep pins\r\nkeep cats\r\n", `line 2: "keep cats" is not a rule`},
		{strings.Repeat("x", 60_000), `line 1: "xxx`},
		{"Keep pins", `line 1: "Keep" is not a rule`},
		{"keep young \xff", "not text in UTF-8"},
		{"undo 3d\nundo 3d\nkeep cats", `line 3: "keep cats"`},
		{strings.Repeat("#", 70_000), "more than 65536"},
	} {
		_, err := gc.ParsePolicy([]byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.60q: %v, want %q", test.text, err, test.want)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "acme/app", true}, {"*/main/*", "acme/app/main/4711", true}, {"*/main/*", "acme/app/main", false},
		{"*/main/*", "main/1", false}, {"acme/*", "acme/app", true}, {"acme/*", "acmeister/app", false},
		{"a*b*c", "abbc", true}, {"a*b*c", "acb", false}, {"a*bc", "abcbc", true}, {"a*b", "ab", true}, {"a*b", "a", false},
		{"ab*ba", "aba", false}, {"host", "host", true}, {"host", "hosts", false}, {"**", "x", true},
	} {
		if got := layout.RootPattern(test.pattern).Match(test.name); got != test.want {
			t.Errorf("%s matches %s: %v", test.pattern, test.name, got)
		}
	}
}

func TestAge(t *testing.T) {
	for text, want := range map[string]gc.Age{"1y2m3d4h": {1, 2, 3, 4}, "2w": {Days: 14}, "36h": {Hours: 36}, "1d1d": {Days: 2}, "0": {}, "0d": {}} {
		if got, err := gc.ParseAge(text); err != nil || got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
	march := time.Date(2027, 3, 31, 12, 0, 0, 0, time.UTC)
	if got := (gc.Age{Months: 1, Hours: 12}).Before(march); !got.Equal(time.Date(2027, 3, 3, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("a month and twelve hours before the end of March is %s", got)
	}
	if got := (gc.Age{Days: 2}).Until(march); got != 48*time.Hour {
		t.Errorf("two days are %s", got)
	}
}

func TestPolicyOfATree(t *testing.T) {
	dir := treetest.OpenDir(t, t.TempDir())
	if p, text, err := gc.ReadPolicy(t.Context(), dir); err != nil || text != nil || !cmp.Equal(p, gc.DefaultPolicy()) {
		t.Errorf("a tree without a policy has %+v, %q, %v", p, text, err)
	}
	if err := gc.SetPolicy(t.Context(), dir, []byte("keep cats")); err == nil {
		t.Error("a policy that makes no sense was taken")
	}
	if _, err := dir.Stat(t.Context(), layout.PolicyKey); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("and it is there: %v", err)
	}
	if err := gc.SetPolicy(t.Context(), dir, []byte(busy)); err != nil {
		t.Fatal(err)
	}
	if _, text, err := gc.ReadPolicy(t.Context(), dir); err != nil || string(text) != busy {
		t.Errorf("the text is %q, %v", text, err)
	}
	if err := dir.Put(t.Context(), layout.PolicyKey, layout.Bytes([]byte("keep dogs\n")), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	var wrong *gc.PolicyError
	if _, _, err := gc.ReadPolicy(t.Context(), dir); !errors.As(err, &wrong) {
		t.Errorf("a policy of a later version: %v", err)
	}
}

// FuzzPolicy: a policy that is understood is understood again as it is printed.
func FuzzPolicy(f *testing.F) {
	f.Add(busy)
	f.Add("keep roots a*b all\nkeep roots * yearly 3, within 1y6m\nmax-size 1KiB\nundo 0\nlife logs 0d")
	f.Add("keep young 1d2d\nexpire roots */x/* unrenewed 2w # often\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := gc.ParsePolicy([]byte(text))
		if err != nil {
			return
		}
		again, err := gc.ParsePolicy([]byte(p.String()))
		if err != nil {
			t.Fatalf("%q is printed as %q: %v", text, p.String(), err)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Fatalf("%q is printed as %q (-want +got):\n%s", text, p.String(), diff)
		}
	})
}
