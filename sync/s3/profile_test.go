package s3

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/nixstatic/nixstatic/tests/minio"
)

// files has the environment name the two files of the AWS tools, and nothing
// else that has credentials.
func files(t *testing.T, config, shared string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": shared} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, file)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
}

// program writes one that prints credentials.
func program(t *testing.T, name, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func printed(key, secret, more string) string {
	return fmt.Sprintf("cat <<'END'\n{\"Version\": 1, \"AccessKeyId\": %q, \"SecretAccessKey\": %q%s}\nEND\n", key, secret, more)
}

// TestSecrets: a secret may hold any character, in either file.
func TestSecrets(t *testing.T) {
	var secret strings.Builder
	for c := byte('!'); c <= '~'; c++ {
		secret.WriteByte(c)
	}
	s := minio.Start(t, 1, "MINIO_ROOT_PASSWORD="+secret.String())
	keys := "aws_access_key_id = " + s.AccessKey + "\naws_secret_access_key = " + s.SecretKey + "\n"
	for name, f := range map[string][2]string{
		"credentials": {"", "[default]\n" + keys},
		"config":      {"[default]\n" + keys, ""},
		"both, and the credentials win": {
			"[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\naws_session_token = none\n",
			"[default]\r\n" + strings.ReplaceAll(keys, "\n", "\r\n")},
	} {
		t.Run(name, func(t *testing.T) {
			files(t, f[0], f[1])
			create(t, location(t, s.Endpoint))
		})
	}
}

// TestProcess: a credential_process is split into words as a shell does.
func TestProcess(t *testing.T) {
	good := printed(server.AccessKey, server.SecretKey, "")
	plain, blank := program(t, "give", good), program(t, "my tools/give it", good)
	picky := program(t, "picky", `[ $# = 3 ] && [ "$1" = "a b" ] && [ "$2" = '"q"' ] && [ "$3" = '' ] || exit 9`+"\n"+good)
	for name, command := range map[string]string{
		"no arguments":                plain,
		"blanks in the path":          `"` + blank + `"`,
		"a guarded blank":             strings.ReplaceAll(blank, " ", `\ `),
		"blanks and quotes in words":  picky + ` 'a b' "\"q\"" ''`,
		"more blanks between words":   "  " + picky + "\t  \"a b\"   '\"q\"'  ''  ",
		"an argument it does not see": plain + " # not a comment",
	} {
		t.Run(name, func(t *testing.T) {
			files(t, "[default]\ncredential_process = "+command+"\n", "")
			create(t, location(t, server.Endpoint))
		})
	}
	for name, c := range map[string]struct{ command, err string }{
		"a program that is not there": {"/no/such/program", "no such file"},
		"one that fails":              {program(t, "fail", "echo ask the admin >&2; exit 3"), "ask the admin"},
		"another version":             {program(t, "two", `echo '{"Version": 2}'`), "version 2"},
		"no version":                  {program(t, "none", `echo '{"AccessKeyId": "a", "SecretAccessKey": "very-secret"}'`), "version 0"},
		"not JSON":                    {program(t, "text", "echo very-secret"), "not the JSON"},
		"no secret":                   {program(t, "half", printed("a", "", "")), "no secret key"},
		"a time that is none":         {program(t, "late", printed("a", "very-secret", `, "Expiration": "tomorrow"`)), "expiration"},
		"an open quotation mark":      {`"/no/end`, "quotation mark"},
		"nothing":                     {`  `, "no program"},
	} {
		t.Run(name, func(t *testing.T) {
			files(t, "[default]\ncredential_process ="+c.command+"\n", "")
			_, err := New(t.Context(), location(t, server.Endpoint))
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "very-secret") {
				t.Errorf("%v, want %q", err, c.err)
			}
		})
	}
}

// TestProcessAgain: a process is run when its credentials run out, and not
// before.
func TestProcessAgain(t *testing.T) {
	for more, want := range map[string]int{
		"":                                       1,
		`, "Expiration": "2099-01-01T00:00:00Z"`: 1,
		`, "Expiration": "2099-01-01T00:00:00+05:30"`:                                                           1,
		`, "SessionToken": null, "Expiration": "` + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) + `"`: 2,
	} {
		count := filepath.Join(t.TempDir(), "count")
		p := &process{command: program(t, "give", "echo x >> "+count+"\n"+printed("a", "b", more))}
		creds := credentials.New(p)
		for range 2 {
			if _, err := creds.GetWithContext(nil); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(count)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(text), "x"); got != want {
			t.Errorf("%s: run %d times, want %d", more, got, want)
		}
	}
}

// FuzzProcess: no output of a process is repeated in an error.
func FuzzProcess(f *testing.F) {
	for _, text := range []string{`{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b"}`, `{"Version": "1"}`, `[]`, ``} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := parseProcess(text)
		if err == nil && (v.AccessKeyID == "" || v.SecretAccessKey == "") {
			t.Errorf("half of the credentials: %+v", v)
		}
	})
}

// TestRoles: a profile takes on a role with the credentials of another, which
// the real store gives it.
func TestRoles(t *testing.T) {
	keys := "aws_access_key_id = " + server.AccessKey + "\naws_secret_access_key = " + server.SecretKey + "\n"
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("who I am"), 0o600); err != nil {
		t.Fatal(err)
	}
	role := "role_arn = arn:aws:iam::123456789012:role/r\n"
	for name, c := range map[string]struct{ config, shared, err string }{
		"of another profile":    {"[profile p]\n" + role + "source_profile = base\n", "[base]\n" + keys, ""},
		"of one with a process": {"[profile p]\n" + role + "source_profile = base\n[profile base]\ncredential_process = " + program(t, "g", printed(server.AccessKey, server.SecretKey, "")) + "\n", "", ""},
		"of itself":             {"[profile p]\n" + role + "source_profile = p\n" + keys, "", ""},
		// MinIO gives the first role, and no second to who has one.
		"over two steps":               {"[profile p]\n" + role + "source_profile = q\n[profile q]\n" + role + "source_profile = base\nexternal_id = x\nduration_seconds = 1800\n[profile base]\n" + keys, "", "Access Denied"},
		"of one that has keys besides": {"[profile p]\n" + role + "source_profile = q\n[profile q]\n" + role + "source_profile = p\n" + keys, "", ""},
		"of the environment":           {"[profile p]\n" + role + "credential_source = Environment\n", "", ""},
		"of an empty environment":      {"[profile p]\n" + role + "credential_source = Environment\n", "", "no access key"},
		"of nothing":                   {"[profile p]\n" + role, "", "needs a source_profile"},
		"of two":                       {"[profile p]\n" + role + "source_profile = p\ncredential_source = Environment\n", "", "not both"},
		"of one that is not there":     {"[profile p]\n" + role + "source_profile = none\n", "", "there is no profile"},
		"of itself without keys":       {"[profile p]\n" + role + "source_profile = p\n", "", "leads back"},
		"in a circle":                  {"[profile p]\n" + role + "source_profile = q\n[profile q]\n" + role + "source_profile = p\n", "", "leads back"},
		"with a code to type":          {"[profile p]\n" + role + "source_profile = b\nmfa_serial = m\n[profile b]\n" + keys, "", "mfa_serial"},
		"of a source without a name":   {"[profile p]\n" + role + "credential_source = Moon\n", "", "none of Environment"},
		"of an identity without role":  {"[profile p]\nweb_identity_token_file = " + token + "\n", "", "no role_arn"},
	} {
		t.Run(name, func(t *testing.T) {
			files(t, c.config, c.shared)
			t.Setenv("AWS_ENDPOINT_URL_STS", server.Endpoint)
			if name == "of the environment" {
				t.Setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
				t.Setenv("AWS_SECRET_ACCESS_KEY", server.SecretKey)
			}
			loc := location(t, server.Endpoint)
			loc.Profile = "p"
			b, err := New(t.Context(), loc)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if v := b.present(); v.SessionToken == "" || v.AccessKeyID == server.AccessKey {
				t.Error("these are not the credentials of a role")
			}
			if _, err := b.Prepare(t.Context(), false); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWebIdentity: the file of a profile is sent where roles are given out.
func TestWebIdentity(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("who I am"), 0o600); err != nil {
		t.Fatal(err)
	}
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("WebIdentityToken") != "who I am" || r.FormValue("RoleArn") != "the-role" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>`+
			`<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
			server.AccessKey, server.SecretKey)
	}))
	defer sts.Close()
	files(t, "[profile p]\nrole_arn = the-role\nweb_identity_token_file = "+token+"\nendpoint_url = "+sts.URL+"\n", "")
	loc := location(t, server.Endpoint)
	loc.Profile = "p"
	create(t, loc)
}

// TestOrder: what the environment says goes before the files, whatever they are.
func TestOrder(t *testing.T) {
	mine := "aws_access_key_id = " + server.AccessKey + "\naws_secret_access_key = " + server.SecretKey + "\n"
	none := "aws_access_key_id = nobody\naws_secret_access_key = nothing\n"
	container := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId": %q, "SecretAccessKey": %q, "Expiration": "2099-01-01T00:00:00Z"}`, server.AccessKey, server.SecretKey)
	}))
	defer container.Close()
	environment := map[string]string{"AWS_ACCESS_KEY_ID": server.AccessKey, "AWS_SECRET_ACCESS_KEY": server.SecretKey}
	inContainer := map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": container.URL}
	for name, c := range map[string]struct {
		config, shared string
		env            map[string]string
		from, err      string
	}{
		"the environment beside a broken file":    {"what", "is this", environment, "the environment", ""},
		"the environment beside a profile":        {"", "[default]\n" + none, environment, "the environment", ""},
		"a secret without a key is none":          {"", "[default]\n" + mine, map[string]string{"AWS_SECRET_ACCESS_KEY": "x"}, "profile default", ""},
		"the container beside a broken file":      {"what", "is this", inContainer, "the role of the container", ""},
		"a broken file alone":                     {"what", "is this", nil, "", "line 1"},
		"a broken file that was named":            {"what", "is this", map[string]string{"AWS_PROFILE": "p", "AWS_CONTAINER_CREDENTIALS_FULL_URI": container.URL}, "", "line 1"},
		"a profile without credentials":           {"[profile p]\nregion = us-east-1\n", "", map[string]string{"AWS_PROFILE": "p", "AWS_CONTAINER_CREDENTIALS_FULL_URI": container.URL}, "the role of the container", ""},
		"a profile that is not there":             {"", "", map[string]string{"AWS_PROFILE": "p", "AWS_CONTAINER_CREDENTIALS_FULL_URI": container.URL}, "", "there is no profile"},
		"the older name of the variable":          {"", "[p]\n" + mine, map[string]string{"AWS_DEFAULT_PROFILE": "p"}, "profile p", ""},
		"keys before a process":                   {"[default]\ncredential_process = /none\n", "[default]\n" + mine, nil, "profile default", ""},
		"a process before the keys of the config": {"[default]\ncredential_process = " + program(t, "g", printed(server.AccessKey, server.SecretKey, "")) + "\n" + none, "", nil, "profile default", ""},
		"a name with blanks":                      {"[profile \"x y\"]\n" + mine, "", map[string]string{"AWS_PROFILE": "x y"}, "profile x y", ""},
	} {
		t.Run(name, func(t *testing.T) {
			files(t, c.config, c.shared)
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			b, err := New(t.Context(), location(t, server.Endpoint))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if from, _ := b.Credentials(); from != c.from {
				t.Errorf("from %q, want %q", from, c.from)
			}
			if _, err := b.Prepare(t.Context(), false); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSessionToken: the token of either name is sent.
func TestSessionToken(t *testing.T) {
	got := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("X-Amz-Security-Token")
		io.WriteString(w, "<ListBucketResult></ListBucketResult>")
	}))
	defer s.Close()
	keys := "[default]\naws_access_key_id = a\naws_secret_access_key = b\n"
	for name, c := range map[string]struct {
		shared string
		env    map[string]string
	}{
		"a file":           {keys + "aws_session_token = the token=\n", nil},
		"a file, formerly": {keys + "aws_session_token = x\naws_security_token = the token=\n", nil},
		"the environment":  {"", map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "the token="}},
		"formerly":         {"", map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "x", "AWS_SECURITY_TOKEN": "the token="}},
	} {
		t.Run(name, func(t *testing.T) {
			files(t, "", c.shared)
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			if err := connected(t, location(t, s.URL)).Check(t.Context()); err != nil {
				t.Error(err)
			}
			if token := <-got; token != "the token=" {
				t.Errorf("the token %q", token)
			}
		})
	}
}

// TestSettings: what a URL does not say is taken from the profile.
func TestSettings(t *testing.T) {
	config := "[default]\nregion = eu-west-9\nendpoint_url = http://general\nservices = mine\ns3 =\n  addressing_style = virtual\n" +
		"[services mine]\ns3 =\n  endpoint_url = http://special\n[profile p]\nendpoint_url = http://other\n"
	for name, c := range map[string]struct {
		profile string
		env     map[string]string
		want    settings
	}{
		"the profile in use":   {"", nil, settings{"http://special", "eu-west-9", "virtual"}},
		"the profile of a URL": {"p", nil, settings{"http://other", "", ""}},
		"the environment":      {"", map[string]string{"AWS_REGION": "r", "AWS_ENDPOINT_URL": "http://env"}, settings{"http://env", "r", "virtual"}},
		"its word for S3":      {"", map[string]string{"AWS_ENDPOINT_URL_S3": "http://s3", "AWS_ENDPOINT_URL": "http://env"}, settings{"http://s3", "eu-west-9", "virtual"}},
		"not to be heard":      {"", map[string]string{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true", "AWS_ENDPOINT_URL": "http://env"}, settings{"", "eu-west-9", "virtual"}},
		"a broken file":        {"", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": os.Args[0], "AWS_REGION": "r"}, settings{"", "r", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			files(t, config, "")
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			if got := readSettings(c.profile); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}
