package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/cmd/nixstatic/hook"
	"github.com/nixstatic/nixstatic/sync/queue"
)

func watchCommand() *cli.Command {
	return &cli.Command{
		Name:      "watch",
		Usage:     "send what is built to a cache, while it is built",
		ArgsUsage: "TO [-- COMMAND…]",
		Description: "Store paths wait in a queue, a directory, until they are in the cache TO, which is what\n" +
			"push takes: no build waits for an upload, a cache that is away costs nothing, and a\n" +
			"process that is killed loses nothing. What was substituted is not sent.\n\n" +
			"The queue is filled in three ways:\n" +
			"   --hook    makes the post-build-hook, by which Nix adds each build\n" +
			"   --store   adds what this machine builds, by looking at the store\n" +
			"   --exec    adds what is built while COMMAND runs\n\n" +
			"--hook ends then: nixstatic watch TO, as a service, sends what it brings. After\n" +
			"--exec, what is left is sent, for a while, and the exit code is COMMAND's.\n\n" +
			"Examples:\n" +
			"   nixstatic watch https://cache.example.org/upload --exec -- nix build .#everything\n" +
			"   nixstatic watch https://cache.example.org/upload --store\n" +
			"   sudo nixstatic watch https://cache.example.org/upload --hook --write system\n" +
			"   sudo nixstatic watch https://cache.example.org/upload\n" +
			"   nixstatic watch status\n" +
			"   nixstatic watch drain --timeout 5m",
		Flags: append(append([]cli.Flag{
			queueFlag(),
			&cli.BoolFlag{Name: "hook", Usage: "make the hook for nix.conf and its queue, say how it is used, and end"},
			&cli.StringFlag{Name: "write", Value: "print", Usage: "with --hook: write it into the nix.conf `WHERE` says, auto, user or system; or print the line"},
			&cli.BoolFlag{Name: "remove", Usage: "with --hook: take the hook out of nix.conf; what waits stays in the queue"},
			&cli.BoolFlag{Name: "store", Usage: "send whatever is built on this machine"},
			&cli.BoolFlag{Name: "exec", Usage: "send what is built while COMMAND runs, the words after --"},
			nixStoreFlag(),
			timeoutFlag("with --exec: send what is left for `TIME` at most, once COMMAND has ended"),
			strictFlag(),
		}, sendFlags()...), quietFlag()),
		Action: runWatch,
		Subcommands: []*cli.Command{{
			Name:      "send",
			Usage:     "add what Nix says that it built to the queue: a post-build-hook",
			ArgsUsage: " ",
			Description: "Reads OUT_PATHS, or DRV_PATH where that is empty, and ends at once, always with exit\n" +
				"code 0. The link post-build-hook in a queue does the same for that queue.\n\n" +
				"Example:\n" +
				"   OUT_PATHS=/nix/store/… nixstatic watch send --queue /var/lib/nixstatic/queue",
			Flags: []cli.Flag{queueFlag()},
			// The package hook has done what can be done.
			Action: func(c *cli.Context) error {
				return usage("watch send takes --queue and a directory that begins with /, and nothing else")
			},
		}, {
			Name:      "drain",
			Usage:     "send what waits, now, for a while",
			ArgsUsage: "[TO]",
			Description: "If another process sends already, it is told to try at once, and waited for. What is left\n" +
				"is told, and stays in the queue; the exit code is 0 even so, unless --strict is given:\n" +
				"a job does not fail for its cache.\n\n" +
				"Example:\n" +
				"   nixstatic watch drain --timeout 5m --strict",
			Flags:  append(append([]cli.Flag{queueFlag(), nixStoreFlag(), timeoutFlag("go on for `TIME` at most"), strictFlag()}, sendFlags()...), quietFlag()),
			Action: runWatchDrain,
		}, {
			Name:      "status",
			Usage:     "tell what waits, and why",
			ArgsUsage: " ",
			Description: "Example:\n" +
				"   nixstatic watch status --json | jq .waiting",
			Flags:  []cli.Flag{queueFlag(), jsonFlag()},
			Action: runWatchStatus,
		}},
	}
}

func queueFlag() cli.Flag {
	return &cli.StringFlag{Name: "queue", Usage: "the queue is in `DIR` (default: /var/lib/nixstatic/queue for root, else in ~/.local/state)"}
}

func nixStoreFlag() cli.Flag {
	return &cli.StringFlag{Name: "nix-store", Usage: "the paths are in `STORE`: a root as for nix --store, or unix:// and a socket"}
}

func timeoutFlag(text string) cli.Flag {
	return &cli.StringFlag{Name: "timeout", Value: "10m", Usage: text}
}

func strictFlag() cli.Flag {
	return &cli.BoolFlag{Name: "strict", Usage: "fail if something is left that could not be sent"}
}

func queueDir(c *cli.Context) (string, error) {
	if c.IsSet("queue") && c.String("queue") == "" {
		return "", usage("--queue: want a directory")
	}
	dir := c.String("queue")
	if dir == "" {
		dir = hook.DefaultQueue()
	}
	return filepath.Abs(dir)
}

func runWatch(c *cli.Context) error {
	feeders := 0
	for _, name := range []string{"hook", "store", "exec"} {
		if c.Bool(name) {
			feeders++
		}
	}
	removes := c.Bool("hook") && c.Bool("remove")
	switch {
	case c.NArg() < 1 && !removes:
		return usage("watch takes the cache to send to")
	case feeders > 1:
		return usage("choose one of --hook, --store and --exec")
	case c.Bool("exec") && c.NArg() < 2:
		return usage("--exec needs a command: nixstatic watch %s --exec -- nix build", withoutUser(c.Args().First()))
	case !c.Bool("exec") && c.NArg() > 1:
		return usage("watch takes one argument, the cache to send to; a command needs --exec")
	case !c.Bool("hook") && (c.IsSet("write") || c.Bool("remove")):
		return usage("--write and --remove go with --hook")
	case !c.Bool("exec") && (c.IsSet("timeout") || c.Bool("strict")):
		return usage("--timeout and --strict go with --exec; watch drain has them too")
	}
	if removes {
		return removeHook(c)
	}
	to := whole(c.Args().First())
	if err := checkSending(c, to); err != nil {
		return err
	}
	dir, err := queueDir(c)
	if err != nil {
		return err
	}
	if c.Bool("hook") {
		if err := checkHookName(dir); err != nil {
			return err
		}
	}
	q, err := makeQueue(dir)
	if err != nil {
		return err
	}
	if c.Bool("hook") {
		if err := newSender(c, q, to).remember(); err != nil {
			return err
		}
		return makeHook(c, q)
	}
	if c.Bool("exec") {
		return runWatchExec(c, q, to)
	}
	s := newSender(c, q, to)
	ctx := c.Context
	if c.Bool("store") {
		stop, err := s.feed(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	d := s.drainer()
	if err := d.Lock(); errors.Is(err, queue.ErrBusy) {
		return withHint(fmt.Errorf("%s: %w", dir, err), "nixstatic watch status tells what it does; --queue names another queue")
	} else if err != nil {
		return err
	}
	defer d.Close()
	defer s.close()
	if err := s.remember(); err != nil {
		return err
	}
	if !c.Bool("quiet") {
		say(c, "sending what comes into %s to %s", dir, withoutUser(to))
	}
	notify(logOf(c), daemon.SdNotifyReady)
	return d.Run(ctx)
}

func makeQueue(dir string) (*queue.Queue, error) {
	q, err := queue.Make(dir)
	if err != nil {
		err = fmt.Errorf("make the queue: %w", err)
		if errors.Is(err, fs.ErrPermission) {
			err = withHint(err, "name a directory of your own: --queue DIR; or run it as root")
		}
		return nil, err
	}
	return q, nil
}

// checkSending refuses what could never be sent, before something is written.
func checkSending(c *cli.Context, to string) error {
	if _, err := locate(c, to, pushTo); err != nil {
		return err
	}
	if len(c.StringSlice("upstream-key")) > 0 && len(c.StringSlice("upstream")) == 0 {
		return usage("--upstream-key goes with --upstream")
	}
	if _, err := excluded(c.StringSlice("exclude")); err != nil {
		return err
	}
	if slices.Contains(c.StringSlice("secret-key-file"), "-") {
		return usage("--secret-key-file -: watch reads a key more than once: name a file")
	}
	if _, err := readMethod(c); err != nil {
		return err
	}
	if _, err := durationFlag(c, "timeout"); err != nil {
		return err
	}
	id, err := runOfExport(c)
	if err != nil || id.Root == "" {
		return err
	}
	// All that this process sends is one run.
	return c.Set("root", id.Root+"@"+id.Run)
}

// settingsOf returns what watch drain needs to know of this command line.
func settingsOf(c *cli.Context, to string) queue.Settings {
	s := queue.Settings{To: to, Flags: map[string][]string{}}
	for _, f := range append(sendFlags(), nixStoreFlag()) {
		name := f.Names()[0]
		if !c.IsSet(name) {
			continue
		}
		values := []string{fmt.Sprint(c.Value(name))}
		if _, list := f.(*cli.StringSliceFlag); list {
			values = c.StringSlice(name)
		}
		if slices.Contains([]string{"secret-key-file", "netrc-file"}, name) {
			for i := range values {
				if abs, err := filepath.Abs(values[i]); err == nil {
					values[i] = abs
				}
			}
		}
		s.Flags[name] = values
	}
	return s
}

// whole names a directory in full: it may be named from where the command runs.
func whole(to string) string {
	if loc, err := parseLocation(to); err == nil && loc.scheme == inDir && !strings.Contains(to, "://") {
		if abs, err := filepath.Abs(loc.path); err == nil {
			return abs
		}
	}
	return to
}

// remember writes down where the queue goes. A path waits for one cache, and it is told if
// that is another one than before.
func (s *sender) remember() error {
	settings := settingsOf(s.c, s.to)
	old, err := s.queue.ReadSettings()
	if err == nil && old.To != "" && !sameCache(old.To, settings.To) {
		if waiting, err := s.queue.Waiting(); err == nil && len(waiting) > 0 {
			say(s.c, "warning: in the queue %s, %s waited for %s, and will be sent to %s alone; --queue names another queue",
				s.queue.Dir(), plural(int64(len(waiting)), "path"), withoutUser(old.To), withoutUser(settings.To))
		}
	}
	return s.queue.WriteSettings(settings)
}

// astray returns an error if another process sends what is in the queue to another cache.
func (s *sender) astray() error {
	st, err := s.queue.Status()
	for again := true; ; again = false {
		if err != nil || !st.Draining || st.To == "" || sameCache(st.To, s.to) {
			return nil
		}
		if !again {
			break
		}
		// A process that has just begun says a moment later where it sends to.
		time.Sleep(300 * time.Millisecond)
		st, err = s.queue.Status()
	}
	return withHint(fmt.Errorf("nothing is sent to %s: another process sends what is in the queue %s to %s", withoutUser(s.to), s.queue.Dir(), withoutUser(st.To)),
		"a queue is for one cache: --queue DIR names another one")
}

func sameCache(a, b string) bool {
	return strings.TrimRight(withoutUser(a), "/") == strings.TrimRight(withoutUser(b), "/")
}

// recall sets the flags that the queue remembers and that the command line leaves out,
// and returns where the queue goes.
func recall(c *cli.Context, q *queue.Queue) (to string, err error) {
	if c.NArg() > 1 {
		return "", usage("watch drain takes one argument, the cache to send to, or none")
	}
	s, err := q.ReadSettings()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", withHint(err, "nixstatic watch TO writes that file anew; what waits is in other files")
	}
	if to = s.To; c.NArg() > 0 {
		to = whole(c.Args().First())
	}
	if to == "" {
		return "", usage("the queue %s does not know where to send: nixstatic watch drain TO", q.Dir())
	}
	for name, values := range s.Flags {
		if c.IsSet(name) {
			continue
		}
		for _, v := range values {
			if err := c.Set(name, v); err != nil {
				return "", fmt.Errorf("read %s/settings: %s: %w", q.Dir(), name, err)
			}
		}
	}
	return to, nil
}
