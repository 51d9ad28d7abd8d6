package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/cmd/nixstatic/hook"
	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/nixconf"
	"github.com/nixstatic/nixstatic/sync/nixstore"
	"github.com/nixstatic/nixstatic/sync/queue"
)

// hookBlock names the block of nix.conf.
const hookBlock = "watch"

// makeHook makes the link that Nix starts, and writes or prints the line of nix.conf.
func makeHook(c *cli.Context, q *queue.Queue) error {
	program, err := executable()
	if err != nil {
		return err
	}
	link := filepath.Join(q.Dir(), hook.Name)
	if err := replaceLink(program, link); err != nil {
		return err
	}
	if err := keepProgram(c, program, link); err != nil {
		say(c, "warning: a garbage collection may remove %s, and no build ends well without its hook: %s", program, printable(err.Error()))
	}
	line := "post-build-hook = " + link
	if c.String("write") == "print" {
		fmt.Fprintln(c.App.Writer, line)
		say(c, "put this line into nix.conf, or let --write system do it; then run nixstatic watch %s", withoutUser(c.Args().First()))
		return nil
	}
	t, err := hookTarget(c)
	if err != nil {
		return err
	}
	if t.system {
		// The daemon runs the hook as root.
		if st, err := os.Stat(q.Dir()); err == nil {
			if owner, ok := st.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
				return withHint(fmt.Errorf("the queue %s does not belong to root: who owns it could run anything as root by its hook", q.Dir()),
					"take the hook from examples/systemd/nixstatic-hook, which belongs to root, and is for such queues")
			}
		}
	}
	if old := nixconf.Here().Load().Get("post-build-hook"); old != "" && old != link {
		return withHint(fmt.Errorf("there is another post-build-hook: %s", old),
			"Nix takes one: have it call %s as well, with the environment that it got; --write print changes nothing", link)
	}
	edit := nixconf.Edit{Mode: 0o644, Change: func(text []byte) ([]byte, error) {
		return nixconf.SetBlock(text, hookBlock, []string{line}, nixconf.AtEnd)
	}}
	if _, err := edit.Apply(t.conf); err != nil {
		return fmt.Errorf("write %s: %w", t.conf, err)
	}
	say(c, "Nix adds what it builds to %s now, by %s", q.Dir(), t.conf)
	return nil
}

// checkHookName refuses a queue whose hook nix.conf cannot name.
func checkHookName(dir string) error {
	if strings.ContainsFunc(dir, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' }) {
		return usage("--queue %s: nix.conf takes no blank, no line end and no # in the name of a hook", printable(dir))
	}
	return nil
}

// keepProgram has the store keep this program for as long as the hook leads to it, if it is
// in the store: builds would fail without it.
func keepProgram(c *cli.Context, program, link string) error {
	inStore := false
	for dir := filepath.Dir(program); dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if _, err := layout.ParseStorePath(filepath.Base(dir)); err == nil {
			inStore = true
		}
	}
	if !inStore {
		return nil
	}
	store, err := nixstore.Open(c.Context, nixstore.Options{Store: c.String("nix-store"), Lazy: true})
	if err != nil {
		return err
	}
	defer store.Close()
	if !strings.HasPrefix(program, store.StoreDir()+"/") {
		return nil
	}
	return store.Keep(c.Context, []string{link})
}

// removeHook takes the hook out of nix.conf.
func removeHook(c *cli.Context) error {
	t, err := hookTarget(c)
	if err != nil {
		return err
	}
	edit := nixconf.Edit{Change: func(text []byte) ([]byte, error) {
		left, _, err := nixconf.RemoveBlock(text, hookBlock)
		return left, err
	}}
	if _, err := edit.Apply(t.conf); err != nil {
		return fmt.Errorf("write %s: %w", t.conf, err)
	}
	// The link stays: a daemon that has read its settings before would fail each build.
	say(c, "Nix does not add to the queue any more, by %s; a daemon that runs has to be restarted", t.conf)
	return nil
}

func hookTarget(c *cli.Context) (target, error) {
	u := &using{c: c, files: nixconf.Here(), where: c.String("write")}
	if u.where == "print" && c.Bool("remove") {
		u.where = "auto"
	}
	switch u.where {
	case "auto", "user", "system":
		return u.target()
	}
	return target{}, usage("--write %s: choose one of auto, user, system, print", u.where)
}

// replaceLink makes a symbolic link, over one that is there.
func replaceLink(to, name string) error {
	if at, err := os.Readlink(name); err == nil && at == to {
		return nil
	}
	next := name + ".new"
	os.Remove(next)
	if err := os.Symlink(to, next); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// executable returns this program, by the name that an upgrade replaces if it has one.
func executable() (string, error) {
	if path := os.Args[0]; filepath.IsAbs(path) {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return os.Executable()
}

// logOf returns a logger for what systemd does not take.
func logOf(c *cli.Context) *slog.Logger {
	return slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{ReplaceAttr: discreetAttr}))
}
