package forge

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// A Location is where a registry is.
type Location struct {
	Server  *url.URL // of the forge; without user, query and fragment
	Owner   string
	Package string
	Version string
	User    *url.Userinfo
}

// URL is what clients name as their cache.
func (l Location) URL() string { return l.below("api/packages").String() }

// below returns the URL of the version in one of the two interfaces of the forge.
func (l Location) below(api string) *url.URL {
	return l.Server.JoinPath(api, url.PathEscape(l.Owner), "generic", url.PathEscape(l.Package), url.PathEscape(l.Version))
}

// ParseURL reads gitea+https://host/OWNER/PACKAGE?version=VERSION. Without a version it
// is "1".
func ParseURL(text string) (Location, error) {
	scheme, rest, ok := strings.Cut(text, "+")
	if !ok || scheme != "gitea" && scheme != "forgejo" {
		return Location{}, errors.New("not the URL of a package registry: want gitea+https://host/OWNER/PACKAGE?version=VERSION")
	}
	u, err := url.Parse(rest)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return Location{}, errors.New("want gitea+https://host/OWNER/PACKAGE?version=VERSION")
	}
	query := u.Query()
	l := Location{Version: query.Get("version"), User: u.User}
	query.Del("version")
	for name := range query {
		return l, fmt.Errorf("%s is not a setting of a package registry: there is version alone", name)
	}
	if l.Version == "" {
		l.Version = "1"
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) < 2 || slices.Contains(parts, "") || slices.Contains(parts, "..") || strings.ContainsAny(l.Version, "/\\") || strings.Trim(l.Version, ".") == "" {
		return l, errors.New("want an owner and a package behind the host, and a version without a slash: gitea+https://host/OWNER/PACKAGE?version=VERSION")
	}
	l.Owner, l.Package = parts[len(parts)-2], parts[len(parts)-1]
	l.Server = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/" + strings.Join(parts[:len(parts)-2], "/")}
	return l, nil
}
