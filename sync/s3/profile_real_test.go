//go:build real

package s3

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/minio"
)

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
