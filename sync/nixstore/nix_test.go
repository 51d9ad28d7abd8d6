package nixstore

import (
	"os"
	"strings"
	"testing"
)

// withoutNixEnv makes the daemons that Open spawns those of the test, whatever the
// developer's own Nix is told by its environment.
func withoutNixEnv(t testing.TB) {
	t.Helper()
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "NIX_") {
			t.Setenv(name, "") // which restores it, too
			os.Unsetenv(name)
		}
	}
}
