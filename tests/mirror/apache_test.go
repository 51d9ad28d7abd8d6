//go:build real

package mirror_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// The user that Apache runs as, since it refuses to be root.
const nobody = 65534

// startApache runs an Apache with mod_dav, which wants a password from all who do
// not just read files. It returns its URL, and the directory that it serves.
func startApache(t *testing.T) (url, root string) {
	t.Helper()
	// Tests' own directories are for their owner alone.
	dir, err := os.MkdirTemp("", "apache-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	root = filepath.Join(dir, "root")
	address := freeAddress(t)
	conf := fmt.Sprintf(`ServerRoot "%[1]s"
ServerName localhost
Listen %[2]s
PidFile "%[1]s/pid"
ErrorLog "%[1]s/error.log"
DavLockDB "%[1]s/locks"
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authn_core_module /usr/lib/apache2/modules/mod_authn_core.so
LoadModule authn_file_module /usr/lib/apache2/modules/mod_authn_file.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule authz_user_module /usr/lib/apache2/modules/mod_authz_user.so
LoadModule auth_basic_module /usr/lib/apache2/modules/mod_auth_basic.so
LoadModule dav_module /usr/lib/apache2/modules/mod_dav.so
LoadModule dav_fs_module /usr/lib/apache2/modules/mod_dav_fs.so
DocumentRoot "%[1]s/root"
<Directory "%[1]s/root">
	Dav On
	AuthType Basic
	AuthName cache
	AuthUserFile "%[1]s/users"
	<LimitExcept GET HEAD>
		Require valid-user
	</LimitExcept>
</Directory>
`, dir, address)
	for name, text := range map[string]string{"apache.conf": conf, "users": "ci:{SHA}" + "W6ph5Mm5Pz8GgiULbPgzG37mj9g=" + "\n"} { // "password"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(root+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(peers.Program(t, "apache2"), "-d", dir, "-f", dir+"/apache.conf", "-D", "FOREGROUND")
	if os.Getuid() == 0 {
		for _, name := range []string{dir, root, root + "/sub"} {
			if err := os.Chown(name, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	url = start(t, address, cmd)
	t.Cleanup(func() {
		if text, err := os.ReadFile(dir + "/error.log"); err == nil && t.Failed() {
			t.Logf("apache:\n%s", text)
		}
	})
	return url, root
}

// TestApache mirrors into an Apache, which makes no folders by itself, and answers
// 409 where one is missing; and from there, since it tells what it has.
func TestApache(t *testing.T) {
	w := newWorld(t)
	url, root := startApache(t)
	r := nixtest.Wait(t, w.command(t, "sync", w.dir, url+"/sub")).Refused(t, "401")
	wantHint(t, r, "check the user name and the password")
	authorized := strings.Replace(url, "://", "://ci:password@", 1) + "/sub"
	w.syncPut(t, authorized, root+"/sub")

	nixtest.Wait(t, w.command(t, "sync", url+"/sub", w.home+"/refused")).Refused(t, "401")
	w.syncFrom(t, authorized, root+"/sub")
}
