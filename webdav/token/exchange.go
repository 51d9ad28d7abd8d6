package token

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout/share"
)

// An Exchange gives tokens of ours to clients that show one of another service, as RFC 8693
// has it.
type Exchange struct {
	Mint *Mint
	// Verify says who a token is of. Its error is told to the client; one that wraps
	// Unavailable means that it could not be found out.
	Verify      func(ctx context.Context, raw string) (Identity, error)
	Unavailable error
	// Uploaders says who may upload with such a token, for people.
	Uploaders []string
	// Most is how many tokens are checked at the same time, which networks share; 0 for
	// 64.
	Most int

	turns *share.Pool
	told  *share.Budget // lines of the log
}

const (
	maxForm      = 64 << 10 // bytes
	exchangeTime = 15 * time.Second
	exchangeWait = 10 * time.Second // for a turn

	grantType   = "urn:ietf:params:oauth:grant-type:token-exchange"
	idTokenType = "urn:ietf:params:oauth:token-type:id_token"
	jwtType     = "urn:ietf:params:oauth:token-type:jwt"
	accessType  = "urn:ietf:params:oauth:token-type:access_token"
)

// Handler answers POST …?token at the read URL, the upload URL and those of runs below it;
// all else is for next.
func (a *Auth) Handler(prefix string, next http.Handler) http.Handler {
	if a.Exchange == nil {
		return next
	}
	most := a.Exchange.Most
	if most == 0 {
		most = 64
	}
	a.Exchange.turns = share.NewPool(int64(most), exchangeWait)
	a.Exchange.told = share.NewBudget(failureBurst, failureEvery)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.RawQuery != "token" || r.URL.Path != "/" && !strings.HasPrefix(r.URL.Path, prefix) {
			next.ServeHTTP(w, r)
			return
		}
		a.exchange(w, r)
	})
}

// exchangeError is an answer of RFC 6749, section 5.2.
type exchangeError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func (a *Auth) exchange(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	fail := func(status int, code, text string) { answer(w, status, exchangeError{code, text}) }
	r = r.WithContext(share.As(r.Context(), share.ClientOf("", r.RemoteAddr)))
	turn, err := a.Exchange.turns.Take(r.Context(), 1)
	if err != nil {
		w.Header().Set("Retry-After", "5")
		fail(http.StatusServiceUnavailable, "temporarily_unavailable", "too many tokens are exchanged at once")
		return
	}
	defer turn.Release()
	// The body is small: a client that takes its time gives its turn to others.
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(exchangeTime))
	defer control.SetReadDeadline(time.Time{})
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		fail(http.StatusBadRequest, "invalid_request", "want a form")
		return
	}
	form := r.PostForm
	kind := form.Get("subject_token_type")
	if form.Get("grant_type") != grantType || kind != idTokenType && kind != jwtType || form.Get("subject_token") == "" {
		fail(http.StatusBadRequest, "invalid_request", "want grant_type="+grantType+", subject_token and subject_token_type="+idTokenType)
		return
	}
	ctx, stop := context.WithTimeout(r.Context(), exchangeTime)
	defer stop()
	identity, err := a.Exchange.Verify(ctx, form.Get("subject_token"))
	if err != nil && a.Exchange.Unavailable != nil && errors.Is(err, a.Exchange.Unavailable) {
		if _, busy := a.Exchange.told.Take(ctx, 1, 0); busy == nil {
			a.log().Warn("an identity cannot be checked", "err", err)
		}
		w.Header().Set("Retry-After", "30")
		fail(http.StatusServiceUnavailable, "temporarily_unavailable", err.Error())
		return
	}
	var secret string
	if err == nil {
		secret, err = a.Exchange.Mint.Make(identity)
	}
	if err != nil {
		addr := a.ClientAddr(r)
		// To check an identity costs something each time, so that each time counts.
		if wait, _ := a.failures.take(addr, "", a.moment()); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
			fail(http.StatusTooManyRequests, "temporarily_unavailable", "too many wrong tokens from this address")
			return
		}
		a.log().Warn("identity refused", "from", addr.String(), "err", err)
		fail(http.StatusForbidden, "invalid_grant", err.Error())
		return
	}
	if a.tells(share.ClientOf(identity.Name, "")) {
		a.log().Info("identity accepted", "name", identity.Name, "rule", identity.Rule, "from", a.ClientAddr(r).String(), "until", identity.Until.UTC().Format(time.RFC3339))
	}
	t := Token{Scopes: identity.Scopes, Roots: identity.Roots}
	result := exchangeResult{Version: 1, Token: secret, Issued: accessType, Type: "Bearer", Expires: int64(identity.Until.Sub(a.moment()) / time.Second), Scope: t.ScopeList()}
	if len(t.Roots) > 0 {
		result.Roots = t.RootList()
	}
	answer(w, http.StatusOK, result)
}

// exchangeResult is an answer of RFC 8693, section 2.2.1, with a version and the roots.
type exchangeResult struct {
	Version int    `json:"version"`
	Token   string `json:"access_token"`
	Issued  string `json:"issued_token_type"`
	Type    string `json:"token_type"`
	Expires int64  `json:"expires_in"` // seconds
	Scope   string `json:"scope"`      // parted by commas, as in a token file
	Roots   string `json:"roots,omitempty"`
}

func answer(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(text, '\n'))
}

func (a *Auth) moment() time.Time {
	if a.now != nil {
		return a.now()
	}
	return time.Now()
}
