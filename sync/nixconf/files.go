package nixconf

import (
	"os"
	"path/filepath"
	"strings"
)

// Files are those that a Nix reads its settings from.
type Files struct {
	System string // of the machine, which a Nix daemon reads too
	// User are the user's own, in the order in which they count: a setting in the
	// first one wins. There may be none.
	User []string
	// Inline is text that counts more than any file, from $NIX_CONFIG.
	Inline string
}

// findFiles returns the files of the user who runs this process. getenv is
// os.LookupEnv but in tests; home is the user's home directory, "" if unknown.
func findFiles(lookup func(string) (string, bool), home string) Files {
	get := func(name, fallback string) string {
		if v, ok := lookup(name); ok && v != "" {
			return v
		}
		return fallback
	}
	f := Files{System: filepath.Join(get("NIX_CONF_DIR", "/etc/nix"), "nix.conf"), Inline: get("NIX_CONFIG", "")}
	// A list that is set and empty means: no files.
	if list, ok := lookup("NIX_USER_CONF_FILES"); ok {
		for name := range strings.SplitSeq(list, ":") {
			if name != "" {
				f.User = append(f.User, name)
			}
		}
		return f
	}
	fallback := ""
	if home != "" {
		fallback = filepath.Join(home, ".config")
	}
	dirs := append([]string{get("XDG_CONFIG_HOME", fallback)}, strings.Split(get("XDG_CONFIG_DIRS", "/etc/xdg"), ":")...)
	for _, dir := range dirs {
		if dir != "" {
			f.User = append(f.User, filepath.Join(dir, "nix", "nix.conf"))
		}
	}
	return f
}

// Here returns the files of the user who runs this process.
func Here() Files {
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	return findFiles(os.LookupEnv, home)
}

// Own returns the user's own file that counts most, "" if there is none.
func (f Files) Own() string {
	if len(f.User) == 0 {
		return ""
	}
	return f.User[0]
}

// Netrc returns the netrc file that Nix reads unless a setting names another.
func (f Files) Netrc() string { return filepath.Join(filepath.Dir(f.System), "netrc") }
