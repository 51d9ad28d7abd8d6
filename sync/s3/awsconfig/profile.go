package awsconfig

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// maxFile bounds a file in bytes; those of organisations have thousands of
// profiles, and some hundred bytes for each.
const maxFile = 16 << 20

// Files are what the two files say.
type Files struct {
	profiles map[string]Profile
	services map[string]Section
}

// A Profile is what the files say under one name.
type Profile struct {
	Name string
	// Section holds the settings of both files. Those of the credentials file
	// win.
	Section
	// Shared and Config are what each of the two says, nil for nothing.
	Shared, Config Section
}

// Load reads the files that AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE name,
// or those below ~/.aws. A file that is not there says nothing.
func Load() (*Files, error) {
	config, err := load("AWS_CONFIG_FILE", "~/.aws/config")
	if err != nil {
		return nil, err
	}
	shared, err := load("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
	if err != nil {
		return nil, err
	}
	return merge(config, shared), nil
}

// Profile returns the profile of a name, and whether either file has it.
func (f *Files) Profile(name string) (Profile, bool) {
	p, ok := f.profiles[name]
	return p, ok
}

// Service returns the settings that a profile has for one service of its own,
// such as "s3".
func (f *Files) Service(p Profile, name string) map[string]string {
	services, _ := p.Text("services")
	return f.services[services].Group(name)
}

func merge(config, shared []heading) *Files {
	f := &Files{profiles: map[string]Profile{}, services: map[string]Section{}}
	for _, h := range config {
		switch name, kind := named(h.name); kind {
		case "profile":
			f.profiles[name] = Profile{Name: name, Config: h.Section}
		case "services":
			f.services[name] = h.Section
		}
	}
	for _, h := range shared {
		p := f.profiles[h.name]
		p.Name, p.Shared = h.name, h.Section
		f.profiles[h.name] = p
	}
	for name, p := range f.profiles {
		p.Section = Section{}
		for _, from := range []Section{p.Config, p.Shared} {
			for key, value := range from {
				p.Section[key] = value
			}
		}
		f.profiles[name] = p
	}
	return f
}

// named reads a heading of the config file: what it is about, and the name.
func named(heading string) (name, kind string) {
	if heading == "default" {
		return heading, "profile"
	}
	for _, kind := range []string{"profile", "services"} {
		if words, err := Words(heading); err == nil && len(words) == 2 && strings.HasPrefix(heading, kind) {
			return words[1], kind
		}
	}
	return "", ""
}

func load(name, otherwise string) ([]heading, error) {
	path := os.Getenv(name)
	if path == "" {
		path = otherwise
	}
	text, err := read(expand(path))
	if err != nil {
		return nil, fmt.Errorf("read AWS settings: %w", err)
	}
	sections, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("read AWS settings %s: %w", path, err)
	}
	return sections, nil
}

// variable is one in a path, as Python knows them.
var variable = regexp.MustCompile(`\$(\w+|\{[^}]*\})`)

// expand replaces variables that are set, and a tilde at the beginning.
func expand(path string) string {
	path = variable.ReplaceAllStringFunc(path, func(use string) string {
		if value, ok := os.LookupEnv(strings.Trim(use, "${}")); ok {
			return value
		}
		return use
	})
	if path == "~" || strings.HasPrefix(path, "~/") || strings.HasPrefix(path, "~"+string(filepath.Separator)) {
		if home, err := os.UserHomeDir(); err == nil {
			return home + path[1:]
		}
	}
	return path
}

// read returns the text of a file, "" of what is not a file.
func read(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || err == nil && !info.Mode().IsRegular() {
		return "", nil
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return string(text), err
}
