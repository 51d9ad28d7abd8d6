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
		"the profile in use":   {"", nil, settings{"http://special", "eu-west-9", "virtual", ""}},
		"the profile of a URL": {"p", nil, settings{"http://other", "", "", ""}},
		"the environment":      {"", map[string]string{"AWS_REGION": "r", "AWS_ENDPOINT_URL": "http://env"}, settings{"http://env", "r", "virtual", ""}},
		"authorities":          {"", map[string]string{"AWS_CA_BUNDLE": "/bundle"}, settings{"http://special", "eu-west-9", "virtual", "/bundle"}},
		"its word for S3":      {"", map[string]string{"AWS_ENDPOINT_URL_S3": "http://s3", "AWS_ENDPOINT_URL": "http://env"}, settings{"http://s3", "eu-west-9", "virtual", ""}},
		"not to be heard":      {"", map[string]string{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true", "AWS_ENDPOINT_URL": "http://env"}, settings{"", "eu-west-9", "virtual", ""}},
		"a broken file":        {"", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": os.Args[0], "AWS_REGION": "r"}, settings{"", "r", "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			files(t, config, "")
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			t.Setenv("NIX_SSL_CERT_FILE", "")
			if got := readSettings(c.profile); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}
