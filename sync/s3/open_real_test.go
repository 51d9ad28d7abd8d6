//go:build real

package s3

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/minio"
)

func TestOpenMissingBucket(t *testing.T) {
	loc := location(t, server.Endpoint)
	if _, err := Open(t.Context(), loc); !errors.Is(err, ErrNoBucket) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: %v, want ErrNoBucket, which is not absence of an object", err)
	}
	// A bucket that went is not one without objects (I5).
	b := connected(t, loc)
	_, _, err := b.Get(t.Context(), "nix-cache-info")
	if !errors.Is(err, ErrNoBucket) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get: %v", err)
	}
	if _, err = b.Stat(t.Context(), "nix-cache-info"); !errors.Is(err, ErrNoBucket) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: %v", err)
	}
	if err = count(b, "", 0); !errors.Is(err, ErrNoBucket) {
		t.Errorf("List: %v", err)
	}
	if err := b.Put(t.Context(), "index.html", layout.Bytes(nil), layout.PutOptions{IfMatch: "x"}); !errors.Is(err, ErrNoBucket) {
		t.Errorf("Put: %v", err)
	}
	if err := b.Delete(t.Context(), "index.html"); !errors.Is(err, ErrNoBucket) {
		t.Errorf("Delete: %v", err)
	}
}

func TestWrongCredentials(t *testing.T) {
	loc := location(t, server.Endpoint)
	create(t, loc)
	for name, env := range map[string][2]string{
		"unknown key": {"nobody-we-know", "whatever-it-may-be"}, "wrong secret": {server.AccessKey, "something-very-secret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_ACCESS_KEY_ID", env[0])
			t.Setenv("AWS_SECRET_ACCESS_KEY", env[1])
			_, err := Open(t.Context(), loc)
			if !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), env[1]) {
				t.Errorf("Open: %v, want fs.ErrPermission without the secret", err)
			}
			b := connected(t, loc)
			if _, err := b.Stat(t.Context(), "index.html"); !errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Stat: %v", err)
			}
			if err := b.Put(t.Context(), "index.html", layout.Bytes(nil), layout.PutOptions{IfAbsent: true}); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("Put: %v", err)
			}
		})
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if _, err := Open(t.Context(), loc); err == nil || !strings.Contains(err.Error(), "the environment") {
		t.Errorf("half of the credentials: %v", err)
	}
}

func TestRegion(t *testing.T) {
	elsewhere := minio.Start(t, 1, "MINIO_REGION=eu-west-9")
	loc := location(t, elsewhere.Endpoint)
	create(t, loc) // found out by itself, for making it too
	b, err := Open(t.Context(), loc)
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, "index.html", []byte("x"), layout.PutOptions{})
	b.Close()

	loc.Region = "us-west-2"
	if _, err := Open(t.Context(), loc); err == nil || !strings.Contains(err.Error(), "region=eu-west-9") {
		t.Errorf("Open in a region that somebody named: %v", err)
	}
	loc.Region = ""
	t.Setenv("AWS_DEFAULT_REGION", "eu-west-9")
	m := between(t, elsewhere.Endpoint)
	loc.Endpoint = m.URL
	if b, err = Open(t.Context(), loc); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got := m.counted(); len(got) != 1 {
		t.Errorf("Open in the right region: %q", got)
	}
}

// TestCredentials: the credentials that a person set up are used, in the order
// that the AWS tools have, and a failure to get them is an error.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	config := write("config", "[profile empty]\nregion = eu-west-1\n[profile process]\ncredential_process = "+
		write("process", "")+" x\n")
	write("process", `#!/bin/sh
echo '{"Version": 1, "AccessKeyId": "`+server.AccessKey+`", "SecretAccessKey": "`+server.SecretKey+`", "Expiration": "2099-01-01T00:00:00Z"}'
`)
	if err := os.Chmod(filepath.Join(dir, "process"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := write("credentials", fmt.Sprintf("[default]\naws_access_key_id = %[1]s\naws_secret_access_key = %[2]s\n"+
		"[ci]\naws_access_key_id = %[1]s\naws_secret_access_key = %[2]s\n[half]\naws_access_key_id = x\n", server.AccessKey, server.SecretKey))
	broken := write("broken", "[default]\nwhat-a-secret-line\n")

	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest/api/token":
			io.WriteString(w, "token")
		case "/latest/meta-data/iam/security-credentials/":
			io.WriteString(w, "the-role")
		default:
			fmt.Fprintf(w, `{"Code": "Success", "AccessKeyId": %q, "SecretAccessKey": %q, "Expiration": "2099-01-01T00:00:00Z"}`,
				server.AccessKey, server.SecretKey)
		}
	}))
	defer metadata.Close()
	nowhere := map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
	with := func(more map[string]string) map[string]string {
		all := map[string]string{}
		for _, m := range []map[string]string{nowhere, more} {
			for k, v := range m {
				all[k] = v
			}
		}
		return all
	}
	for _, c := range []struct {
		name, query string
		env         map[string]string
		from, err   string
		anonymous   bool
	}{
		{name: "environment", from: "the environment"},
		{name: "nothing", env: nowhere, from: "AWS_ACCESS_KEY_ID is not set, there is no default profile", anonymous: true},
		{name: "default profile", env: with(map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file}), from: "profile default"},
		{name: "AWS_PROFILE", env: with(map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_PROFILE": "ci"}), from: "profile ci"},
		{name: "environment before AWS_PROFILE", env: map[string]string{"AWS_PROFILE": "ci"}, from: "the environment"},
		{name: "profile before environment", query: "&profile=ci", env: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file}, from: "profile ci"},
		{name: "unknown profile", query: "&profile=none", env: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file}, err: "profile none"},
		{name: "half a profile", query: "&profile=half", env: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file}, err: "no access key or no secret key"},
		{name: "a profile without keys", query: "&profile=empty", env: map[string]string{"AWS_CONFIG_FILE": config}, err: "credential_process"},
		{name: "a process", query: "&profile=process", env: map[string]string{"AWS_CONFIG_FILE": config}, from: "profile process"},
		{name: "a broken file", env: with(map[string]string{"AWS_SHARED_CREDENTIALS_FILE": broken}), err: "neither [section] nor key"},
		{name: "MinIO's own", env: with(map[string]string{"MINIO_ROOT_USER": server.AccessKey, "MINIO_ROOT_PASSWORD": server.SecretKey}), from: "the environment"},
		{name: "a container", env: with(map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": metadata.URL + "/creds"}), from: "the role of the container"},
		{name: "a container that does not answer", env: with(map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/"}), err: "the role of the container"},
		{name: "a web identity without a file", env: with(map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": "/none", "AWS_ROLE_ARN": "arn"}), err: "web identity"},
		{name: "an instance", query: "amazon", env: with(map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.URL}), from: "the role of the instance"},
		{name: "no instance", query: "amazon", env: with(map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}),
			from: "AWS_ACCESS_KEY_ID is not set, there is no default profile, there is no instance role", anonymous: true},
		{name: "asked not to look", query: "amazon", env: with(map[string]string{"AWS_EC2_METADATA_DISABLED": "true"}),
			from: "AWS_ACCESS_KEY_ID is not set, there is no default profile", anonymous: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			endpoint := server.Endpoint + c.query
			if c.query == "amazon" {
				endpoint = ""
			}
			b, err := New(t.Context(), location(t, endpoint))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "what-a-secret") {
					t.Errorf("New: %v, want an error with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if from, anonymous := b.Credentials(); from != c.from || anonymous != c.anonymous {
				t.Errorf("credentials from %q, anonymous %t", from, anonymous)
			}
			if c.query != "amazon" && !c.anonymous {
				if _, err := b.Prepare(t.Context(), false); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestAnonymous: unsigned requests are never made silently.
func TestAnonymous(t *testing.T) {
	loc := location(t, server.Endpoint)
	create(t, loc)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	var log strings.Builder
	loc.Log = slog.New(slog.NewTextHandler(&log, nil))
	b, err := Open(t.Context(), loc) // the bucket is private: it may not be listed
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, part := range []string{"requests are not signed", "AWS_ACCESS_KEY_ID is not set", "may not be listed"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log does not say %q:\n%s", part, log.String())
		}
	}
	_, err = b.Stat(t.Context(), "nix-cache-info")
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "without credentials") {
		t.Errorf("Stat: %v", err)
	}
	if err := b.Put(t.Context(), "index.html", layout.Bytes(nil), layout.PutOptions{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Put: %v", err)
	}
}

// TestEndpointFromEnvironment: a URL without an endpoint goes where the AWS
// tools go.
func TestEndpointFromEnvironment(t *testing.T) {
	loc := location(t, "")
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	t.Setenv("AWS_ENDPOINT_URL_S3", server.Endpoint)
	create(t, loc)
	if b, err := Open(t.Context(), loc); err != nil {
		t.Error(err)
	} else {
		b.Close()
	}
}

// TestSettingsNotNeeded: files that the environment names and nothing asks for
// may be broken. If one is needed it is told of.
func TestSettingsNotNeeded(t *testing.T) {
	container := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId": %q, "SecretAccessKey": %q, "Expiration": "2099-01-01T00:00:00Z"}`, server.AccessKey, server.SecretKey)
	}))
	defer container.Close()
	t.Setenv("AWS_CA_BUNDLE", "/none")
	t.Setenv("AWS_CONFIG_FILE", os.Args[0])
	t.Setenv("AWS_ENDPOINT_URL", "no URL at all")
	create(t, location(t, server.Endpoint))
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.URL)
	create(t, location(t, server.Endpoint))

	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	loc := location(t, secure.URL)
	loc.Attempts = 50 // not tried: it would be the same
	if _, err := Open(t.Context(), loc); err == nil || !strings.Contains(err.Error(), "read certificates: open /none") {
		t.Errorf("authorities that are not there, over TLS: %v", err)
	}
}

// TestWrongScheme: a store that speaks HTTPS and is asked in plain HTTP is said to,
// and the other way round, at once.
func TestWrongScheme(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	for endpoint, want := range map[string]error{
		"http" + strings.TrimPrefix(secure.URL, "https"):      ErrHTTPS,
		"https" + strings.TrimPrefix(server.Endpoint, "http"): http.ErrSchemeMismatch,
	} {
		loc := location(t, endpoint)
		loc.Attempts = 50
		if _, err := Open(t.Context(), loc); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", endpoint, err, want)
		}
	}
}
