package main

import (
	"github.com/urfave/cli/v2"
)

const gcTimes = "DURATION is such as 30d, 2w or 12h."

func gcCommand() *cli.Command {
	return &cli.Command{
		Name:      "gc",
		Usage:     "remove what nothing keeps from a cache",
		ArgsUsage: "CACHE",
		Description: "A path stays if a pin leads to it (nixstatic pin), or if it was pushed lately\n" +
			"(--keep-young). Of the rest a run tells what goes, and withdraws it: clients do not\n" +
			"find it any more. For a while it can be brought back (gc undo), then its bytes go.\n" +
			"Nothing goes in the run that first finds it dead, see --grace: run it from a timer.\n\n" +
			"Others may push, export and read meanwhile. What cannot be read stops a run before\n" +
			"it removes anything. " + gcTimes + "\n\n" +
			"Examples:\n" +
			"   nixstatic pin ./cache host-a ./result\n" +
			"   nixstatic gc -n ./cache\n" +
			"   nixstatic gc ./cache\n" +
			"   nixstatic gc ./cache --keep-young 7d --undo 2d --grace 0\n" +
			"   nixstatic gc why ./cache /nix/store/…-hello-2.12\n" +
			"   nixstatic gc undo ./cache",
		Flags: append(append([]cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "tell what would go, and change nothing"},
		}, keepFlags()...),
			&cli.BoolFlag{Name: "no-pins", Usage: "the cache has no pins and is meant to: only what is young stays"},
			&cli.BoolFlag{Name: "open", Usage: "the cache was a mirror (sync --delete), and is not one any more"},
			&cli.BoolFlag{Name: "no-reclaim", Usage: "withdraw paths, and leave all bytes where they are"},
			&cli.BoolFlag{Name: "reclaim-only", Usage: "remove the bytes that are due, and withdraw nothing"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask, on a terminal, before anything goes"},
			jsonFlag(), quietFlag()),
		Subcommands: []*cli.Command{{
			Name:      "why",
			Usage:     "tell what keeps a path",
			ArgsUsage: "CACHE PATH",
			Description: "Prints each root that keeps the path, and how it leads there. The exit code is 3 if\n" +
				"nothing keeps it.\n\n" +
				"Example:\n" +
				"   nixstatic gc why ./cache /nix/store/…-openssl-3.0.14",
			Flags:  []cli.Flag{keepYoungFlag(), jsonFlag(), quietFlag()},
			Action: runGCWhy,
		}, telling(&cli.Command{
			Name:      "undo",
			Usage:     "bring back what was withdrawn",
			ArgsUsage: "CACHE [RUN | PATH…]",
			Description: "Brings back what the last run withdrew, or another one (gc runs numbers them), or\n" +
				"the paths that are named; each with all that it refers to. What comes back is as\n" +
				"young as if it had been pushed now. Pin what is to stay for longer.\n\n" +
				"Examples:\n" +
				"   nixstatic gc undo ./cache\n" +
				"   nixstatic gc undo ./cache 12\n" +
				"   nixstatic gc undo ./cache /nix/store/…-hello-2.12",
			Flags:  []cli.Flag{jsonFlag(), quietFlag()},
			Action: runGCUndo,
		}), {
			Name:        "runs",
			Usage:       "list the runs that removed something",
			ArgsUsage:   "CACHE",
			Description: "The latest comes first.\n\nExample:\n   nixstatic gc runs ./cache",
			Flags:       []cli.Flag{jsonFlag()},
			Action:      runGCRuns,
		}, gcPolicyCommand()},
		Action: runGC,
	}
}
