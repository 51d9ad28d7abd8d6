package nixconf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLookupNetrc(t *testing.T) {
	const common = `# machine h login commented password out
machine other.example.org login a password b
machine H.example.org
	login me
	password s3cret#not-a-comment account x
machine h.example.org login you password second
default login anyone password ""
`
	for _, test := range []struct {
		name, text, host, login string
		want                    string // "login password", "" for none
		fails                   string
	}{
		{"first entry", common, "h.example.org", "", "me s3cret#not-a-comment", ""},
		{"entry of a login", common, "h.example.org", "you", "you second", ""},
		{"default", common, "else.example.org", "", "anyone ", ""},
		{"no default for a login", common, "else.example.org", "me", "", ""},
		{"password alone", "machine c.cachix.org password token", "c.cachix.org", "", " token", ""},
		{"password alone, login given", "machine h password p", "h", "me", "me p", ""},
		{"no such host", "machine a login b password c", "h", "", "", ""},
		{"a part of the name", "machine example.org login b password c", "h.example.org", "", "", ""},
		{"quotes", `machine "h" login "a b" password "q\"\\\n\t\rx"`, "h", "", "a b q\"\\\n\t\rx", ""},
		{"macro", "machine a login b password c\nmacdef init\nmachine h login no password no\n\nmachine h login yes password yes", "h", "", "yes yes", ""},
		{"macro to the end", "macdef init\nmachine h login no password no", "h", "", "", ""},
		{"carriage returns", "machine h\r\nlogin me\r\npassword p\r\n", "h", "", "me p", ""},
		{"empty", "", "h", "", "", ""},
		{"unknown words", "machine h protocol https login a password b", "h", "", "a b", ""},
		{"cut off", "machine h login a password", "h", "", "", "password at the end of the file"},
		{"open quote", `machine h password "abc`, "h", "", "", "never closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			entry, ok, err := LookupNetrc(test.text, test.host, test.login)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("%v, want %q", err, test.fails)
				}
				return
			}
			got := entry.Name + " " + entry.Password
			if !ok {
				got = ""
			}
			if err != nil || got != test.want {
				t.Errorf("%q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestNetrcLimit(t *testing.T) {
	name := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(name, []byte(strings.Repeat("# long\n", maxFile/7+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadNetrc(name); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Error(err)
	}
}

// FuzzNetrcLine: a line reads as the login that it was made of, whatever is in a password.
func FuzzNetrcLine(f *testing.F) {
	f.Add("h.example.org", "ci", "nst_abc")
	f.Add("h", "a b", "q\"\\\n\t\r#x")
	f.Fuzz(func(t *testing.T, host, name, password string) {
		if host == "" || name == "" {
			return
		}
		line := NetrcLine(host, Login{name, password})
		if strings.ContainsAny(line, "\r\n") {
			t.Fatalf("%q is not one line", line)
		}
		got, ok, err := LookupNetrc("# begin\n"+line+"\n# end\nmachine x login y password z\n", host, "")
		if err != nil || !ok || got != (Login{name, password}) {
			t.Fatalf("%q reads as %q, %v, %v", line, got, ok, err)
		}
	})
}

func FuzzLookupNetrc(f *testing.F) {
	f.Add("machine h login a password b\ndefault login c password d", "h", "")
	f.Add("machine \"h\" password \"a\\n\" # x\nmacdef m\nfoo\n\nmachine h", "h", "me")
	f.Fuzz(func(t *testing.T, text, host, login string) {
		entry, ok, err := LookupNetrc(text, host, login)
		if err != nil || !ok {
			return
		}
		if !strings.Contains(text, "machine") && !strings.Contains(text, "default") {
			t.Fatalf("%+v came from no entry", entry)
		}
		if login != "" && entry.Name != login {
			t.Fatalf("asked for %q, got %q", login, entry.Name)
		}
	})
}
