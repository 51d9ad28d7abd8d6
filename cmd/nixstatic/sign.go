package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
)

func signCommand() *cli.Command {
	return telling(&cli.Command{
		Name:      "sign",
		Usage:     "sign what is in a cache",
		ArgsUsage: "CACHE",
		Description: "Adds a signature by each key to every path and every realisation that\n" +
			"lacks it. Signatures by others stay. To sign is to vouch: run nixstatic verify --deep first on a cache that\n" +
			"others could write to.\n\n" +
			"Examples:\n" +
			"   nixstatic sign ./cache -k secret.key\n" +
			"   nixstatic sign ./cache -k old.key -k new.key --dry-run",
		Flags: []cli.Flag{
			keyFlag(),
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "tell how many would be signed, and change nothing"},
			jsonFlag(), quietFlag(), verboseFlag(),
		},
		Action: runSign,
	})
}

func runSign(c *cli.Context) error {
	location, err := oneTree(c)
	if err != nil {
		return err
	}
	if _, err := locate(c, location, signTree); err != nil {
		return err
	}
	keys, err := loadKeys(c)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return usage("sign needs at least one --secret-key-file")
	}
	tree, info, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	dry := c.Bool("dry-run")
	if !dry {
		layout.Sweep(tree)
	}
	progress := &layout.SignProgress{}
	if c.Bool("verbose") {
		progress.Signing = func(key layout.Key) { say(c, "sign: %s", key) }
	}
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		return fmt.Sprintf("sign: %s seen, %d signed", plural(progress.Seen.Load(), "path"), progress.Signed.Load())
	})
	err = layout.SignAll(c.Context, tree, info.StoreDir, keys, dry, progress)
	m.end()
	if err != nil {
		return err
	}
	if !dry {
		newPage(tree, info.StoreDir).finish(c, keys)
	}
	seen, signed := progress.Seen.Load(), progress.Signed.Load()
	if c.Bool("json") {
		return printJSON(c.App.Writer, map[string]any{"paths": seen, "signed": signed, "dryRun": dry,
			"realisations": progress.Realisations.Load(), "signedRealisations": progress.SignedRealisations.Load()})
	}
	verb := "signed"
	if dry {
		verb = "would sign"
	}
	if n := progress.SignedRealisations.Load(); n > 0 {
		say(c, "%s %d of %s", verb, n, plural(progress.Realisations.Load(), "realisation"))
	}
	if signed == 0 && seen > 0 {
		say(c, "nothing to sign: the keys given have signed %s already", plural(seen, "path"))
		return nil
	}
	say(c, "%s %d of %s", verb, signed, plural(seen, "path"))
	return nil
}
