package nixtest

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside is the variable of the environment that tells a test that it runs in
// a mount namespace of its own.
const inside = "NIXSTATIC_TEST_NAMESPACE"

// Mounting runs the test in a mount namespace of its own, where mounts end with
// it: false means that this was done, and that the test is to return. If mounting
// is not allowed, the test gets a user namespace too; on a machine that allows
// neither it fails.
func Mounting(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		// Mounts would come through to the machine otherwise.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(attr syscall.SysProcAttr) ([]byte, error) {
		attr.Cloneflags |= syscall.CLONE_NEWNS
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"="+t.Name())
		cmd.SysProcAttr = &attr
		return cmd.CombinedOutput()
	}
	out, err := run(syscall.SysProcAttr{})
	if errors.Is(err, syscall.EPERM) {
		out, err = run(syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		})
	}
	if errors.Is(err, syscall.EPERM) {
		t.Fatal("this test mounts small file systems, and this machine does not let it: run it as root, or allow user namespaces")
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a mount namespace: %v\n%s", err, out)
	}
	return false
}

// Mount puts a file system in memory at a directory; with MS_REMOUNT it changes
// the one that is there.
func Mount(t *testing.T, dir string, flags uintptr, options string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Fatalf("mount a tmpfs with %s: %v", options, err)
	}
	if flags&unix.MS_REMOUNT == 0 {
		t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	}
}

// Bind mounts a directory at another one.
func Bind(t *testing.T, from, to string) {
	t.Helper()
	for _, dir := range []string{from, to} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("mount %s at %s: %v", from, to, err)
	}
	t.Cleanup(func() { unix.Unmount(to, unix.MNT_DETACH) })
}
