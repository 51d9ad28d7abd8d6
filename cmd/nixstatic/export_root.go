package main

import (
	"crypto/rand"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/roots"
	"github.com/nixstatic/nixstatic/sync/export"
)

func rootFlag() cli.Flag {
	return &cli.StringFlag{Name: "root", Usage: "the paths are a generation of the root `NAME`, or of the run NAME@RUN of it: the policy says how long it stays, see gc policy"}
}

// runOfExport reads --root. A run without a name is called by its time.
func runOfExport(c *cli.Context) (id layout.RunID, err error) {
	text := c.String("root")
	if text == "" {
		if c.IsSet("root") {
			err = usage("--root: want NAME or NAME@RUN")
		}
		return id, err
	}
	name, run, named := strings.Cut(text, "@")
	if !named {
		run = time.Now().UTC().Format("20060102T150405Z") + "-" + strings.ToLower(rand.Text()[:6])
	}
	if id, err = layout.MakeRunID(name, run); err != nil {
		return id, usage("--root: %v", err)
	}
	return id, nil
}

// noteExport writes down what the run brings and relies upon, before it does.
func noteExport(c *cli.Context, tree layout.Tree, plan *export.Plan) error {
	id, err := runOfExport(c)
	if err != nil || id.Root == "" || layout.TraitsOf(tree).Blind {
		return err // a server writes it down itself
	}
	var hashes []string
	for _, p := range plan.Present {
		hashes = append(hashes, p.Path.Hash())
	}
	for _, step := range plan.Missing {
		hashes = append(hashes, step.Info.Path.Hash())
	}
	r := roots.NewRecorder(tree)
	defer r.Close()
	return r.Note(c.Context, id, hashes...)
}
