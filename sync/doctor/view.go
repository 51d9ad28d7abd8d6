package doctor

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/nixconf"
	"github.com/nixstatic/nixstatic/sync/nixstore"
)

// A view is what counts of the settings for this user: those of the user, or what
// the daemon takes over of them.
type view struct {
	conf         *nixconf.Config // whose other settings count
	substituters []string
	keys         []string
	netrc        string
	restricted   bool // the daemon does not trust the user
	fetcher      string
}

func (p *patient) readSettings(ctx context.Context) {
	p.mine, p.system = p.Files.Load(), p.Files.LoadSystem()
	if p.access, p.silent = nixstore.FindAccess(ctx); p.silent != nil {
		// The settings of the user are looked at nevertheless.
		p.access = nixstore.Access{Daemon: true}
	}
	trusted := !p.access.Daemon || p.access.Trust == nixstore.Trusted ||
		p.access.Trust == nixstore.TrustUnknown && nixconf.Me().In(p.system.List("trusted-users"))
	p.view = view{conf: p.mine, substituters: p.mine.List("substituters"), keys: p.mine.List("trusted-public-keys"), fetcher: "this user"}
	p.view.netrc, _ = p.mine.NetrcFile(p.Files)
	if p.access.Daemon {
		p.view.fetcher = "the Nix daemon"
	}
	if trusted {
		return
	}
	// As ClientSettings::apply of Nix's daemon does it.
	allowed := append(p.system.List("substituters"), p.system.List("trusted-substituters")...)
	p.view.restricted, p.view.conf = true, p.system
	p.view.substituters = slices.DeleteFunc(p.view.substituters, func(url string) bool { return !nixconf.Has(allowed, url) })
	p.view.keys = p.system.List("trusted-public-keys")
	p.view.netrc, _ = p.system.NetrcFile(p.Files)
}

// trusted returns the keys that count. Words that are not keys count for nothing.
func (v *view) trusted() signer.Trusted {
	var keys signer.Trusted
	for _, word := range v.keys {
		if key, err := signer.ParsePublicKey(word); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

func checkSettings(_ context.Context, p *patient) {
	for _, problem := range p.mine.Problems {
		cure := "correct that line"
		switch {
		case errors.Is(problem, fs.ErrPermission):
			cure = "make it readable: sudo chmod a+r " + problem.File
		case errors.Is(problem, fs.ErrNotExist):
			cure = "take the line out, or write !include for a file that may be missing"
		}
		p.fail("settings-broken", cure, "%v", problem)
	}
	for _, word := range p.view.keys {
		if _, err := signer.ParsePublicKey(word); err != nil {
			name, _, _ := strings.Cut(word, ":")
			p.fail("key-malformed", "correct it in trusted-public-keys: a key is NAME:BASE64", "the trusted key %.60q cannot be read", name)
		}
	}
	if p.silent != nil {
		p.fail("daemon-silent", "start it: sudo systemctl restart nix-daemon, or nix-daemon as root", "the Nix daemon does not answer: %v", p.silent)
	}
}

func checkSubstitutes(_ context.Context, p *patient) {
	if !p.view.conf.True("substitute") {
		lines := p.view.conf.Lines("substitute")
		p.fail("substitute-off", "take that line out", "%s turns substitutes off", lines[len(lines)-1].At())
		return
	}
	// A line in the system's nix.conf does not count for the nix command here.
	if lastLine(p.mine, "substitute") == lastLine(p.system, "substitute") && !online() {
		p.warn("no-network", "nix build --option substitute true, or substitute = true in "+p.Files.Own(),
			"this machine has no address in a network: nix build asks no cache then, neither one on a disk nor one on this machine")
	}
}

// lastLine tells where a setting was set last, "" if nowhere.
func lastLine(conf *nixconf.Config, setting string) string {
	lines := conf.Lines(setting)
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1].At()
}

// online reports whether the nix command believes that there is a network: it looks for an
// address that is not the loopback's, and not that of a link alone (haveInternet in its source).
func online() bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok:
			return false
		case n.IP.To4() != nil:
			return !n.IP.Equal(net.IPv4(127, 0, 0, 1))
		}
		return !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast()
	})
}

func checkSubstituter(_ context.Context, p *patient) {
	if p.URL == "" {
		if len(p.view.substituters) == 0 {
			p.fail("no-substituters", "nixstatic use URL", "no cache is among the substituters")
		}
		return
	}
	if nixconf.Has(p.view.substituters, p.URL) {
		return
	}
	p.unused = true
	added, by, overridden := p.mine.Overridden("substituters", p.URL)
	switch {
	case p.view.restricted && p.mine.Uses(p.URL):
		me := nixconf.Me().Name
		p.fail("user-not-trusted", "sudo nixstatic use "+p.URL+" --write system",
			"the settings of this user name the cache, and the Nix daemon does not take them over: it does not trust %s", me)
	case overridden:
		p.fail("substituters-set-anew", "write extra-substituters instead of substituters in "+by.At(),
			"%s adds the cache, and %s sets the list anew without it", added.At(), by.At())
	default:
		p.fail("not-used", "nixstatic use "+p.URL, "the cache is not among the substituters: %s", strings.Join(p.view.substituters, " "))
	}
}

func checkDaemon(_ context.Context, p *patient) {
	started, ok := nixstore.DaemonStarted()
	if !ok {
		return
	}
	// The start of a process is known to a second or two.
	if st, err := os.Stat(p.Files.System); err == nil && st.ModTime().After(started.Add(3*time.Second)) {
		p.fail("daemon-outdated", "sudo systemctl restart nix-daemon, or end the process and start it again",
			"%s changed at %s, and the daemon runs since %s", p.Files.System, st.ModTime().Format("15:04:05"), started.Format("2006-01-02 15:04:05"))
	}
}
