// Package hook is what Nix starts after each build: it adds what was built to a queue,
// and ends.
//
// Nix waits for it. So the work is done while the program gets ready: of packages that
// can be initialized, Go takes the one whose path comes first, and this one needs
// little. It runs before what takes most of the time, such as the tables of the clients
// of object stores. A test looks that it stays so.
package hook

import (
	"fmt"
	"os"
	"strings"

	"github.com/nixstatic/nixstatic/sync/queue/intake"
)

// Name is the name of the hook in a queue: started under that name, nixstatic adds what was
// built to the queue beside it.
const Name = "post-build-hook"

// DefaultQueue returns the directory of the queue of a user: root's is that of the
// machine.
func DefaultQueue() string {
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" {
		return dir + "/queue" // of a service of systemd
	}
	if os.Geteuid() == 0 {
		return "/var/lib/nixstatic/queue"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); strings.HasPrefix(dir, "/") {
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
	if dir, ok := strings.CutSuffix(args[0], "/"+Name); ok && dir != "" {
		return dir, true
	}
	if len(args) < 3 || args[1] != "watch" || args[2] != "send" {
		return "", false
	}
	switch rest := args[3:]; {
	case len(rest) == 0:
		return DefaultQueue(), true
	case len(rest) == 1 && strings.HasPrefix(rest[0], "--queue=/"):
		return strings.TrimPrefix(rest[0], "--queue="), true
	case len(rest) == 2 && rest[0] == "--queue" && strings.HasPrefix(rest[1], "/"):
		return rest[1], true
	}
	return "", false
}

// send adds what Nix says that it built. Nix 2.8 names no outputs, and the derivation
// alone.
func send(dir string) {
	paths := strings.Fields(os.Getenv("OUT_PATHS"))
	if drv := os.Getenv("DRV_PATH"); len(paths) == 0 && drv != "" {
		paths = []string{drv}
	}
	if err := intake.Add(dir, paths...); err != nil {
		// Nix shows this as a line of the build.
		fmt.Fprintf(os.Stderr, "nixstatic: the build goes on, but could not be added to the queue for the cache: %v\n", err)
	}
}
