//go:build real

package uses

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// The logs of the real servers tell what was read.
func TestLogsOfServers(t *testing.T) {
	for name, config := range map[string]string{
		"nginx": `user root; daemon off; pid DIR/pid; error_log DIR/error.log; events {} http { access_log DIR/access.log;
client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
server { listen ADDRESS; root DIR/tree; } }`,
		"nginx json": `user root; daemon off; pid DIR/pid; error_log DIR/error.log; events {} http {
log_format j escape=json '{"time_iso8601":"$time_iso8601","request":"$request","status":"$status"}'; access_log DIR/access.log j;
client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
server { listen ADDRESS; root DIR/tree; } }`,
		"caddy": "{\n admin off\n auto_https off\n}\nhttp://ADDRESS {\n root * DIR/tree\n file_server\n log {\n  output file DIR/access.log\n }\n}\n",
		"apache2": `ServerRoot DIR
ServerName cache
Listen ADDRESS
PidFile DIR/pid
ErrorLog DIR/error.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
DocumentRoot DIR/tree
CustomLog DIR/access.log "%h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\""
`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{path + ".narinfo": "x", nar: "y"} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, "tree", file)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "tree", file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			begin := time.Now().UTC().Format(dayFormat)
			address := startServer(t, dir, name, config)
			for _, key := range []string{path + ".narinfo", nar, "absent"} {
				answer, err := http.Get("http://" + address + "/" + key)
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
			}
			tree := treetest.NewMem(t)
			var log Log
			for range 100 { // it is written a moment later
				log = Log{}
				f, err := os.Open(filepath.Join(dir, "access.log"))
				if err == nil {
					err = log.Add(f)
					f.Close()
				}
				if err == nil && log.Lines.Load() >= 3 {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if err := log.Write(t.Context(), tree); err != nil {
				t.Fatal(err)
			}
			end := time.Now().UTC().Format(dayFormat)
			have := map[string]bool{}
			for day, entries := range told(t, tree) {
				if day != begin && day != end {
					t.Errorf("a day %s", day)
				}
				for _, entry := range entries {
					have[entry] = true
				}
			}
			if diff := cmp.Diff(map[string]bool{path: true, nar: true}, have); diff != "" || log.Strange.Load() > 0 {
				t.Errorf("%d strange lines (-want +got):\n%s", log.Strange.Load(), diff)
			}
		})
	}
}

// startServer starts a web server until the test ends, and returns where it listens.
func startServer(t *testing.T, dir, name, config string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, []byte(strings.NewReplacer("DIR", dir, "ADDRESS", address).Replace(config)), 0o644); err != nil {
		t.Fatal(err)
	}
	program, _, _ := strings.Cut(name, " ")
	args := map[string][]string{"nginx": {"-e", "stderr", "-c", file}, "caddy": {"run", "--adapter", "caddyfile", "--config", file}, "apache2": {"-X", "-f", file}}[program]
	cmd := exec.Command(peers.Program(t, program), args...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	for range 200 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s does not listen: %s", name, out.String())
	return ""
}
