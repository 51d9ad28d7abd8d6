package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

func runGCUndo(c *cli.Context) error {
	if c.NArg() < 1 {
		return usage("gc undo needs the cache")
	}
	location := c.Args().First()
	tree, info, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	epoch := int64(0)
	var paths []layout.StorePath
	rest := c.Args().Tail()
	if n, err := strconv.ParseInt(strings.Join(rest, " "), 10, 64); err == nil && n > 0 {
		epoch = n
	} else if paths, err = storePathArgs(info.StoreDir, rest); err != nil {
		return err
	}
	done, err := gc.Undo(c.Context, tree, epoch, paths)
	for _, p := range done.Back {
		purgerOf(c).add(layout.NarInfoKey(p)) // others may remember that it is not there
	}
	refreshPage(c, tree, info.StoreDir, false)
	if err != nil {
		return aboutGC(err, location)
	}
	if c.Bool("json") {
		lost := map[string]string{}
		for p, why := range done.Lost {
			lost[p.Abs(info.StoreDir)] = why.Error()
		}
		back := []string{}
		for _, p := range done.Back {
			back = append(back, p.Abs(info.StoreDir))
		}
		err = printJSON(c.App.Writer, map[string]any{"back": back, "there": done.There, "lost": lost})
	} else {
		for _, p := range done.Back {
			fmt.Fprintln(c.App.Writer, p.Abs(info.StoreDir))
		}
	}
	if err != nil {
		return err
	}
	if !c.Bool("quiet") {
		say(c, "%s came back; %d were there", plural(int64(len(done.Back)), "path"), done.There)
	}
	var errs []error
	for p, why := range done.Lost {
		errs = append(errs, fmt.Errorf("%s: %w", p.Abs(info.StoreDir), why))
	}
	return withHint(errors.Join(errs...), "push or export these paths again: what is gone for good comes from its source alone")
}
