package httpcache

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"

	"github.com/nixstatic/nixstatic/sync/nixconf"
)

// findCredentials returns the Authorization header for the cache at base: what
// its URL says, or else netrc. "" if there is nothing to say. A file at a usual
// place that cannot be read is passed over, and unread says why: it matters only
// where a server wants a password.
func findCredentials(base *url.URL, user *url.Userinfo, file string) (auth string, unread, err error) {
	if password, ok := user.Password(); ok {
		return basic(user.Username(), password), nil, nil
	}
	files, wanted := nixconf.NetrcFiles(), false
	if file != "" {
		files, wanted = []string{file}, true
	}
	for _, name := range files {
		text, err := nixconf.ReadNetrc(name)
		// The files at the usual places were not asked for, and the one beside
		// nix.conf is often for root alone.
		if !wanted && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
			continue
		}
		var entry nixconf.Login
		var ok bool
		if err != nil {
			err = fmt.Errorf("read netrc: %w", err)
		} else if entry, ok, err = nixconf.LookupNetrc(text, base.Hostname(), user.Username()); err != nil {
			err = fmt.Errorf("read netrc %s: %w", name, err)
		}
		switch {
		case err != nil && wanted:
			return "", nil, err
		case err != nil:
			unread = errors.Join(unread, err)
		case ok:
			return basic(entry.Name, entry.Password), nil, nil
		}
	}
	if name := user.Username(); name != "" {
		return basic(name, ""), unread, nil
	}
	return "", unread, nil
}

// Authorized reports whether there are a user name and a password for the cache at a URL,
// in it or in netrc.
func Authorized(rawURL string, o Options) (bool, error) {
	base, user, err := parseBase(rawURL)
	if err != nil {
		return false, err
	}
	auth, _, err := findCredentials(base, user, o.Netrc)
	return auth != "", err
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
