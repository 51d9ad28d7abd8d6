// Package hook is what Nix starts after each build: it adds what was built to a queue,
// and ends.
//
// Nix waits for it. So the work is done while the program gets ready: of packages that
// can be initialized, Go takes the one whose path comes first, and this one needs no
// package that is initialized after os, such as fmt and strings. It runs before what
// takes most of the time, such as the tables of compressors and of the clients of object
// stores. A test looks that it stays so.
package hook

import (
	"os"

	"github.com/nixstatic/nixstatic/sync/queue/intake"
)

// Name is the name of the hook in a queue: started under that name, nixstatic adds what was
// built to the queue beside it.
const Name = "post-build-hook"

// DefaultQueue returns the directory of the queue of a user: root's is that of the
// machine.
func DefaultQueue() string {
	if dirs := fields(os.Getenv("STATE_DIRECTORY"), ":"); len(dirs) > 0 {
		return dirs[0] + "/queue" // of a service of systemd
	}
	if os.Geteuid() == 0 {
		return "/var/lib/nixstatic/queue"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); hasPrefix(dir, "/") {
		return dir + "/nixstatic/queue"
	}
	return os.Getenv("HOME") + "/.local/state/nixstatic/queue"
}

func init() {
	if dir, isHook := queueOf(os.Args); isHook {
		send(dir)
		os.Exit(0) // a build does not fail for its upload, whatever happens
	}
}

// queueOf returns the queue that a command line adds to: that beside the link by which
// Nix starts the program, or that of watch send. Command lines that are not understood are
// left to the command of that name, which explains them.
func queueOf(args []string) (dir string, isHook bool) {
	if len(args) == 0 {
		return "", false
	}
	const link = "/" + Name
	if n := len(args[0]) - len(link); n > 0 && args[0][n:] == link {
		return args[0][:n], true
	}
	if len(args) < 3 || args[1] != "watch" || args[2] != "send" {
		return "", false
	}
	switch rest := args[3:]; {
	case len(rest) == 0:
		return DefaultQueue(), true
	case len(rest) == 1 && hasPrefix(rest[0], "--queue=/"):
		return rest[0][len("--queue="):], true
	case len(rest) == 2 && rest[0] == "--queue" && hasPrefix(rest[1], "/"):
		return rest[1], true
	}
	return "", false
}

// send adds what Nix says that it built. Nix 2.8 names no outputs, and the derivation
// alone.
func send(dir string) {
	paths := fields(os.Getenv("OUT_PATHS"), " \t\r\n\v\f")
	if drv := os.Getenv("DRV_PATH"); len(paths) == 0 && drv != "" {
		paths = []string{drv}
	}
	if err := intake.Add(dir, paths...); err != nil {
		// Nix shows this as a line of the build.
		os.Stderr.WriteString("nixstatic: the build goes on, but could not be added to the queue for the cache: " + err.Error() + "\n")
	}
}

func hasPrefix(text, prefix string) bool {
	return len(text) >= len(prefix) && text[:len(prefix)] == prefix
}

// fields returns the parts of a text between any of some bytes that are not empty.
func fields(text, between string) (parts []string) {
	begin := 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) && !contains(between, text[i]) {
			continue
		}
		if i > begin {
			parts = append(parts, text[begin:i])
		}
		begin = i + 1
	}
	return parts
}

func contains(text string, c byte) bool {
	for i := range len(text) {
		if text[i] == c {
			return true
		}
	}
	return false
}
