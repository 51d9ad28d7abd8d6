package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nixstatic/nixstatic/sync/nixconf"
)

// readWhere reads --write.
func (u *using) readWhere(text string) error {
	where, dir, hasDir := strings.Cut(text, "=")
	switch where {
	case "auto", "user", "system", "flake", "print":
		if hasDir {
			return usage("--write %s: only nixos and home-manager take a directory", text)
		}
	case "nixos", "home-manager":
		if hasDir && dir == "" {
			return usage("--write %s: want a directory after the =", text)
		}
	default:
		return usage("--write %s: choose one of auto, user, system, nixos, nixos=DIR, home-manager, home-manager=DIR, flake, print", text)
	}
	u.where, u.dir = where, dir
	return nil
}

// text reports whether text is made for a person or another program to put into
// its place, and no file of Nix is changed.
func (u *using) text() bool { return u.where != "auto" && u.where != "user" && u.where != "system" }

// expression is a Nix expression that has a Nix use the cache.
func (u *using) expression() string {
	list := func(words []string) string {
		var quoted []string
		for _, word := range words {
			quoted = append(quoted, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", `\${`).Replace(word)+`"`)
		}
		return "[ " + strings.Join(quoted, " ") + " ]"
	}
	settings := func(name, indent string) string {
		return indent + name + " = {\n" +
			indent + "  extra-substituters = " + list([]string{u.url}) + ";\n" +
			indent + "  extra-trusted-public-keys = " + list(u.keys) + ";\n" +
			indent + "};\n"
	}
	switch u.where {
	case "nixos":
		return "{\n" + settings("nix.settings", "  ") + "}\n"
	case "home-manager":
		// It writes nix.conf only where it is told which Nix reads that.
		return "{ lib, pkgs, ... }:\n{\n  nix.package = lib.mkDefault pkgs.nix;\n" + settings("nix.settings", "  ") + "}\n"
	case "flake":
		return settings("nixConfig", "  ")
	}
	return strings.Join(u.lines(), "\n") + "\n"
}

// moduleFile is the file for a configuration to import.
func (u *using) moduleFile() string {
	slug := strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' {
			return c
		}
		return '-'
	}, u.url[strings.Index(u.url, "://")+3:])
	return filepath.Join(u.dir, "nixstatic-"+strings.Trim(slug, ".-")+".nix")
}

func (u *using) moduleMark() string {
	return "# Written by nixstatic use " + u.url + "; --remove takes it away.\n"
}

// writeText gives out text, or writes the file to import.
func (u *using) writeText() error {
	if err := u.agree(nil); err != nil {
		return err
	}
	if u.dir == "" {
		if u.where == "flake" {
			say(u.c, "this goes to the top of flake.nix, beside inputs and outputs:")
		}
		fmt.Fprint(u.c.App.Writer, u.expression())
		return nil
	}
	file, text := u.moduleFile(), u.moduleMark()+u.expression()
	if u.c.Bool("dry-run") {
		fmt.Fprint(u.c.App.Writer, text)
		say(u.c, "would write that to %s", file)
		return nil
	}
	if st, err := os.Stat(u.dir); err != nil || !st.IsDir() {
		return withHint(fmt.Errorf("%s is not a directory", u.dir), "name the directory of the configuration, such as --write nixos=/etc/nixos")
	}
	edit := nixconf.Edit{Mode: 0o644, Change: func(have []byte) ([]byte, error) {
		if have != nil && !strings.HasPrefix(string(have), u.moduleMark()) {
			return nil, withHint(errors.New("the file is there, and is not of nixstatic use"), "move it away, or name another directory")
		}
		return []byte(text), nil
	}}
	changed, err := edit.Apply(file)
	if err != nil {
		return err
	}
	fmt.Fprintln(u.c.App.Writer, file)
	if changed {
		say(u.c, "add it to the imports of the configuration, and rebuild: imports = [ ./%s ];", filepath.Base(file))
		if _, err := os.Stat(filepath.Join(u.dir, "flake.nix")); err == nil {
			say(u.c, "a flake sees only files that git knows: git add %s", file)
		}
	}
	return nil
}

// removeText takes the file to import away.
func (u *using) removeText() error {
	if u.dir == "" {
		return usage("--write %s has written nothing that could be removed: take the text out where you put it", u.where)
	}
	file := u.moduleFile()
	removed := false
	edit := nixconf.Edit{Change: func(have []byte) ([]byte, error) {
		if have != nil && !strings.HasPrefix(string(have), u.moduleMark()) {
			return nil, withHint(errors.New("it is not a file of nixstatic use"), "nothing was removed")
		}
		removed = have != nil
		return nil, nil
	}}
	if u.c.Bool("dry-run") {
		if _, _, err := edit.Preview(file); err != nil {
			return err
		}
	} else if _, err := edit.Apply(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch {
	case !removed:
		say(u.c, "there is nothing to remove: %s does not exist", file)
	case u.c.Bool("dry-run"):
		say(u.c, "would remove %s", file)
	default:
		say(u.c, "removed %s; take it out of the imports as well", file)
	}
	return nil
}
