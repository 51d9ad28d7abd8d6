package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout/gc"
)

func runGCRuns(c *cli.Context) error {
	location, err := oneTree(c)
	if err != nil {
		return err
	}
	tree, _, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	runs, err := gc.Runs(c.Context, tree)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		if runs == nil {
			runs = []gc.Run{}
		}
		return printJSONList(c.App.Writer, "runs", runs)
	}
	t := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, r := range runs {
		undo := ""
		if r.Withdrawn.Count > 0 && r.UndoUntil.After(time.Now()) {
			undo = "can be undone until " + r.UndoUntil.Local().Format("2006-01-02 15:04")
		}
		fmt.Fprintf(t, "%d\t%s\t%s withdrawn\t%s removed\t%s\n", r.Epoch, r.Time.Local().Format("2006-01-02 15:04"),
			plural(r.Withdrawn.Count, "path"), counted(r.Reclaimed, "object"), undo)
	}
	return t.Flush()
}
