package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
)

func initCommand() *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "make an empty tree",
		ArgsUsage: "TREE",
		Description: "Writes nix-cache-info. A tree that is there already is left as it is, and it is\n" +
			"an error if it is one for another store directory. export and add make a tree\n" +
			"by themselves; init is for one that differs from the defaults.\n\n" +
			"Examples:\n" +
			"   nixstatic init ./cache\n" +
			"   nixstatic init ./cache --priority 30     asked before cache.nixos.org, which has 40",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "store-dir", Value: layout.DefaultStoreDir, Usage: "the store `DIRECTORY` of the paths and of all clients"},
			&cli.IntFlag{Name: "priority", Value: 40, Usage: "`N`: clients ask caches with lower numbers first"},
			&cli.BoolFlag{Name: "no-mass-query", Usage: "ask clients not to look up paths in bulk"},
		},
		Action: func(c *cli.Context) error {
			location, err := oneTree(c)
			if err != nil {
				return err
			}
			want := layout.CacheInfo{StoreDir: c.String("store-dir"), WantMassQuery: !c.Bool("no-mass-query"), Priority: c.Int("priority")}
			if err := layout.CheckStoreDir(want.StoreDir); err != nil {
				return usage("--store-dir: %v", err)
			}
			tree, err := openTree(c, location)
			if err != nil {
				return err
			}
			defer tree.Close()
			have, err := layout.Init(c.Context, tree, want)
			if err != nil {
				return err
			}
			if have != want {
				return withHint(fmt.Errorf("%s is a tree already, with other settings (priority %d, mass query %v)", location, have.Priority, have.WantMassQuery),
					"edit the file %s in it; clients notice within a week", layout.CacheInfoKey)
			}
			fmt.Fprintln(c.App.Writer, treeName(tree, location))
			return nil
		},
	}
}
