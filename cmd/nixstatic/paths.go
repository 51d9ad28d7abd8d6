package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/nixstore"
)

// aboutPath gives the error about a path of the local store its hint, by what the
// argument looks like.
func aboutPath(err error, arg string) error {
	if err == nil || errors.As(err, new(*hinted)) {
		return err
	}
	_, notPath := layout.ParseStorePath(arg)
	build := buildHint(arg)
	switch {
	case errors.Is(err, nixstore.ErrNoFile) && build != "":
		return withHint(err, "%s", build)
	case errors.Is(err, nixstore.ErrNoFile) && notPath == nil:
		return withHint(err, "name the whole path: /nix/store/%s", arg)
	case errors.Is(err, nixstore.ErrNoFile):
		return withHint(err, "check the path; nix build makes the link ./result")
	case errors.Is(err, nixstore.ErrOutside):
		return withHint(err, "nixstatic add --to CACHE %s puts a file or directory from anywhere into a cache", quoted(arg))
	}
	return err
}

// buildHint tells who names a package instead of a path how to have the path, or is "".
func buildHint(arg string) string {
	flake, attribute, isFlake := strings.Cut(arg, "#")
	_, notPath := layout.ParseStorePath(arg)
	switch {
	case isFlake && attribute != "" && !strings.HasPrefix(flake, "-"):
		return fmt.Sprintf("this is an installable, not a path: build it first, with nix build %s, and name ./result", quoted(arg))
	case !strings.Contains(arg, "/") && notPath != nil && layout.CheckName(arg) == nil:
		return fmt.Sprintf("what is built can be named, by its store path or a link to it: nix build %s first, and then ./result", quoted("nixpkgs#"+arg))
	}
	return ""
}

// leadingTo returns the store path of another cache that a person means: where a
// symbolic link leads, such as ./result, or else the word itself.
func leadingTo(storeDir, arg string) string {
	if _, err := layout.ParseStorePath(arg); err == nil {
		return arg
	}
	if inside, err := nixstore.Follow(arg, storeDir); err == nil {
		return storeDir + "/" + inside
	}
	return arg
}

// storeHint tells what to do about the local store, or is "".
func storeHint(err error) string {
	switch {
	case errors.Is(err, nixstore.ErrNoDaemon):
		return "start nix-daemon, or put it on PATH; without Nix, export --from URL takes paths from another cache, and add any file or directory"
	case errors.Is(err, nixstore.ErrNotValid):
		return "the store of this machine does not have it: build or fetch it first, with nix build PATH, or take it from another cache with nixstatic export --from URL"
	}
	return ""
}

// aboutArg gives the error about a path its hint, by where it was looked for.
func aboutArg(c *cli.Context, err error, arg string) error {
	if c.IsSet("from") {
		return aboutCachePath(err, c.String("from"), arg)
	}
	return aboutPath(err, arg)
}

// aboutCachePath tells how paths of another cache are named.
func aboutCachePath(err error, from, arg string) error {
	if err == nil || errors.As(err, new(*hinted)) || strings.HasPrefix(arg, "/") {
		return err
	}
	if layout.CheckName(arg) != nil {
		return withHint(err, "paths of another cache are named by hash and name, as in /nix/store/…-hello-2.12")
	}
	return withHint(err, "nixstatic find %s %s looks for the paths of a name", quoted(withoutUser(from)), fmt.Sprintf("'*%s*'", arg))
}
