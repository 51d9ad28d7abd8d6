package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/layout/seek"
)

func lsCommand() *cli.Command {
	return &cli.Command{
		Name:      "ls",
		Usage:     "list the files of a store path in a cache",
		ArgsUsage: "CACHE PATH[/DIR]",
		Description: "CACHE is a directory, s3://… or https://…, ours or another. PATH is a store path, its\n" +
			"<hash>-<name>, the hash alone, or a name that only one path has.\n\n" +
			"What is read is the listing beside the narinfo; where a cache has none, the NAR.\n" +
			"Bytes of names that could steer a terminal are shown as escapes, such as \\x1b.\n\n" +
			"Examples:\n" +
			"   nixstatic ls ./cache /nix/store/…-hello-2.12/bin\n" +
			"   nixstatic ls -lR https://cache.nixos.org 63l345l7dgcfz789w1y93j1540czafqh\n" +
			"   nixstatic ls -R --json ./cache hello-2.12 | jq '.node.entries | keys'",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "with sizes, executables, and where links lead"},
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"R"}, Usage: "with all that is below"},
			&cli.StringFlag{Name: "netrc-file", Usage: "user names and passwords are in `FILE` instead of ~/.netrc"},
			jsonFlag(), quietFlag(),
		},
		UseShortOptionHandling: true,
		Action:                 runLs,
	}
}

// lsResult is what --json prints.
type lsResult struct {
	Version   int    `json:"version"`
	StorePath string `json:"storePath"`
	Path      string `json:"path"` // inside, "" for all
	Node      lsNode `json:"node"`
}

// An lsNode is a node as listings have it. Without -R what is below a subdirectory is
// left out, and its entries with it.
type lsNode struct {
	Type       nar.Type           `json:"type"`
	Size       *int64             `json:"size,omitempty"`
	Executable *bool              `json:"executable,omitempty"`
	NarOffset  *int64             `json:"narOffset,omitempty"`
	Target     *string            `json:"target,omitempty"`
	Entries    *map[string]lsNode `json:"entries,omitempty"`
}

func runLs(c *cli.Context) error {
	cache, n, inside, err := lookAt(c)
	if err != nil {
		return err
	}
	defer cache.Close()
	var node *nar.Node
	for range maxLinks {
		node, err = lsNodeAt(c, cache, n, inside)
		link := (*seek.LinkError)(nil)
		if !errors.As(err, &link) {
			break
		}
		var base layout.StorePath
		if base, inside, err = cache.follow(n.Path, link); err != nil {
			return err
		}
		if base != n.Path {
			if n, err = cache.recordOf(c.Context, base); err != nil {
				return fmt.Errorf("follow a symbolic link: %w", err)
			}
		}
		err = fmt.Errorf("more than %d symbolic links lead to one another", maxLinks)
	}
	if err != nil {
		return fileHint(err, cache, n)
	}
	names := seek.Split(inside)
	if c.Bool("json") {
		depth := 1
		if c.Bool("recursive") {
			depth = nar.MaxDepth + 1
		}
		return printJSON(c.App.Writer, lsResult{1, n.Path.Abs(cache.storeDir), strings.Join(names, "/"), jsonNode(node, depth)})
	}
	out := &errWriter{w: bufio.NewWriter(c.App.Writer)}
	if node.Type != nar.TypeDirectory {
		name := n.Path.Name()
		if len(names) > 0 {
			name = names[len(names)-1]
		}
		lsLine(out, c.Bool("long"), name, node)
	} else {
		lsEntries(out, c.Bool("long"), c.Bool("recursive"), "", node)
	}
	return out.flush()
}

// lsNodeAt finds a node, and says what a cache without listings costs.
func lsNodeAt(c *cli.Context, cache *looked, n *layout.NarInfo, inside string) (*nar.Node, error) {
	a, err := openArchive(c.Context, cache, n)
	if err != nil {
		return nil, err
	}
	if a.Unlisted != nil && !c.Bool("quiet") {
		say(c, "note: %s has no listing of %s that can be used, so its NAR is read (%s)", cache.text, n.Path, bytesize(max(n.FileSize, 0)))
	}
	root, err := a.Root(c.Context)
	if err != nil {
		return nil, err
	}
	return seek.Lookup(root, inside)
}

// lsEntries prints what is in a directory.
func lsEntries(out *errWriter, long, deep bool, prefix string, dir *nar.Node) {
	for _, name := range slices.Sorted(maps.Keys(dir.Entries)) {
		if out.err != nil {
			return
		}
		node := dir.Entries[name]
		lsLine(out, long, prefix+name, node)
		if deep && node.Type == nar.TypeDirectory {
			lsEntries(out, long, deep, prefix+name+"/", node)
		}
	}
}

func lsLine(out *errWriter, long bool, name string, node *nar.Node) {
	if !long {
		out.printf("%s\n", shown(name))
		return
	}
	mode, target := "-r--r--r--", ""
	switch {
	case node.Type == nar.TypeDirectory:
		mode = "dr-xr-xr-x"
	case node.Type == nar.TypeSymlink:
		mode, target = "lrwxrwxrwx", " -> "+shown(node.Target)
	case node.Executable:
		mode = "-r-xr-xr-x"
	}
	out.printf("%s %12d %s%s\n", mode, node.Size, shown(name), target)
}

// jsonNode is a node with so many levels below it.
func jsonNode(n *nar.Node, depth int) lsNode {
	out := lsNode{Type: n.Type}
	switch n.Type {
	case nar.TypeRegular:
		out.Size, out.Executable = &n.Size, &n.Executable
		if n.NarOffset != 0 {
			out.NarOffset = &n.NarOffset
		}
	case nar.TypeSymlink:
		out.Target = &n.Target
	case nar.TypeDirectory:
		if depth == 0 {
			break
		}
		entries := make(map[string]lsNode, len(n.Entries))
		for name, node := range n.Entries {
			entries[name] = jsonNode(node, depth-1)
		}
		out.Entries = &entries
	}
	return out
}

// An errWriter remembers the first error of writing lines.
type errWriter struct {
	w   *bufio.Writer
	err error
}

func (e *errWriter) printf(format string, args ...any) {
	if e.err == nil {
		_, e.err = fmt.Fprintf(e.w, format, args...)
	}
}

func (e *errWriter) flush() error {
	if e.err != nil {
		return e.err
	}
	return e.w.Flush()
}
