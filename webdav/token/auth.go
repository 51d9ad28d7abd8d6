package token

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/webdav"
)

// An Auth admits requests that show a token: as the password of Basic, with any
// user name, which is what Nix sends from a netrc or from a URL with
// user:password@; or as Bearer. Its zero value lets everyone read, and refuses
// uploads.
//
// Wrong tokens, as far as they differ, slow down the address that they come from. Good tokens are never
// slowed down, so that a client cannot lock out others behind the same address.
type Auth struct {
	Tokens          *File // nil: there are none
	Private         bool  // reading needs a token as well
	AnonymousUpload bool  // everyone may upload, and read at the upload URL
	// Exchange gives tokens to clients that show who they are; nil: none are given.
	Exchange *Exchange

	// TrustedProxies are believed when they name their client in X-Forwarded-For.
	// TrustLocal believes clients of a Unix socket likewise.
	TrustedProxies []netip.Prefix
	TrustLocal     bool

	Log *slog.Logger // nil for slog.Default()

	failures failureLimit
	toldOnce sync.Once
	told     *share.Budget    // lines of the log about tokens that are good
	now      func() time.Time // nil but in tests
}

// Authorize returns the name of the token by which the request may do what needs
// the scope, and an *AuthError if it may not. Tokens are not looked at if
// everyone may: a revoked one does no harm.
func (a *Auth) Authorize(r *http.Request, need webdav.Scope) (string, error) {
	if need == webdav.Read && !a.Private || need <= webdav.Upload && a.AnonymousUpload && !(need == webdav.Read && a.Private) {
		return "", nil
	}
	if need == webdav.Upload && !a.Private && describes(r) {
		return "", nil
	}
	secret, shown := credentials(r)
	if !shown {
		return "", a.anonymous(need)
	}
	moment := a.moment()
	if a.Tokens != nil && isSecret(secret) {
		if t, ok := a.Tokens.find(secret); ok {
			refused := a.known(r, &t, need, moment)
			if refused == nil {
				a.Tokens.use(t.Name, moment)
			}
			return t.Name, refused
		}
	}
	if a.Exchange != nil {
		if t, ok := a.Exchange.Mint.open(secret); ok {
			return t.Name, a.known(r, &t, need, moment)
		}
	}
	return "", a.unknown(r, secret, moment)
}

// describes reports whether a request only wants to know what kind of cache this
// is, which any reader may. A Nix before 2.26 to which this is refused reports
// that there is not a cache. So it gets this, asks for more, and shows that answer.
func describes(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.HasSuffix(r.URL.Path, "/nix-cache-info")
}

// anonymous answers who shows nothing. A challenge where no token would help
// would make programs ask people for passwords.
func (a *Auth) anonymous(need webdav.Scope) error {
	if a.Tokens == nil && a.Exchange == nil {
		return &webdav.AuthError{Status: http.StatusForbidden, Msg: noTokens(need)}
	}
	return &webdav.AuthError{Status: http.StatusUnauthorized, Challenge: webdav.Challenge,
		Msg: fmt.Sprintf("this needs a token with the scope %s: give it as the password in netrc", need)}
}

func noTokens(need webdav.Scope) string {
	what := "uploads"
	if need == webdav.Read {
		what = "readers"
	}
	return "this server has no tokens, and takes no " + what + " without: its operator has to start it with --tokens"
}

// known answers who shows a token of ours, who may learn what is wrong with it.
func (a *Auth) known(r *http.Request, t *Token, need webdav.Scope, now time.Time) error {
	var refused *webdav.AuthError
	switch {
	case t.Expired(now):
		refused = &webdav.AuthError{Status: http.StatusUnauthorized, Challenge: webdav.Challenge,
			Msg: fmt.Sprintf("the token %s expired at %s: ask for a new one", t.Name, t.Until.Format(time.RFC3339))}
	case !t.Allows(need):
		refused = &webdav.AuthError{Status: http.StatusForbidden,
			Msg: fmt.Sprintf("the token %s is good for %s, not for %s: ask for one with that scope", t.Name, t.ScopeList(), need)}
	case need >= webdav.Upload && !t.MayKeep(runOf(r)):
		refused = &webdav.AuthError{Status: http.StatusForbidden,
			Msg: fmt.Sprintf("the token %s is good for uploads to the roots %s: nix copy --to https://…/upload/root/NAME/RUN", t.Name, t.RootList())}
	default:
		return nil
	}
	if !a.tells(share.ClientOf(t.Name, "")) {
		return refused
	}
	a.log().Info("token refused", "token", t.Name, "need", need.String(), "status", refused.Status, "from", a.ClientAddr(r).String())
	return refused
}

// tells reports whether the log has room for one more line about a client whose token is
// good: its holder is not to fill the disk.
func (a *Auth) tells(c share.Client) bool {
	a.toldOnce.Do(func() { a.told = share.NewBudget(failureBurst, failureEvery) })
	return a.told.Charge(c, 1) <= 0
}

func runOf(r *http.Request) *layout.RunID {
	if run, ok := webdav.RunOf(r); ok {
		return &run
	}
	return nil
}

func (a *Auth) unknown(r *http.Request, secret string, now time.Time) error {
	addr := a.ClientAddr(r)
	wait, again := a.failures.take(addr, secret, now)
	if wait > 0 {
		// Not logged: a client that guesses must not fill the disk.
		refused := &webdav.AuthError{Status: http.StatusTooManyRequests, RetryAfter: wait,
			Msg: "too many wrong tokens from this address: correct the token in netrc, and wait a little"}
		if webdav.FromNix(r) {
			// Nix 2.29 to 2.34 waits for a minute after each 429, four times, before
			// it tells anyone why; 403 is told at once.
			refused.Status, refused.RetryAfter = http.StatusForbidden, 0
		}
		return refused
	}
	if !again {
		a.log().Warn("wrong token", "from", addr.String())
	}
	if a.Tokens == nil && a.Exchange == nil {
		return &webdav.AuthError{Status: http.StatusForbidden, Msg: noTokens(webdav.Upload)}
	}
	return &webdav.AuthError{Status: http.StatusUnauthorized, Challenge: webdav.Challenge,
		Msg: "this token is not known here: it may be mistyped or revoked; nixstatic token list shows the server's operator which there are"}
}

func (a *Auth) log() *slog.Logger {
	if a.Log != nil {
		return a.Log
	}
	return slog.Default()
}

// credentials returns the secret that a request shows. Some programs can only
// send a name: one that is a token counts where the password is empty.
func credentials(r *http.Request) (secret string, shown bool) {
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	rest = strings.TrimSpace(rest)
	switch {
	case scheme == "":
		return "", false
	case strings.EqualFold(scheme, "Bearer"):
		return rest, true
	case strings.EqualFold(scheme, "Basic"):
		raw, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return "", true
		}
		user, password, ok := strings.Cut(string(raw), ":")
		if ok && password == "" {
			password = user
		}
		if password == "" {
			return "", false // what a program sends that was given no name and no password
		}
		return password, true
	}
	return "", true
}

// ClientAddr returns who asks: the peer of the connection, or whom a trusted
// proxy names. It is invalid for a Unix socket whose peer says nothing.
func (a *Auth) ClientAddr(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	addr := peer.Addr().Unmap().WithZone("")
	if err != nil && !a.TrustLocal || err == nil && !a.trusts(addr) {
		return addr
	}
	// From the right: what the nearest proxy added is true, what came from the
	// client may be anything.
	chain := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(chain) - 1; i >= 0; i-- {
		next, err := parseForwarded(chain[i])
		if err != nil {
			break
		}
		addr = next
		if !a.trusts(addr) {
			break
		}
	}
	return addr
}

func (a *Auth) trusts(addr netip.Addr) bool {
	for _, p := range a.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// parseForwarded reads one address, with a port or without.
func parseForwarded(text string) (netip.Addr, error) {
	text = strings.TrimSpace(text)
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), nil
	}
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return addr.Unmap().WithZone(""), err
}
