package nixstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// maxLinks bounds a chain of symbolic links, as Linux does.
const maxLinks = 40

// Resolve returns the store path that arg leads to, which is what a person types:
//
//   - a store path, or a path inside one: /nix/store/<hash>-<name>/bin/foo;
//   - a path to or through symbolic links into the store: ./result;
//   - where the store has a root of its own, the place of the files below it;
//   - an output of a derivation: /nix/store/<hash>-<name>.drv^out, or !out.
//
// Links inside the store are not followed, as Nix does not. Whether the path is
// valid is for Infos to say.
func (s *Store) Resolve(ctx context.Context, arg string) (layout.StorePath, error) {
	file, output := arg, ""
	// No store path has either character, so that this cannot be a file in one.
	if i := strings.LastIndexAny(arg, "^!"); i >= 0 && strings.HasSuffix(arg[:i], ".drv") {
		file, output = arg[:i], arg[i+1:]
		if output == "" || strings.ContainsAny(output, "*,") {
			return "", fmt.Errorf("find %q: name one output, such as %s^out", arg, file)
		}
	}
	p, err := s.follow(file)
	if err != nil {
		return "", fmt.Errorf("find %q: %w", arg, err)
	}
	if output == "" {
		return p, nil
	}
	if p, err = s.output(ctx, p, output); err != nil {
		return "", fmt.Errorf("find %q: %w", arg, err)
	}
	return p, nil
}

// follow returns the store path that file leads to.
func (s *Store) follow(file string) (layout.StorePath, error) {
	path, err := Follow(file, s.storeDir, s.realDir, s.bareDir)
	if errors.Is(err, ErrOutside) {
		return "", fmt.Errorf("%w %s", err, s.places())
	}
	if err != nil {
		return "", err
	}
	base, _, _ := strings.Cut(path, "/")
	return layout.ParseStorePath(base)
}

// Follow walks along the components of a file name, and where symbolic links in it
// lead, until it is in one of the store directories: it returns what follows that,
// as in <hash>-<name>/bin/foo. Nothing in a store need exist, and links there are not
// followed. Errors are ErrNoFile, and ErrOutside for a file that is in none of them.
func Follow(file string, storeDirs ...string) (string, error) {
	if file == "" {
		return "", errors.New("no path given")
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	tried := []string{path}
	for range maxLinks {
		for _, dir := range storeDirs {
			if inside, ok := strings.CutPrefix(path, dir+"/"); ok {
				return inside, nil
			}
		}
		next, err := step(path)
		switch {
		case err != nil:
			return "", fmt.Errorf("tried %s: %w", strings.Join(tried, ", then "), err)
		case next == "":
			return "", fmt.Errorf("tried %s: %w", strings.Join(tried, ", then "), ErrOutside)
		}
		path = next
		tried = append(tried, path)
	}
	return "", fmt.Errorf("tried %s: too many links", strings.Join(tried[:3], ", then "))
}

// step returns what the first symbolic link in a path makes of it, "" if there is none.
func step(path string) (next string, err error) {
	for end := 1; end <= len(path); end++ {
		if end < len(path) && path[end] != '/' {
			continue
		}
		prefix := path[:end]
		target, err := os.Readlink(prefix)
		if err == nil {
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(prefix), target)
			}
			return filepath.Join(target, path[end:]), nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%w %s: %w", ErrNoFile, prefix, fs.ErrNotExist)
		}
	}
	return "", nil
}

func (s *Store) places() string {
	if s.realDir == s.storeDir {
		return s.storeDir
	}
	return s.storeDir + " (" + s.realDir + ")"
}

// output returns what became of an output of a derivation.
func (s *Store) output(ctx context.Context, drv layout.StorePath, output string) (layout.StorePath, error) {
	outputs, err := s.outputs(ctx, drv)
	if err != nil {
		return "", err
	}
	path, ok := outputs[output]
	switch {
	case !ok:
		return "", fmt.Errorf("%s has no output %q: %w", drv.Abs(s.storeDir), output, fs.ErrNotExist)
	case path == "":
		return "", fmt.Errorf("output %q of %s is not built: %w", output, drv.Abs(s.storeDir), fs.ErrNotExist)
	}
	return layout.ParseAbsStorePath(s.storeDir, path)
}

// outputs returns the store paths of a derivation's outputs by their names; "" is one
// that is not known before it is built.
func (s *Store) outputs(ctx context.Context, drv layout.StorePath) (map[string]string, error) {
	if !drv.IsDerivation() {
		return nil, fmt.Errorf("%s is no derivation", drv.Abs(s.storeDir))
	}
	var outputs map[string]string
	err := s.query.use(ctx, func(_ context.Context, c *conn) error {
		outputs = map[string]string{}
		if err := c.ask(opQueryDerivationOutputMap, drv.Abs(s.storeDir)); err != nil {
			return err
		}
		for range c.in.count(maxList, "outputs") {
			name := c.in.text(maxText)
			outputs[name] = c.in.text(maxText)
			if c.in.err != nil {
				return c.in.err
			}
		}
		return c.in.err
	})
	if err != nil {
		return nil, fmt.Errorf("query outputs of %s: %w", drv.Abs(s.storeDir), err)
	}
	return outputs, nil
}
