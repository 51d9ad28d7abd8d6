package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout/uses"
)

func usesCommand() *cli.Command {
	return &cli.Command{
		Name:  "uses",
		Usage: "tell a cache what was read from it",
		Description: "A rule of the policy (gc policy, keep used 30d) keeps what was read lately. serve sees\n" +
			"that itself; where a web server or a CDN reads the cache, its logs tell.\n\n" +
			"A Nix remembers a narinfo for 30 days, and other caches may stand between it and the\n" +
			"cache: that a path was not read means little, so use only ever keeps.",
		Subcommands: []*cli.Command{{
			Name:      "import",
			Usage:     "read the logs of web servers",
			ArgsUsage: "CACHE LOG…",
			Description: "LOG is a file, which may be compressed with gzip, or - for standard input: the combined\n" +
				"or common format of nginx, Apache and others; JSON, a line for each request, as Caddy\n" +
				"writes it or with the names of nginx's variables; the access logs of S3; the standard\n" +
				"logs of CloudFront, also as JSON. Lines of the future and of more than 400 days ago count\n" +
				"for nothing. To import a log once more changes nothing.\n\n" +
				"Examples:\n" +
				"   nixstatic uses import ./cache /var/log/nginx/access.log /var/log/nginx/access.log.*.gz\n" +
				"   aws s3 cp --recursive s3://logs/cache/ logs && nixstatic uses import ./cache logs/*",
			Flags:  []cli.Flag{jsonFlag(), quietFlag()},
			Action: runUsesImport,
		}},
	}
}

// usesResult is what uses import --json prints.
type usesResult struct {
	Version int    `json:"version"`
	Tree    string `json:"tree"`
	Lines   int64  `json:"lines"`
	Reads   int64  `json:"reads"`       // of paths
	Strange int64  `json:"notReadable"` // lines
	Undated int64  `json:"otherTime"`   // lines of the future, or of more than 400 days ago
	Days    int    `json:"days"`
}

func runUsesImport(c *cli.Context) error {
	if c.NArg() < 2 {
		return usage("uses import takes the cache, and the logs")
	}
	location := c.Args().First()
	tree, _, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	var log uses.Log
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		return fmt.Sprintf("uses: %s read", plural(log.Lines.Load(), "line"))
	})
	defer m.end()
	for _, name := range c.Args().Tail() {
		if err := addLog(c, &log, name); err != nil {
			return err
		}
	}
	m.end()
	if n := log.Lines.Load(); n > 0 && log.Strange.Load() == n {
		return withHint(errors.New("no line of these logs is in a format that is known"), "nixstatic uses import --help lists the formats; nothing was changed")
	}
	if err := log.Write(c.Context, tree); err != nil {
		return err
	}
	first, last, days := log.Days()
	if c.Bool("json") {
		return printJSON(c.App.Writer, usesResult{1, location, log.Lines.Load(), log.Reads.Load(), log.Strange.Load(), log.Undated.Load(), days})
	}
	if c.Bool("quiet") {
		return nil
	}
	text := fmt.Sprintf("%s in %s", plural(log.Reads.Load(), "read"), plural(log.Lines.Load(), "line"))
	if days > 0 {
		text += fmt.Sprintf(", from %s to %s", first.Format(time.DateOnly), last.Format(time.DateOnly))
	}
	if n := log.Strange.Load(); n > 0 {
		text += fmt.Sprintf("; %s in no format that is known", plural(n, "line"))
	}
	if n := log.Undated.Load(); n > 0 {
		text += fmt.Sprintf("; %s of the future, or of more than %d days ago", plural(n, "line"), uses.Remembered)
	}
	say(c, "%s", text)
	return nil
}

func addLog(c *cli.Context, log *uses.Log, name string) error {
	var from io.Reader = c.App.Reader
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	if err := log.Add(from); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}
