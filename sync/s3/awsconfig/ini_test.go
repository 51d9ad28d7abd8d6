package awsconfig

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The values are what botocore 1.43 makes of each file.
func TestParse(t *testing.T) {
	var printable strings.Builder
	for c := byte('!'); c <= '~'; c++ {
		printable.WriteByte(c)
	}
	secret := printable.String()
	for _, c := range []struct {
		name, text string
		want       map[string]Section
	}{
		{"nothing", "", map[string]Section{}},
		{"comments alone", "# a\n  ; b\n\n", map[string]Section{}},
		{"every printable byte", "[a]\ns = " + secret + "\n", map[string]Section{"a": {"s": secret}}},
		{"every printable byte without blanks", "[a]\ns=" + secret, map[string]Section{"a": {"s": secret}}},
		{"a comment is a whole line", "[a] # one\nk = v # two\nl=x;y\n  # three\nm = n\n", map[string]Section{"a": {"k": "v # two", "l": "x;y", "m": "n"}}},
		{"quotes belong to a value", "[a]\nk = \"v w\"\nl = 'x'\n", map[string]Section{"a": {"k": `"v w"`, "l": "'x'"}}},
		{"either sign ends a key", "[a]\nk: v=w\nl = x:y\nm=:\nn:=\n", map[string]Section{"a": {"k": "v=w", "l": "x:y", "m": ":", "n": "="}}},
		{"keys in any case", "[a]\nAWS_Access_Key_ID = X\n", map[string]Section{"a": {"aws_access_key_id": "X"}}},
		{"blanks", "[a]\n\tk\t=\t v \t\n", map[string]Section{"a": {"k": "v"}}},
		{"lines end as on any system", "[a]\r\nk = v\r\n[b]\rl = w", map[string]Section{"a": {"k": "v"}, "b": {"l": "w"}}},
		{"a mark of the order of bytes", "\ufeff[a]\nk=v\n", map[string]Section{"a": {"k": "v"}}},
		{"an indented line goes on", "[a]\nk = v\n  w\n\n  # not this\n  x\nl = y\n", map[string]Section{"a": {"k": "v\nw\n\nx", "l": "y"}}},
		{"a key as far in as the last is a key", "[a]\n  k = v\n  l = w\n", map[string]Section{"a": {"k": "v", "l": "w"}}},
		{"a heading that is indented goes on too", "[a]\nk = v\n [b]\n", map[string]Section{"a": {"k": "v\n[b]"}}},
		{"a group", "[a]\ns3 =\n  max = 1\n\n  style=path\nk = v\n", map[string]Section{"a": {"s3": "\nmax = 1\n\nstyle=path", "k": "v"}}},
		{"no value", "[a]\nk =\nl = \n", map[string]Section{"a": {"k": "", "l": ""}}},
		{"names as they stand", "[ a ]\nk=1\n[profile \"x y\"]\n[a]b]c\nk=2\n", map[string]Section{" a ": {"k": "1"}, `profile "x y"`: {}, "a]b": {"k": "2"}}},
		{"for all", "[DEFAULT]\nk = 1\nl = 2\n[a]\nl = 3\n[b]\n[DEFAULT]\nm = 4\n", map[string]Section{"a": {"k": "1", "l": "3", "m": "4"}, "b": {"k": "1", "l": "2", "m": "4"}}},
	} {
		headings, err := parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := map[string]Section{}
		for _, h := range headings {
			got[h.name] = h.Section
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// A file that botocore refuses is refused, with the number of the line and without
// its text.
func TestParseRefuses(t *testing.T) {
	for text, line := range map[string]int{
		"k = secret":                         1,
		"[a]\nsecret":                        2,
		"[a]\n\n= secret":                    3,
		"[]\n":                               1,
		"[a]\nk = secret\nK = secret":        3,
		"[a]\n[b]\n[a]\n":                    3,
		"[a]\nk = v\ns3 =\n  secret\nl = w":  3,
		"[DEFAULT]\nk = secret\nk = secret2": 3,
	} {
		_, err := parse(text)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Line != line || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want line %d", text, err, line)
		}
	}
}

func TestGroup(t *testing.T) {
	headings, err := parse("[a]\ns3 =\n  Max = 1 = 2\n  style=path\nk = v\n")
	if err != nil {
		t.Fatal(err)
	}
	s := headings[0].Section
	if diff := cmp.Diff(map[string]string{"Max": "1 = 2", "style": "path"}, s.Group("s3")); diff != "" {
		t.Errorf("a group (-want +got):\n%s", diff)
	}
	if _, ok := s.Text("s3"); ok || s.Group("k") != nil || s.Group("none") != nil {
		t.Error("a group is a text, or a text is a group")
	}
}

// The words are those of Python's shlex.split.
func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                           nil,
		"  \t ":                      nil,
		"/bin/give":                  {"/bin/give"},
		" /bin/give  --to me\t":      {"/bin/give", "--to", "me"},
		`"/opt/my tools/give" 'a b'`: {"/opt/my tools/give", "a b"},
		`/opt/my\ tools/give a\"b`:   {"/opt/my tools/give", `a"b`},
		`give "a \" b" 'c \ d'`:      {"give", `a " b`, `c \ d`},
		`give "a\b\\c\'" x''y ""`:    {"give", `a\b\c\'`, "xy", ""},
		`give #not $HOME ~ * a;b`:    {"give", "#not", "$HOME", "~", "*", "a;b"},
		"give a\nb":                  {"give", "a", "b"},
		"give \xff\u00a0x":           {"give", "\xff\u00a0x"},
	} {
		got, err := Words(line)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
	}
	for _, line := range []string{`give "a`, `give 'a`, `give a\`, `"a\"`} {
		if got, err := Words(line); err == nil {
			t.Errorf("%q: %q, want an error", line, got)
		}
	}
}

// FuzzParse: what is read reads the same when it is written plainly.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"[a]\nk = v\n  w\n", "[profile \"x y\"]\r\ns3 =\r\n  a = b\r\n", "[DEFAULT]\nk:=\n[b]\n# c\n;\n", "\ufeff[a]"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		headings, err := parse(text)
		if err != nil {
			return
		}
		var plain strings.Builder
		for _, h := range headings {
			plain.WriteString("[" + h.name + "]\n")
			for key, value := range h.Section {
				if trim(key) != key || strings.ContainsAny(key, "=:\n") {
					t.Fatalf("the key %q", key)
				}
				plain.WriteString(key + " = " + strings.ReplaceAll(value, "\n", "\n\t") + "\n")
			}
		}
		again, err := parse(plain.String())
		if err != nil {
			t.Fatalf("%v in %q", err, plain.String())
		}
		if diff := cmp.Diff(headings, again, cmp.AllowUnexported(heading{})); diff != "" {
			t.Errorf("written as %q (-first +again):\n%s", plain.String(), diff)
		}
	})
}

// FuzzWords: a word in single quotes is itself.
func FuzzWords(f *testing.F) {
	for _, line := range []string{"a b", `"a \" b" c\ d`, "'' \"\""} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := Words(line)
		if err != nil {
			return
		}
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		again, err := Words(strings.Join(quoted, " "))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(words, again); diff != "" {
			t.Errorf("%q (-first +again):\n%s", line, diff)
		}
	})
}
