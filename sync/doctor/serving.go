package doctor

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
	"github.com/nixstatic/nixstatic/sync/nixconf"
)

const infoName = string(layout.CacheInfoKey)

func checkReachable(ctx context.Context, p *patient) {
	if p.unopened != nil {
		p.dead = true
		p.fail("unreachable", "check the name of the cache, and the rights to read it", "the cache cannot be opened: %v", p.unopened)
		return
	}
	if p.web == nil {
		return
	}
	a, err := p.web.get(ctx, infoName)
	if err == nil && a.status == http.StatusBadRequest && a.at.Scheme == "http" && netx.SaysHTTPS(string(a.body)) {
		err = netx.ErrHTTPS
	}
	if err == nil {
		if !a.until.IsZero() && a.until.Before(p.now().Add(72*time.Hour)) {
			p.warn("certificate-ends", "renew the certificate of the server", "the certificate of the server ends at %s", a.until.Format(time.RFC3339))
		}
		return
	}
	p.dead = true
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		name      x509.HostnameError
		timeout   net.Error
	)
	switch {
	case errors.As(err, &dns):
		p.fail("host-unknown", "check the URL, and the name servers of this machine: getent hosts "+p.web.base.Hostname(), "the host %s is not known: %v", p.web.base.Hostname(), err)
	case errors.Is(err, netx.ErrHTTPS):
		p.fail("speaks-https", "write https:// instead of http://", "the server speaks HTTPS")
	case errors.Is(err, http.ErrSchemeMismatch):
		p.fail("speaks-http", "write http:// instead of https://, or have the server speak TLS", "the server speaks plain HTTP")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		p.fail("certificate-expired", "renew the certificate of the server, or set the clock of this machine: timedatectl set-ntp true",
			"the certificate of the server is not valid now (%s): %v", p.now().Format(time.RFC3339), err)
	case errors.As(err, &name):
		p.fail("certificate-name", "use a name that the certificate is for", "the certificate of the server is for another name: %v", err)
	case errors.As(err, &authority), errors.As(err, &invalid):
		p.fail("certificate-unknown", "if the server is yours, name a file with the certificate of its authority: ssl-cert-file = FILE in nix.conf", "the certificate of the server is not trusted here: %v", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		p.fail("refused", "start the server, or check the port in the URL", "no server listens there: %v", err)
	case errors.As(err, &timeout) && timeout.Timeout():
		p.fail("silent", "check the network and firewalls between here and there", "the server does not answer: %v", err)
	default:
		p.fail("unreachable", "curl -v "+p.URL+"/"+infoName+" shows more", "the cache cannot be reached: %v", err)
	}
}

func checkClock(ctx context.Context, p *patient) {
	a, err := p.web.get(ctx, infoName)
	if err != nil {
		p.unchecked("%v", err)
		return
	}
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		p.unchecked("the server does not say what time it is")
		return
	}
	// An answer that a cache in between has kept is as old as Age says.
	if age, err := strconv.Atoi(a.header.Get("Age")); err == nil && age > 0 {
		date = date.Add(time.Duration(age) * time.Second)
	}
	if off := p.now().Sub(date).Round(time.Second); off.Abs() > 5*time.Minute {
		p.fail("clock-off", "timedatectl set-ntp true, on the machine whose clock is wrong", "the clock of this machine and that of the server differ by %s", off.Abs())
	}
}

// checkLogin finds out whether the cache wants a password, and whether Nix has it.
func checkLogin(ctx context.Context, p *patient) {
	a, err := p.web.get(ctx, infoName)
	if err == nil && a.status == http.StatusOK {
		// Some servers describe themselves to all, and ask for a password for the rest.
		a, err = p.web.get(ctx, absentName())
	}
	if err != nil {
		p.unchecked("%v", err)
		return
	}
	// A bucket that cannot be listed says 403 for what is not there.
	p.private = a.status == http.StatusUnauthorized || a.status == http.StatusForbidden && a.header.Get("Www-Authenticate") != ""
	file, host := p.view.netrc, p.web.base.Hostname()
	text, err := nixconf.ReadNetrc(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if p.private {
			p.dead = true
			p.fail("netrc-missing", "nixstatic use "+p.URL+" --token-file FILE", "the cache wants a password, and %s, where %s looks for it, does not exist", file, p.view.fetcher)
		}
		return
	case errors.Is(err, fs.ErrPermission):
		if !p.private {
			return
		}
		p.dead = true
		if !p.access.Daemon {
			p.fail("netrc-unreadable", "sudo chown "+nixconf.Me().Name+" "+file, "the cache wants a password, and this user may not read %s", file)
			return
		}
		p.unchecked("the cache wants a password, and only root can read %s: sudo nixstatic doctor %s", file, p.URL)
		return
	case err != nil:
		p.unchecked("%v", err)
		return
	}
	if st, err := os.Stat(file); err == nil && st.Mode().Perm()&0o004 != 0 && strings.Contains(text, "password") {
		p.warn("netrc-open", "chmod 600 "+file, "every user of this machine can read the passwords in %s", file)
	}
	login, ok, err := nixconf.LookupNetrc(text, host, "")
	switch {
	case err != nil:
		p.fail("netrc-broken", "correct "+file+": a line is machine HOST login NAME password WORD", "%s cannot be read: %v", file, err)
		p.dead = p.private
		return
	case !ok:
		if p.private {
			p.dead = true
			p.fail("netrc-no-entry", "nixstatic use "+p.URL+" --token-file FILE", "the cache wants a password, and %s has none for %s", file, host)
		}
		return
	case !p.private:
		return
	}
	p.web.login = login
	if a, err = p.web.get(ctx, absentName()); err == nil && (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden && a.header.Get("Www-Authenticate") != "") {
		p.dead = true
		p.fail("token-refused", "ask for a new token, and give it: nixstatic use "+p.URL+" --token-file FILE", "the cache does not take the password that %s has for %s", file, host)
		return
	}
	if seen, ok := daemonSees(file); ok && !seen {
		p.fail("netrc-hidden", "put it where the daemon sees it, such as beside nix.conf: sudo nixstatic use "+p.URL+" --write system --token-file FILE",
			"the daemon cannot see %s: its service hides home directories, or they are on a disk that root may not read", file)
	}
}

func checkCacheInfo(ctx context.Context, p *patient) {
	var text []byte
	if p.web != nil {
		a, err := p.web.get(ctx, infoName)
		switch {
		case err != nil:
			p.fail("unreachable", "try again", "%s cannot be read: %v", infoName, err)
		case a.status == http.StatusNotFound || a.status == http.StatusGone:
			p.fail("no-cache-info", "check the URL; the root of a cache is where "+infoName+" lies, and nixstatic init makes one", "%s is not there: this is not the root of a cache", infoName)
		case a.status/100 == 3:
			p.fail("redirect-unusable", "write the URL that it leads to: "+a.header.Get("Location"), "%s is redirected to where Nix does not follow", infoName)
		case a.status != http.StatusOK:
			p.fail("cache-info-refused", "curl -v "+p.URL+"/"+infoName+" shows more", "the server answers %d for %s", a.status, infoName)
		case unreadable(a.encoding()):
			p.fail("encoding-unreadable", "turn compression off for the cache", "%s arrives with Content-Encoding %s, which some versions of Nix cannot read", infoName, a.encoding())
		case a.isPage() && a.encoding() == "":
			p.fail("cache-info-page", "check the URL; a login page or a proxy may stand in between", "%s is a web page", infoName)
		}
		if err != nil || a.status != http.StatusOK || unreadable(a.encoding()) || a.isPage() && a.encoding() == "" {
			p.dead = true
			return
		}
	}
	text, err := layout.ReadAll(ctx, p.reader, layout.CacheInfoKey)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.dead = true
		p.fail("no-cache-info", "nixstatic init makes one", "%s is not there: this is not a cache", infoName)
		return
	case err != nil:
		p.dead = true
		p.fail("cache-info-unreadable", "curl -v "+p.URL+"/"+infoName+" shows more", "%v", err)
		return
	}
	priority := false
	for line := range strings.Lines(string(text)) {
		field, value, _ := strings.Cut(line, ":")
		if field != "Priority" {
			continue
		}
		priority = true
		if _, err := strconv.Atoi(strings.TrimSpace(value)); err != nil {
			p.fail("priority-malformed", "write Priority: 40 into "+infoName, "the Priority of %s is not a number: Nix ends with \"error: stoi\"", infoName)
			return
		}
	}
	info, err := layout.ParseCacheInfo(text)
	switch {
	case err != nil:
		p.fail("cache-info-damaged", "nixstatic init writes it anew", "%s is damaged: %v", infoName, err)
	case info.StoreDir != p.StoreDir:
		p.dead = true
		p.fail("other-store-dir", "use a cache for "+p.StoreDir, "the cache is for the store directory %s, and this Nix has %s", info.StoreDir, p.StoreDir)
		return
	case !priority:
		p.warn("no-priority", "write Priority: 40 into "+infoName, "%s has no Priority: Nix takes that for 0, and asks this cache before all others", infoName)
	}
	p.hasInfo = true
}

// absentName is the name of a narinfo that no cache has.
func absentName() string {
	var b [32]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = layout.Nix32Digits[int(b[i])%len(layout.Nix32Digits)]
	}
	return string(layout.NarInfoKeyOf(string(b[:])))
}

func checkMissing(ctx context.Context, p *patient) {
	a, err := p.web.get(ctx, absentName())
	if err != nil {
		p.unchecked("%v", err)
		return
	}
	switch {
	case a.status == http.StatusNotFound, a.status == http.StatusGone:
		if age := maxAge(a.header.Get("Cache-Control")); age > time.Hour {
			p.warn("absence-cached", "have the server send no Cache-Control with a 404", "a 404 may be kept for %s by what stands between here and there: a path that is uploaded later stays invisible", age)
		}
	case a.status == http.StatusOK && a.hops > 0:
		p.fail("missing-redirects", "have the server answer 404", "for a path that is not there, the server leads to %s, which exists", a.at.Redacted())
	case a.status == http.StatusOK:
		p.fail("missing-is-200", "have the server answer 404, without a page in its place: error_page and try_files of nginx, the error document of a bucket", "for a path that is not there, the server answers 200")
	case a.status/100 == 3:
		p.fail("missing-redirects", "have the server answer 404", "for a path that is not there, the server answers %d to %s", a.status, a.header.Get("Location"))
	case a.status == http.StatusForbidden:
		p.warn("missing-is-403", "let readers list the bucket, or have what stands before it answer 404", "for a path that is not there, the server answers 403: Nix takes that for absent, and a missing right looks the same")
	case a.status == http.StatusTooManyRequests:
		p.warn("throttled", "have the server take more requests from one client: Nix asks for many paths at once", "the server answers 429")
	default:
		p.fail("missing-is-error", "have the server answer 404", "for a path that is not there, the server answers %d: Nix takes that for a broken cache", a.status)
	}
}

func maxAge(control string) time.Duration {
	for word := range strings.SplitSeq(control, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(word), "=")
		if strings.EqualFold(name, "max-age") || strings.EqualFold(name, "s-maxage") {
			if n, err := strconv.Atoi(value); err == nil && n > 0 && n < 1<<31 {
				return time.Duration(n) * time.Second
			}
		}
	}
	return 0
}

func checkHead(ctx context.Context, p *patient) {
	a, err := p.web.ask(ctx, http.MethodHead, infoName, 0)
	if err != nil {
		p.unchecked("%v", err)
		return
	}
	if a.status != http.StatusOK {
		p.fail("head-refused", "let the server answer HEAD as it does GET", "the server answers HEAD with %d, and GET with 200", a.status)
	}
}

// unreadable reports whether some version of Nix cannot read an answer that is
// compressed so.
func unreadable(encoding string) bool {
	return encoding != "" && encoding != "gzip" && encoding != "br" && encoding != "zstd"
}

func checkUnchanged(ctx context.Context, p *patient) {
	name, what := infoName, infoName
	if p.record != nil {
		name, what = p.record.URL, "the NAR of "+string(p.record.Path)
	}
	a, err := p.web.ask(ctx, http.MethodGet, name, 1024)
	switch {
	case err != nil:
		p.unchecked("%v", err)
	case a.status != http.StatusOK:
	case a.encoding() != "" && p.record != nil:
		p.fail("compressed-again", "turn compression off for the cache: gzip off in nginx, no compression by the CDN", "%s arrives with Content-Encoding %s on top: something on the way compresses what is compressed", what, a.encoding())
	case a.encoding() != "":
		p.warn("compressed-again", "turn compression off for the cache: gzip off in nginx, no compression by the CDN", "%s arrives with Content-Encoding %s on top: something on the way compresses", what, a.encoding())
	}
	if p.record == nil {
		p.unchecked("no path is known of which the NAR could be looked at: nixstatic doctor %s /nix/store/…", p.URL)
	}
}

func checkRanges(ctx context.Context, p *patient) {
	if p.record == nil {
		return
	}
	a, err := p.web.ask(ctx, http.MethodGet, p.record.URL, 1024, "Range: bytes=1-2", "Accept-Encoding: identity")
	switch {
	case err != nil:
		p.unchecked("%v", err)
	case a.status == http.StatusOK:
		p.warn("no-ranges", "let the server answer Range: proxy_force_ranges on in nginx, or serve files", "the server does not give out parts of a NAR")
	case a.status == http.StatusPartialContent && len(a.body) != 2:
		p.fail("ranges-wrong", "correct what stands between here and there", "asked for 2 bytes of a NAR, the server sends %d", len(a.body))
	case a.status == http.StatusPartialContent && !strings.HasPrefix(a.header.Get("Content-Range"), "bytes 1-2/"):
		p.fail("ranges-wrong", "correct what stands between here and there", "asked for bytes 1-2 of a NAR, the server sends %.40q", a.header.Get("Content-Range"))
	}
}
