package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/doctor"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/nixconf"
)

func useCommand() *cli.Command {
	return &cli.Command{
		Name:      "use",
		Usage:     "have the Nix of this machine use a cache",
		ArgsUsage: "URL",
		Description: "Reads what the cache says of itself, shows its keys, and writes two lines into a\n" +
			"marked block of nix.conf:\n" +
			"   extra-substituters = URL\n" +
			"   extra-trusted-public-keys = KEY…\n" +
			"All else in the file stays as it is, and --remove takes exactly that block away.\n\n" +
			"The keys come from the file public-keys of the cache: they are as trustworthy as\n" +
			"the way to it (trust on first use). Compare them with those that its operator\n" +
			"tells, or give them with --key. Later they are only replaced by a --key.\n\n" +
			"--write says where:\n" +
			"   auto           the user's own nix.conf if the Nix daemon trusts the user,\n" +
			"                  else the system's (the default)\n" +
			"   user, system   the one or the other\n" +
			"   nixos, home-manager, flake, print\n" +
			"                  nowhere: the text goes to standard output\n" +
			"   nixos=DIR, home-manager=DIR\n" +
			"                  a file in DIR that a configuration can import\n\n" +
			"A private cache needs a token. It goes from the file into a netrc, mode 0600, and\n" +
			"never belongs into a URL: Nix prints those.\n\n" +
			"Examples:\n" +
			"   nixstatic use https://cache.example.org\n" +
			"   nixstatic use https://cache.example.org --key cache.example.org-1:…\n" +
			"   nixstatic use https://cache.example.org --token-file ci.token --yes\n" +
			"   sudo nixstatic use https://cache.example.org --write system\n" +
			"   nixstatic use https://cache.example.org --write nixos=/etc/nixos\n" +
			"   nixstatic use https://cache.example.org --remove",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "write", Value: "auto", Usage: "`WHERE`: auto, user, system, nixos[=DIR], home-manager[=DIR], flake or print"},
			&cli.StringSliceFlag{Name: "key", Usage: "trust `KEY` (name:base64) and no others; may be repeated"},
			&cli.StringFlag{Name: "token-file", Usage: "the token for the cache is in `FILE` (-: standard input), or NAME:PASSWORD"},
			&cli.BoolFlag{Name: "remove", Usage: "take away what use has written for this cache"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "trust the keys that the cache shows, and do not ask"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what would be written"},
		},
		Action: runUse,
	}
}

func runUse(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage("use takes one argument, the URL of the cache")
	}
	u := &using{c: c, files: nixconf.Here()}
	var err error
	if u.loc, u.url, err = substituterURL(c.Args().First()); err != nil {
		return err
	}
	if err := u.readWhere(c.String("write")); err != nil {
		return err
	}
	if c.Bool("remove") {
		if c.IsSet("key") || c.IsSet("token-file") {
			return usage("--remove needs neither --key nor --token-file")
		}
		return u.remove()
	}
	if c.IsSet("token-file") {
		switch {
		case u.loc.scheme != onWeb:
			return usage("--token-file is for a cache behind a web server")
		case u.text():
			return usage("--token-file needs --write user or system, which have a netrc: a token does not belong into a file that others read")
		}
		if u.token, err = readToken(c, c.String("token-file")); err != nil {
			return err
		}
	}
	if err := u.patiently(u.askPass); err != nil {
		return err
	}
	if err := u.patiently(u.ask); err != nil {
		return err
	}
	for _, key := range u.keys {
		// In nix.conf the rest of the line would be a comment, and half a key ends
		// every command of Nix.
		if strings.Contains(key, "#") {
			return withHint(errors.New("the name of a key has a #, which nix.conf cannot hold"), "ask the operator of the cache for a key of another name; nothing was written")
		}
	}
	return u.write()
}

// using is one run of use.
type using struct {
	c     *cli.Context
	files nixconf.Files

	loc   location
	url   string        // as the list of substituters is to have it
	where string        // of --write
	dir   string        // of --write nixos=DIR
	token nixconf.Login // zero for none

	keys      []string // to trust, in their order
	published bool     // they come from the cache itself
}

// substituterURL reads the URL of a cache as a substituter of nix.conf.
func substituterURL(text string) (location, string, error) {
	loc, err := parseLocation(text)
	if err != nil {
		return loc, "", err
	}
	switch {
	case loc.text != text:
		// The text is not shown: what was cut out is a secret.
		return loc, "", usage("%s is not to have a user name and a password in it, since Nix prints the URL: put the token into a file, and name that with --token-file", loc.text)
	case loc.scheme == inDir:
		dir, err := filepath.Abs(loc.path)
		if err != nil {
			return loc, "", err
		}
		loc.path, text = dir, "file://"+dir
	case loc.scheme == inForge:
		loc = location{scheme: onWeb, web: loc.forge.URL(), text: loc.text}
		text = loc.web
	case loc.scheme == onWeb && len(loc.settings) == 0:
		text = strings.TrimRight(loc.web, "/")
	}
	// Old versions of Nix decode nothing in a path, newer ones do; and nix.conf has
	// no way to write a blank.
	if strings.ContainsAny(text, " \t\r\n#\"'") || loc.scheme == inDir && strings.ContainsAny(text, "%?+") {
		return loc, "", usage("%s cannot be named in nix.conf: it has special characters", loc.text)
	}
	if loc.scheme == inDir && len(loc.settings) > 0 {
		text += "?" + loc.settings.Encode() // Nix heeds them
	}
	return loc, text, nil
}

// readToken reads a token from a file: alone, or as NAME:TOKEN.
func readToken(c *cli.Context, name string) (nixconf.Login, error) {
	from := c.App.Reader
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nixconf.Login{}, fmt.Errorf("read the token: %w", err)
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, 4097))
	if err != nil {
		return nixconf.Login{}, fmt.Errorf("read the token: %w", err)
	}
	word := strings.TrimSpace(string(text))
	if word == "" || len(text) > 4096 || strings.ContainsAny(word, " \t\r\n") {
		return nixconf.Login{}, usage("--token-file %s: want one token and nothing else", name)
	}
	login := nixconf.Login{Name: "nixstatic", Password: word}
	if name, secret, ok := strings.Cut(word, ":"); ok && name != "" {
		login = nixconf.Login{Name: name, Password: secret}
	}
	return login, nil
}

// patience is how long a cache may take to say what it is: a CI job that would use it waits.
const patience = 30 * time.Second

// patiently asks a cache, which may not answer at all.
func (u *using) patiently(ask func(context.Context) error) error {
	ctx, stop := context.WithTimeout(u.c.Context, patience)
	defer stop()
	err := ask(ctx)
	if err != nil && ctx.Err() != nil && u.c.Context.Err() == nil {
		return withHint(fmt.Errorf("%s does not answer: not within %v", u.url, patience), "nixstatic doctor %s tells more", u.url)
	}
	return err
}

// askPass gets a token for a job that a runner says is who it is.
func (u *using) askPass(ctx context.Context) error {
	if u.token.Password != "" || u.loc.scheme != onWeb || u.text() || u.c.Bool("dry-run") {
		return nil
	}
	p, err := passFor(ctx, u.url)
	if err != nil {
		// A public cache is of use without.
		say(u.c, "note: %s", printable(err.Error()))
		return nil
	}
	if p.Token != "" {
		u.token = nixconf.Login{Name: "oidc", Password: p.Token}
		say(u.c, "the cache lets this job in until %s", p.Until.Format(time.TimeOnly))
	}
	return nil
}

// ask has the cache say what it is, and the user whether its keys are to be
// trusted.
func (u *using) ask(ctx context.Context) error {
	reader, err := u.open()
	if err != nil {
		return err
	}
	defer reader.Close()
	info, err := layout.ReadCacheInfo(ctx, reader)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return withHint(fmt.Errorf("%s is not a binary cache: it has no %s", u.url, layout.CacheInfoKey),
			"check the URL; nixstatic doctor %s tells more", u.url)
	case err != nil:
		return withHint(err, "nixstatic doctor %s tells more", u.url)
	}
	if err := u.tellUpload(ctx); err != nil {
		return err
	}
	storeDir := layout.DefaultStoreDir
	if dir := os.Getenv("NIX_STORE_DIR"); dir != "" {
		storeDir = dir
	}
	if info.StoreDir != storeDir {
		return withHint(fmt.Errorf("%s has paths of %s, and the Nix of this machine keeps its store in %s", u.url, info.StoreDir, storeDir),
			"no path of this cache is of use here; nothing was written")
	}
	published, err := doctor.PublicKeys(ctx, reader)
	named, keyErr := signer.ParseTrusted(u.c.StringSlice("key")...)
	if keyErr != nil {
		return usage("--key: %v", keyErr)
	}
	if len(named) > 0 {
		u.keys = texts(named)
		for _, key := range u.keys {
			if err == nil && !slices.Contains(texts(published), key) {
				name, _, _ := strings.Cut(key, ":")
				say(u.c, "note: the cache does not list the key %s among its own", name)
			}
		}
		return nil
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return withHint(fmt.Errorf("%s does not say what its keys are: it has no file %s", u.url, doctor.PublicKeysKey),
			"ask its operator for the public key, and give it: nixstatic use %s --key NAME:BASE64; nixstatic page CACHE --public-key publishes it", u.url)
	case err != nil:
		return withHint(err, "ask the operator of the cache for the public key, and give it: nixstatic use %s --key NAME:BASE64", u.url)
	}
	u.keys, u.published = texts(published), true
	return nil
}

// tellUpload warns of the URL at which a server of ours takes uploads: a Nix that uploads
// remembers there for a month what it sent, which has no signature of the server's.
func (u *using) tellUpload(ctx context.Context) error {
	above, is := strings.CutSuffix(strings.TrimRight(u.loc.web, "/"), "/upload")
	if u.loc.scheme != onWeb || !is {
		return nil
	}
	reader, err := u.openAt(above)
	if err != nil {
		return err
	}
	defer reader.Close()
	if _, err := layout.ReadCacheInfo(ctx, reader); err == nil {
		say(u.c, "note: %s is where paths are uploaded to, and a Nix that uploads remembers them there without the signature of the server: readers use %s", u.url, above)
	}
	return nil
}

// open opens the cache, with the token if there is one.
func (u *using) open() (openedReader, error) {
	if u.loc.scheme != onWeb {
		return openLocated(u.c, u.loc)
	}
	return u.openAt(u.loc.web)
}

// openAt opens a cache behind a web server.
func (u *using) openAt(web string) (openedReader, error) {
	if u.token.Password != "" {
		base, err := url.Parse(web)
		if err != nil {
			return nil, usage("%s is not a URL", u.loc.text)
		}
		base.User = url.UserPassword(u.token.Name, u.token.Password)
		web = base.String()
	}
	options := httpcache.Options{UserAgent: "nixstatic/" + version()}
	// The token of an earlier run is where Nix finds it.
	file, _ := u.files.Load().NetrcFile(u.files)
	if text, err := nixconf.ReadNetrc(file); err == nil {
		if _, ok, err := nixconf.LookupNetrc(text, hostOf(web), ""); ok && err == nil {
			options.Netrc = file
		}
	}
	return httpcache.Open(web, options)
}

func texts(keys signer.Trusted) []string {
	var all []string
	for _, key := range keys {
		all = append(all, key.String())
	}
	return all
}

// agree asks whether the keys are to be trusted. before are those that a block has
// for this cache already.
func (u *using) agree(before []string) error {
	var fresh []string
	for _, key := range u.keys {
		if !slices.Contains(before, key) {
			fresh = append(fresh, key)
		}
	}
	if !u.published || len(fresh) == 0 {
		return nil
	}
	if len(before) > 0 && len(fresh) == len(u.keys) {
		return withHint(fmt.Errorf("the keys of %s have changed: none of those that were trusted is left", u.url),
			"somebody may have taken the place of the cache. Ask its operator; if the change is meant, name the new key: nixstatic use %s --key %s", u.url, fresh[0])
	}
	what := "its keys are"
	if len(before) > 0 {
		what = "it has keys that were not there before"
	}
	say(u.c, "%s says that %s:", u.url, what)
	for _, key := range fresh {
		say(u.c, "   %s", key)
	}
	say(u.c, "note: only the cache itself says so (trust on first use): compare them with what its operator tells")
	if strings.HasPrefix(u.url, "http://") && !isLocalURL(u.url) {
		say(u.c, "note: without https:// anyone on the way could have put other keys into their place")
	}
	if u.c.Bool("yes") || u.c.Bool("dry-run") || u.text() {
		return nil
	}
	if !isTerminalIn(u.c.App.Reader) {
		return withHint(errors.New("the keys are not trusted yet, and nothing was written"), "--yes trusts them; --key NAME:BASE64 trusts the one that is named")
	}
	fmt.Fprint(u.c.App.ErrWriter, "nixstatic: trust them? [y/N] ")
	answer, _ := bufio.NewReader(u.c.App.Reader).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("not trusted: nothing was written")
	}
	return nil
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func isLocalURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Hostname() == "localhost" || strings.HasPrefix(u.Hostname(), "127.") || u.Hostname() == "::1")
}

// lines are what a nix.conf gets.
func (u *using) lines() []string {
	return []string{"extra-substituters = " + u.url, "extra-trusted-public-keys = " + strings.Join(u.keys, " ")}
}
