package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

func keepYoungFlag() cli.Flag {
	return &cli.StringFlag{Name: "keep-young", DefaultText: "as the policy says, else 30d", Usage: "what was pushed within `DURATION` stays"}
}

// keepFlags say what a run keeps and how much it may remove.
func keepFlags() []cli.Flag {
	return append([]cli.Flag{
		keepYoungFlag(),
		&cli.StringFlag{Name: "undo", DefaultText: "as the policy says, else 7d", Usage: "what is withdrawn can be brought back for `DURATION`"},
		&cli.StringFlag{Name: "grace", Value: "24h", Usage: "what is dead goes only `DURATION` later, in another run"},
		&cli.StringFlag{Name: "max-removal", Value: "50%", Usage: "stop if more than `PERCENT` of the bytes would go"},
	}, purgeFlags()...)
}

// underPolicy completes options by the policy of the tree: a time that a flag gives
// counts for more.
func underPolicy(ctx context.Context, c *cli.Context, tree layout.Reader, o gc.Options) (gc.Options, error) {
	p, _, err := gc.ReadPolicy(ctx, tree)
	if err != nil {
		return o, aboutPolicy(err)
	}
	o.Policy = &p
	if !c.IsSet("keep-young") {
		o.KeepYoung = p.Young.Until(time.Now())
	}
	if !c.IsSet("undo") {
		o.Undo = p.Undo.Until(time.Now())
	}
	return o, nil
}

// keepOptions reads keepFlags.
func keepOptions(c *cli.Context) (o gc.Options, err error) {
	for name, to := range map[string]*time.Duration{"keep-young": &o.KeepYoung, "undo": &o.Undo, "grace": &o.Grace} {
		text := c.String(name)
		if text == "" || text == "0" {
			continue
		}
		if *to, err = parseDuration(text); err != nil {
			return o, usage("--%s: %v", name, err)
		}
	}
	if text := c.String("max-removal"); text != "" {
		number, ok := strings.CutSuffix(text, "%")
		percent, err := strconv.ParseFloat(number, 64)
		if err != nil || !ok || !(percent > 0 && percent <= 100) {
			return o, usage("--max-removal %s: want a percentage from 1%% to 100%%", text)
		}
		o.MaxRemoval = percent / 100
	}
	return o, nil
}
