package webdav

import (
	"net/http"
	"strconv"
	"strings"
)

// A client is the program that a User-Agent names.
type client struct {
	nix bool // a Nix or a Lix
	// resends: after an answer that invites to try again it can send a body once
	// more. Every client can but Nix before 2.33.2, and Lix, which parted from it
	// before.
	resends bool
}

// resendsSince is the first Nix that starts a body anew.
var resendsSince = [3]int{2, 33, 2}

// FromNix reports whether a request comes from a Nix or a Lix.
func FromNix(r *http.Request) bool { return clientOf(r).nix }

// clientOf reads a User-Agent such as "curl/8.14.1 Nix/2.26.3".
func clientOf(r *http.Request) client {
	agent := r.Header.Get("User-Agent")
	if _, ok := product(agent, "Lix/"); ok {
		return client{nix: true}
	}
	version, ok := product(agent, "Nix/")
	if !ok {
		return client{resends: true}
	}
	for _, want := range resendsSince {
		var part string
		part, version, _ = strings.Cut(version, ".")
		have, err := strconv.Atoi(part[:leadingDigits(part)])
		if err != nil || have < want {
			return client{nix: true}
		}
		if have > want {
			break
		}
	}
	return client{nix: true, resends: true}
}

// product returns the version of a product that the agent names.
func product(agent, name string) (string, bool) {
	i := strings.Index(agent, name)
	if i < 0 || i > 0 && agent[i-1] != ' ' {
		return "", false
	}
	version, _, _ := strings.Cut(agent[i+len(name):], " ")
	return version, true
}

// leadingDigits is the length of the number that a part such as "0pre20260822"
// begins with.
func leadingDigits(s string) int {
	for i, c := range []byte(s) {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(s)
}
