package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout/gc"
)

func runGCWhy(c *cli.Context) error {
	if c.NArg() != 2 {
		return usage("gc why takes two arguments, the cache and a path")
	}
	o, err := keepOptions(c)
	if err != nil {
		return err
	}
	location := c.Args().First()
	tree, info, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	path, err := storePathArg(info.StoreDir, c.Args().Get(1))
	if err != nil {
		return err
	}
	if o, err = underPolicy(c.Context, c, tree, o); err != nil {
		return err
	}
	o.Memory, o.Progress = cacheFile("gc", treeName(tree, location)), &gc.Progress{}
	m := lookMeter(c, "gc why", o.Progress)
	chains, err := gc.Why(c.Context, tree, o, path)
	m.end()
	if errors.As(err, new(*gc.MissingPathError)) {
		if recorded := gc.Recorded(c.Context, tree, path); recorded != nil {
			err = recorded
		}
	}
	if err != nil {
		return aboutGC(err, location)
	}
	if c.Bool("json") {
		if chains == nil {
			chains = []gc.Chain{}
		}
		err = printJSONList(c.App.Writer, "chains", chains)
	} else {
		for _, chain := range chains {
			fmt.Fprintln(c.App.Writer, chain.Root)
			for n, p := range chain.Paths {
				fmt.Fprintf(c.App.Writer, "%s%s\n", strings.Repeat("   ", n+1), p.Abs(info.StoreDir))
			}
		}
	}
	if err == nil && len(chains) == 0 {
		say(c, "nothing keeps %s", path.Abs(info.StoreDir))
		return errProblems
	}
	return err
}
