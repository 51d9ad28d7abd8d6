package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/sync/nixconf"
	"github.com/nixstatic/nixstatic/sync/nixstore"
)

// A target is a nix.conf to write to, and the netrc that goes with it.
type target struct {
	conf   string
	system bool
	netrc  string
	names  bool // conf has to name the netrc
}

// write writes the block, and the token before it: a block without its token
// would make each build ask in vain.
func (u *using) write() error {
	if u.text() {
		return u.writeText()
	}
	t, err := u.target()
	if err != nil {
		return err
	}
	before, err := u.keysOf(t.conf)
	if err != nil {
		return err
	}
	if err := u.agree(before); err != nil {
		return err
	}
	lines := u.lines()
	if u.token.Password != "" {
		if err := u.writeToken(t); err != nil {
			return err
		}
	}
	if t.names && (u.token.Password != "" || u.namesNetrc(t)) {
		lines = append(lines, "netrc-file = "+t.netrc)
	}
	edit := nixconf.Edit{Mode: 0o644, Change: func(text []byte) ([]byte, error) {
		return nixconf.SetBlock(text, u.url, lines, nixconf.AtEnd)
	}}
	if u.c.Bool("dry-run") {
		return u.preview(edit, t.conf)
	}
	changed, err := edit.Apply(t.conf)
	if err != nil {
		return u.unwritable(t.conf, err)
	}
	if changed {
		say(u.c, "%s uses %s now", t.conf, u.url)
	} else {
		say(u.c, "%s uses %s already: nothing was changed", t.conf, u.url)
	}
	u.tellEffect(t, changed)
	return nil
}

// target returns the nix.conf that --write asks for.
func (u *using) target() (target, error) {
	own, system := u.files.Own(), u.files.System
	switch u.where {
	case "user":
		if own == "" {
			return target{}, withHint(errors.New("there is no nix.conf of the user's own: NIX_USER_CONF_FILES is empty"), "unset it, or use --write system")
		}
		return u.userTarget(own), nil
	case "system":
		return u.systemTarget(system), nil
	}
	access, err := nixstore.FindAccess(u.c.Context)
	if err != nil {
		return target{}, withHint(fmt.Errorf("find out whether the Nix daemon trusts this user: %w", err),
			"start the daemon, or say where to write: --write user, or --write system")
	}
	me := nixconf.Me()
	trusted := access.Trust == nixstore.Trusted || access.Trust == nixstore.TrustUnknown && me.In(u.files.LoadSystem().List("trusted-users"))
	switch {
	case os.Geteuid() == 0 && isWritable(system):
		// The own settings of root count for no other user of the machine.
		return u.systemTarget(system), nil
	case trusted && own != "" && isWritable(own):
		return u.userTarget(own), nil
	case isWritable(system):
		return u.systemTarget(system), nil
	}
	name := me.Name
	if name == "" {
		name = "you"
	}
	if _, err := nixconf.Target(system); errors.Is(err, nixconf.ErrManaged) {
		return target{}, withHint(fmt.Errorf("nothing here can be written: %s is made by NixOS, and the Nix daemon does not trust %s", system, name),
			"put it into the configuration of the machine: nixstatic use %s --write nixos", u.url)
	}
	if trusted {
		return target{}, withHint(fmt.Errorf("neither %s nor %s can be written", cmp.Or(own, "a nix.conf of the user's own"), system),
			"nixstatic use %s --write print tells what to add; home-manager writes the user's own: --write home-manager", u.url)
	}
	return target{}, withHint(fmt.Errorf("the Nix daemon does not trust %s, and %s cannot be written", name, system),
		"there are two ways out. For everyone on this machine: sudo nixstatic use %s --write system. Or let %s add caches: put \"extra-trusted-users = %s\" into %s as root and restart the daemon, which gives %s the powers of root; then run this command again",
		u.url, name, name, system, name)
}

func (u *using) userTarget(own string) target {
	t := target{conf: own}
	if file, line := u.files.Load().NetrcFile(u.files); line.Line > 0 {
		// The line may be of a block of ours, which goes when that block does.
		t.netrc, t.names = file, line.File == own && file == filepath.Join(filepath.Dir(own), "netrc")
	} else {
		t.netrc, t.names = filepath.Join(filepath.Dir(own), "netrc"), true
	}
	return t
}

func (u *using) systemTarget(system string) target {
	file, _ := u.files.LoadSystem().NetrcFile(u.files)
	return target{conf: system, system: true, netrc: file}
}

// isWritable reports whether a file can be replaced, or made.
func isWritable(name string) bool {
	name, err := nixconf.Target(name)
	if err != nil {
		return false
	}
	dir := filepath.Dir(name)
	for {
		_, err := os.Stat(dir)
		if err == nil {
			return unix.Access(dir, unix.W_OK|unix.X_OK) == nil
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return false
		}
		dir = filepath.Dir(dir)
	}
}

// keysOf returns the keys that the block of a file has.
func (u *using) keysOf(conf string) ([]string, error) {
	text, err := readIfThere(conf)
	if err != nil {
		return nil, err
	}
	lines, _, err := nixconf.Block(text, u.url)
	if err != nil {
		return nil, brokenBlock(conf, err)
	}
	for _, line := range lines {
		if keys, ok := strings.CutPrefix(line, "extra-trusted-public-keys = "); ok {
			return strings.Fields(keys), nil
		}
	}
	return nil, nil
}

// namesNetrc reports whether the block names the netrc already: a run without
// --token-file is not to lose the token.
func (u *using) namesNetrc(t target) bool {
	text, err := readIfThere(t.conf)
	if err != nil {
		return false
	}
	lines, _, _ := nixconf.Block(text, u.url)
	return slices.Contains(lines, "netrc-file = "+t.netrc)
}

func readIfThere(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

func brokenBlock(file string, err error) error {
	var broken *nixconf.BlockError
	if errors.As(err, &broken) {
		return withHint(fmt.Errorf("%s: %w", file, err), "correct the lines that begin with \"# begin nixstatic\" and \"# end nixstatic\"; nothing was changed")
	}
	return err
}

// unwritable words why a file cannot be written.
func (u *using) unwritable(file string, err error) error {
	switch {
	case errors.Is(err, nixconf.ErrManaged):
		return withHint(err, "let that program write it: --write nixos and --write home-manager print what it needs")
	case errors.Is(err, fs.ErrPermission):
		return withHint(err, "run the command as a user who may write %s, or see the other ways: nixstatic use --help", file)
	}
	return brokenBlock(file, err)
}

// writeToken puts the token into the netrc. It goes first in the file: of several
// entries for one host, the first counts.
func (u *using) writeToken(t target) error {
	host, err := url.Parse(u.loc.web)
	if err != nil {
		return usage("%s is not a URL", u.loc.text)
	}
	line := nixconf.NetrcLine(host.Hostname(), u.token)
	other := false
	edit := nixconf.Edit{Mode: 0o600, Private: true, Change: func(text []byte) ([]byte, error) {
		left, _, err := nixconf.RemoveBlock(text, u.url)
		if err != nil {
			return nil, err
		}
		have, ok, err := nixconf.LookupNetrc(string(left), host.Hostname(), "")
		if err != nil {
			return nil, err
		}
		other = ok && have.Password != u.token.Password
		return nixconf.SetBlock(text, u.url, []string{line}, nixconf.AtStart)
	}}
	if u.c.Bool("dry-run") {
		if _, _, err := edit.Preview(t.netrc); err != nil {
			return u.unwritable(t.netrc, err)
		}
		say(u.c, "would put an entry for %s into %s", host.Hostname(), t.netrc)
		return nil
	}
	changed, err := edit.Apply(t.netrc)
	if err != nil {
		return u.unwritable(t.netrc, err)
	}
	if changed {
		say(u.c, "%s has the token for %s", t.netrc, host.Hostname())
	}
	if other {
		say(u.c, "note: %s has another entry for %s, which does not count any more: netrc has one for a host", t.netrc, host.Hostname())
	}
	if !t.system && t.names {
		if _, err := os.Stat(u.files.Netrc()); err == nil && u.files.Netrc() != t.netrc {
			say(u.c, "note: the Nix of this user reads %s from now on, and not %s", t.netrc, u.files.Netrc())
		}
	}
	return nil
}

// preview says what would be written.
func (u *using) preview(edit nixconf.Edit, file string) error {
	before, after, err := edit.Preview(file)
	if err != nil {
		return u.unwritable(file, err)
	}
	if before != nil && string(before) == string(after) {
		say(u.c, "%s would stay as it is", file)
		return nil
	}
	lines, _, err := nixconf.Block(after, u.url)
	if err != nil {
		return brokenBlock(file, err)
	}
	for _, line := range lines {
		fmt.Fprintln(u.c.App.Writer, line)
	}
	say(u.c, "would put that into %s", file)
	return nil
}

// tellEffect tells what else has to happen before a Nix uses the cache.
func (u *using) tellEffect(t target, changed bool) {
	conf := u.files.Load()
	for _, problem := range conf.Problems {
		say(u.c, "note: Nix cannot read %v", problem)
	}
	if _, by, ok := conf.Overridden("substituters", u.url); ok {
		say(u.c, "note: %s sets substituters anew, so that this cache does not count for you: write extra-substituters there", by.At())
	}
	for _, key := range u.keys {
		if _, by, ok := conf.Overridden("trusted-public-keys", key); ok {
			say(u.c, "note: %s sets trusted-public-keys anew, so that these keys do not count for you: write extra-trusted-public-keys there", by.At())
			break
		}
	}
	if !t.system {
		u.tellTrust()
		return
	}
	if !changed || !hasDaemon() {
		return
	}
	how := "restart it"
	switch {
	case runtime.GOOS == "darwin":
		how = "sudo launchctl kickstart -k system/org.nixos.nix-daemon"
	case isThere("/run/systemd/system"):
		how = "sudo systemctl restart nix-daemon"
	}
	say(u.c, "the Nix daemon reads it when it starts: %s", how)
}

// tellTrust says that a daemon takes no caches from this user, whose own settings name one.
func (u *using) tellTrust() {
	access, err := nixstore.FindAccess(u.c.Context)
	system := u.files.LoadSystem()
	if err != nil || access.Trust != nixstore.NotTrusted || nixconf.Has(append(system.List("substituters"), system.List("trusted-substituters")...), u.url) {
		return
	}
	say(u.c, "note: the Nix daemon does not trust this user, so that Nix does not read from the cache: nixstatic use --help tells what root can do")
}

func isThere(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// hasDaemon reports whether a Nix daemon has a socket on this machine.
func hasDaemon() bool {
	socket := os.Getenv("NIX_DAEMON_SOCKET_PATH")
	if socket == "" {
		socket = filepath.Join(cmp.Or(os.Getenv("NIX_STATE_DIR"), "/nix/var/nix"), "daemon-socket/socket")
	}
	return isThere(socket)
}

// remove takes away what use has written for the cache.
func (u *using) remove() error {
	if u.text() {
		return u.removeText()
	}
	var confs []string
	if u.where != "system" && u.files.Own() != "" {
		confs = append(confs, u.files.Own())
	}
	if u.where != "user" {
		confs = append(confs, u.files.System)
	}
	netrcs := []string{}
	for _, conf := range confs {
		// Before the block goes that may name it.
		file, _ := nixconf.LoadFile(conf).NetrcFile(u.files)
		for _, file := range []string{file, filepath.Join(filepath.Dir(conf), "netrc")} {
			if !slices.Contains(netrcs, file) {
				netrcs = append(netrcs, file)
			}
		}
	}
	found := false
	for _, file := range append(slices.Clone(confs), netrcs...) {
		removed, err := u.removeFrom(file, slices.Contains(netrcs, file))
		if err != nil {
			return u.unwritable(file, err)
		}
		found = found || removed
		if removed && file == u.files.System && hasDaemon() {
			defer u.tellEffect(target{conf: file, system: true}, !u.c.Bool("dry-run"))
		}
	}
	if !found {
		say(u.c, "there is nothing to remove: nixstatic use has written nothing for %s into %s", u.url, strings.Join(confs, " or "))
	}
	if conf := u.files.Load(); !u.c.Bool("dry-run") && conf.Uses(u.url) {
		for _, line := range conf.Lines("substituters") {
			if nixconf.Has(strings.Fields(line.Value), u.url) {
				say(u.c, "note: %s still names it, which nixstatic use did not write", line.At())
			}
		}
	}
	return nil
}

func (u *using) removeFrom(file string, secret bool) (removed bool, err error) {
	edit := nixconf.Edit{Change: func(text []byte) (left []byte, err error) {
		left, removed, err = nixconf.RemoveBlock(text, u.url)
		return left, err
	}}
	// A file without the block may not be ours to open.
	_, _, err = edit.Preview(file)
	switch {
	case errors.Is(err, nixconf.ErrManaged) || secret && errors.Is(err, fs.ErrPermission):
		return false, nil
	case err != nil || !removed:
		return false, err
	case u.c.Bool("dry-run"):
		say(u.c, "would take its block out of %s", file)
		return true, nil
	}
	if _, err = edit.Apply(file); err != nil {
		return false, err
	}
	say(u.c, "took its block out of %s", file)
	return true, nil
}
