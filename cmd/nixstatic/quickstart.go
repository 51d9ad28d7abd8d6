package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/export"
	"github.com/nixstatic/nixstatic/sync/nixstore"
	"github.com/nixstatic/nixstatic/webdav"
)

func quickstartCommand() *cli.Command {
	return &cli.Command{
		Name:      "quickstart",
		Usage:     "make a cache of something real, and serve it on this machine",
		ArgsUsage: "[PATH…]",
		Description: "Makes a key and a signed cache, and serves the cache until you stop it. Without\n" +
			"PATH it takes your Nix profile, or where there is no Nix, nixstatic itself. Run it\n" +
			"again to add more: key and cache are kept.\n\n" +
			"Examples:\n" +
			"   nixstatic quickstart\n" +
			"   nixstatic quickstart ./result",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", Value: "nixstatic-quickstart", Usage: "keep the key and the cache in `DIRECTORY`"},
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8080", Usage: "serve on `ADDRESS`; where nothing is said and the port is taken, on a free one"},
			&cli.BoolFlag{Name: "no-serve", Usage: "only make the cache"},
		},
		Action: runQuickstart,
	}
}

func runQuickstart(c *cli.Context) error {
	loc, err := locate(c, c.String("dir"), makeTree)
	if err != nil {
		return err
	}
	if loc.scheme != inDir {
		return usage("--dir %s: want a directory: the key is in it as well", loc.text)
	}
	dir := loc.path
	var listener net.Listener
	if !c.Bool("no-serve") {
		// First of all: a port that is taken should not cost an export.
		listener, err = net.Listen("tcp", c.String("listen"))
		if errors.Is(err, syscall.EADDRINUSE) && !c.IsSet("listen") {
			listener, err = net.Listen("tcp", "127.0.0.1:0")
		}
		if err != nil {
			return withHint(err, "choose another address with --listen, such as 127.0.0.1:8081")
		}
		defer listener.Close()
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	key, err := quickKey(filepath.Join(dir, "secret.key"))
	if err != nil {
		return err
	}
	tree, err := layout.OpenDir(filepath.Join(dir, "cache"))
	if err != nil {
		return err
	}
	defer tree.Close()
	if err := isNotForeign(c.Context, tree); err != nil {
		return err
	}
	pool := compress.NewPool(0)
	defer pool.Close()
	w := &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Keys: []signer.SecretKey{key}, Pool: pool}
	example, err := quickPaths(c, w)
	if err != nil {
		return err
	}
	if err := firstPage(c.Context, tree, w.StoreDir); err != nil {
		return err
	}
	newPage(tree, w.StoreDir).finish(c, w.Keys)
	out := c.App.Writer
	fmt.Fprintf(out, "The cache is %s; any web server can host it.\n", tree.Path())
	if listener == nil {
		return nil
	}
	url := "http://" + listener.Addr().String()
	fmt.Fprintf(out, "Open %s in a browser to see it. To use it, add two lines to nix.conf:\n\n", url)
	fmt.Fprintf(out, "extra-substituters = %s\nextra-trusted-public-keys = %s\n\n", url, key.Public())
	fmt.Fprintf(out, "That is /etc/nix/nix.conf, and then the Nix daemon has to be started again; or\n"+
		"~/.config/nix/nix.conf, which counts if trusted-users in the former has you. On NixOS\n"+
		"both lines go into nix.settings. nixstatic use %s does each of these,\nand takes it away again.\n\n", url)
	fmt.Fprintf(out, "Without touching nix.conf, as root or a trusted user:\n\n   nix --extra-experimental-features nix-command copy --from %s --option extra-trusted-public-keys %s %s\n\n",
		url, key.Public(), example)
	fmt.Fprintln(out, "Ctrl-C ends it.")
	front := &server{handler: webdav.New(webdav.Config{Tree: tree}), log: slog.New(slog.DiscardHandler)}
	return front.serve(c.Context, listener)
}

// quickKey returns the key of an earlier quickstart, or a new one.
func quickKey(file string) (signer.SecretKey, error) {
	key, err := signer.LoadSecretKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = signer.Generate("quickstart-1"); err != nil {
		return key, err
	}
	return key, key.Save(file)
}

// quickPaths fills the tree and returns a path to try.
func quickPaths(c *cli.Context, w *layout.Writer) (string, error) {
	args := c.Args().Slice()
	store, err := nixstore.Open(c.Context, nixstore.Options{})
	if err != nil && len(args) > 0 {
		return "", err
	}
	if err == nil {
		defer store.Close()
		if len(args) == 0 {
			args = profiles(c.Context, store)
		}
	}
	if len(args) == 0 {
		return quickSelf(c, w)
	}
	w.StoreDir = store.StoreDir()
	if _, err := initTree(c.Context, w); err != nil {
		return "", err
	}
	var roots []layout.StorePath
	for _, arg := range args {
		p, err := store.Resolve(c.Context, arg)
		if err != nil {
			return "", aboutPath(err, arg)
		}
		roots = append(roots, p)
	}
	im := &export.Run{Source: store, Trust: signer.Trust{All: true}, Writer: w, Progress: &export.Progress{}}
	plan, err := im.Plan(c.Context, roots)
	if err != nil {
		return "", err
	}
	say(c, "exporting the closure of %s: %s, %s", args[0], plural(int64(len(plan.Missing)), "path"), bytesize(plan.NarBytes()))
	m := startMeter(c.App.ErrWriter, false, func(elapsed time.Duration) string {
		return amount(im.Progress.BytesDone.Load(), im.Progress.Bytes.Load(), elapsed)
	})
	defer m.end()
	return roots[0].Abs(w.StoreDir), im.Do(c.Context, plan)
}

// profiles returns the first profile that leads into the store, if any.
func profiles(ctx context.Context, store *nixstore.Store) []string {
	home, _ := os.UserHomeDir()
	for _, candidate := range []string{
		filepath.Join(home, ".nix-profile"), "/nix/var/nix/profiles/default", "/run/current-system/sw",
	} {
		if p, err := store.Resolve(ctx, candidate); err == nil {
			if _, err := store.Infos(ctx, []layout.StorePath{p}); err == nil {
				return []string{candidate}
			}
		}
	}
	return nil
}

// quickSelf adds this very program, as bin/nixstatic of a store path.
func quickSelf(c *cli.Context, w *layout.Writer) (string, error) {
	say(c, "no Nix store with a profile here: adding nixstatic itself")
	if _, err := initTree(c.Context, w); err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp("", "nixstatic-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	bin := filepath.Join(tmp, "bin")
	if err := os.Mkdir(bin, 0o777); err != nil {
		return "", err
	}
	if err := copyProgram(self, filepath.Join(bin, "nixstatic")); err != nil {
		return "", err
	}
	r, err := addOne(c.Context, w, "nixstatic", tmp, &addProgress{})
	return r.Path, err
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
