package nixstore

import (
	"bytes"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// DaemonStarted returns when the Nix daemon of the machine was started, if there is
// one and the system tells.
func DaemonStarted() (time.Time, bool) {
	pid := DaemonProcess()
	if pid == 0 {
		return time.Time{}, false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return time.Time{}, false
	}
	// The name of the program, in brackets, may have blanks in it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return time.Time{}, false
	}
	const ticks = 100 // a second, on every system that Go runs on
	after, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	system, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, false
	}
	_, rest, _ := strings.Cut(string(system), "\nbtime ")
	boot, err := strconv.ParseInt(strings.TrimSpace(strings.SplitN(rest+"\n", "\n", 2)[0]), 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(boot, 0).Add(time.Duration(after) * time.Second / ticks), true
}

// DaemonProcess returns the process that listens for the clients of the machine's Nix
// daemon, 0 if it is not known: systemd holds the socket of a daemon that it starts
// by need.
func DaemonProcess() int {
	l, err := locate("daemon", os.Getenv)
	if err != nil {
		return 0
	}
	c, err := net.Dial("unix", l.socket)
	if err != nil {
		return 0
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	raw.Control(func(fd uintptr) { pid = listener(int(fd)) })
	if pid == 1 {
		return findDaemon()
	}
	return pid
}

// findDaemon looks for the daemon among all processes.
func findDaemon() int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	first := 0 // its children, one for each client, come later
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || first != 0 && pid > first {
			continue
		}
		if name, err := os.ReadFile("/proc/" + e.Name() + "/comm"); err == nil && strings.TrimSpace(string(name)) == "nix-daemon" {
			first = pid
		}
	}
	return first
}
