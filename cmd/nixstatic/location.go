package main

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/sync/forge"
	"github.com/nixstatic/nixstatic/sync/s3"
)

// A location is where a tree or a cache is, as Nix users write it: a directory,
// file:///path, s3://bucket/prefix?…, or https://host/path.
type location struct {
	scheme   string      // one of the schemes below
	path     string      // of a directory
	bucket   s3.Location // of a bucket
	forge    forge.Location
	web      string     // the URL of a cache behind a web server; it may carry a password
	text     string     // for people, without a password
	settings url.Values // what Nix keeps in the URL of a store about its own work
}

const (
	inDir    = "file"
	inBucket = "s3"
	inForge  = "gitea" // or forgejo: the package registry of one
	onWeb    = "http"  // or https
)

// A use is what a command does with a location.
type use string

const (
	readCache   use = "read as a cache" // its records and NARs, by name
	readTree    use = "read as a whole" // all that it has
	checkTree   use = "checked"         // where it is
	signTree    use = "signed"
	changeTree  use = "pruned, pinned or changed"
	writeTree   use = "written to"
	pushTo      use = "pushed to"
	makeTree    use = "made" // by init
	takeObjects use = "mirrored to"
	serveTree   use = "served"
)

// refusals say which scheme cannot be used for what, and what can.
var refusals = map[use]map[string]string{
	checkTree:  {onWeb: "want the directory or the bucket behind it; or take a copy: nixstatic sync %s ./copy"},
	signTree:   {onWeb: "want the directory or the bucket behind it; or take a copy: nixstatic sync %s ./copy"},
	changeTree: {onWeb: "want the directory or the bucket behind it, on the machine that has it or its credentials"},
	writeTree:  {onWeb: "want a directory, a file:// URL or s3://…; nixstatic push %s PATH… uploads to a server that takes PUT"},
	makeTree:   {onWeb: "want a directory, a file:// URL or s3://…"},
	serveTree:  {onWeb: "want a directory, a file:// URL or s3://…", inForge: "the forge itself serves it; want a directory, a file:// URL or s3://…"},
}

// nixSettings are what Nix keeps in the URL of a store, and the flag of ours that
// means the same. Those without one are about Nix's own work.
var nixSettings = map[string]string{
	"compression": "compression", "compression-level": "level", "index-debug-info": "debug-info",
	"secret-key": "secret-key-file", "secret-keys": "secret-key-file",
	"write-nar-listing": "", "parallel-compression": "", "local-nar-cache": "", "narinfo-compression": "", "ls-compression": "",
	"log-compression": "", "store": "", "path-info-cache-size": "", "trusted": "", "priority": "", "want-mass-query": "", "system-features": "",
}

var (
	isScheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*$`)
	noScheme = regexp.MustCompile(`^[^/]*:[^/]*@`)
	oneSlash = regexp.MustCompile(`(?i)^(file|s3|https?)(:|//)/?`)
	// A directory is hardly called like that, and a URL that lacks its beginning is, an
	// address of ssh, or a path of Windows.
	otherColon = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*:`)
	hostName   = regexp.MustCompile(`^([a-z0-9-]+\.)+[a-z]{2,}(:[0-9]+)?(/|$)`)
)

// schemes are those of the locations, for words that are near them.
var schemes = []string{"file", "s3", "http", "https", "gitea+https", "forgejo+https"}

const locationForms = "want a directory, file:///path, s3://bucket/prefix, https://host/path or gitea+https://host/OWNER/PACKAGE"

// checkLocation reads a location, and refuses one that the use is not for.
func checkLocation(text string, for_ use) (location, error) {
	loc, err := parseLocation(text)
	if err != nil {
		return loc, err
	}
	if why, refused := refusals[for_][loc.scheme]; refused {
		return loc, usage("%s cannot be %s: %s", loc.text, for_, strings.ReplaceAll(why, "%s", loc.text))
	}
	return loc, nil
}

// locate does the same, and has the flags say what the URL's settings say. A flag that
// was given counts for more. Commands call it before they read keys or ask anything: a
// mistyped word costs nothing then, and a key that the URL names is among those.
func locate(c *cli.Context, text string, for_ use) (location, error) {
	loc, err := checkLocation(text, for_)
	if err != nil {
		return loc, err
	}
	if u, err := url.Parse(loc.web); err == nil && hasPassword(u) {
		sayOnce(c, "note: a password in a URL is seen by all who list the processes of this machine, and Nix prints it: it belongs into netrc")
	}
	return loc, loc.apply(c, for_)
}

func hasPassword(u *url.URL) bool {
	_, has := u.User.Password()
	return has
}

func parseLocation(text string) (location, error) {
	scheme, _, isURL := strings.Cut(text, "://")
	switch {
	case text == "":
		return location{}, usage("the location is empty: %s", locationForms)
	case !isURL || !isScheme.MatchString(scheme):
		return parseDirectory(text)
	}
	loc := location{text: withoutUser(text)}
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" || u.Opaque != "" {
		// The error of net/url repeats what it stumbled on, which may be part of a
		// password.
		return loc, usage("%s is not a URL: %s; special characters must be percent-encoded", loc.text, locationForms)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return loc, usage("%s: what follows the ? is malformed", loc.text)
	}
	loc.settings = url.Values{}
	for name, values := range query {
		if _, known := nixSettings[name]; known {
			loc.settings[name] = values
			delete(query, name)
		}
	}
	u.RawQuery = query.Encode()
	switch strings.ToLower(scheme) {
	case "gitea+https", "gitea+http", "forgejo+https", "forgejo+http":
		loc.scheme = inForge
		if loc.forge, err = forge.ParseURL(u.String()); err != nil {
			return loc, usage("%s: %v", loc.text, err)
		}
		return loc, nil
	case "file":
		if u.Host != "" && u.Host != "localhost" || u.Path == "" {
			return loc, usage("%s: want file:// and an absolute path", loc.text)
		}
		loc.scheme, loc.path = inDir, u.Path
	case "s3":
		loc.scheme = inBucket
		if loc.bucket, err = s3.ParseURL(u.String()); err != nil {
			return loc, usage("%v", err)
		}
		return loc, nil // the other parameters are its own
	case "http", "https":
		u.RawQuery = ""
		loc.scheme, loc.web = onWeb, u.String()
	default:
		err := usage("%s: there is nothing for %s:// here: %s", loc.text, scheme, locationForms)
		if near := nearest(scheme, schemes); near != "" {
			return loc, withHint(err, "did you mean %s://?", near)
		}
		return loc, err
	}
	for name := range query {
		return loc, usage("%s: %s is not a setting of Nix", loc.text, name)
	}
	return loc, nil
}

// parseDirectory reads a location that is not a URL: the path of a directory, or a URL that
// was mistyped.
func parseDirectory(text string) (location, error) {
	if m := oneSlash.FindStringSubmatch(text); m != nil {
		scheme, rest := strings.ToLower(m[1]), strings.TrimLeft(text[len(m[0]):], "/")
		if scheme == inDir {
			rest = "/" + rest
		}
		if strings.Contains(rest, "@") {
			return location{}, usage("this is not a URL: write %s://host/path, without a password, which belongs into netrc", scheme)
		}
		return location{}, usage("%s is not a URL: write %s://%s, or ./%s for a directory of that name", text, scheme, rest, text)
	}
	if noScheme.MatchString(text) {
		// The text may be a URL that lacks its beginning, and has a password.
		return location{}, usage("this is neither a URL nor a directory: write https://host/path, or begin with ./ for a directory")
	}
	switch {
	case otherColon.MatchString(text):
		return location{}, usage("%s is neither a URL nor plainly a directory: write ./%s for a directory of that name, or: %s", text, text, locationForms)
	case strings.HasPrefix(text, "~"):
		return location{}, usage("%s: the shell has not made a path of ~: write it without quotes, or ./%s for a directory of that name", text, text)
	case strings.TrimSpace(text) != text || strings.ContainsFunc(text, unicode.IsControl):
		return location{}, usage("%q begins or ends with white space, or has control characters in it: %s", text, locationForms)
	}
	return location{scheme: inDir, path: text, text: text}, nil
}

// heeds are the uses in which a command writes or signs as its flags say.
var heeds = []use{writeTree, pushTo, signTree, changeTree, serveTree, makeTree}

// apply has the flags of a command that writes say what the settings say, before it reads
// them. It tells which settings mean nothing here.
func (loc location) apply(c *cli.Context, for_ use) error {
	var passedOver []string
	for name, values := range loc.settings {
		flag := nixSettings[name]
		if !slices.Contains(heeds, for_) || !takesFlag(c, flag) {
			passedOver = append(passedOver, name)
			continue
		}
		if c.IsSet(flag) {
			continue
		}
		for _, value := range values {
			if name == "secret-keys" {
				values := strings.Split(value, ",")
				for _, value := range values {
					if err := c.Set(flag, value); err != nil {
						return usage("%s: %s: %v", loc.text, name, err)
					}
				}
				continue
			}
			if err := c.Set(flag, value); err != nil {
				return usage("%s: %s=%s: %v", loc.text, name, value, err)
			}
		}
	}
	if len(passedOver) > 0 {
		slices.Sort(passedOver)
		sayOnce(c, "note: the URL's settings for Nix alone are passed over: %s", strings.Join(passedOver, ", "))
	}
	return nil
}

var saying sync.Mutex

// sayOnce says what a command may come upon again: it may open a location several times,
// and a service many times.
func sayOnce(c *cli.Context, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	saying.Lock()
	defer saying.Unlock()
	if _, said := c.App.Metadata[text]; said {
		return
	}
	if c.App.Metadata == nil {
		c.App.Metadata = map[string]any{}
	}
	c.App.Metadata[text] = true
	say(c, "%s", text)
}

func takesFlag(c *cli.Context, name string) bool {
	return name != "" && slices.ContainsFunc(c.Command.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

// withoutUser drops a user name and a password from a URL.
func withoutUser(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return text
	}
	host, path, slash := strings.Cut(rest, "/")
	if _, port, ok := strings.Cut(host, ":"); ok && !isPort(port, strings.Contains(path, "@")) && !strings.ContainsAny(host, "@[") {
		// No port is like that: it is a password with a slash.
		return scheme + "://" + path[strings.LastIndexByte(path, '@')+1:]
	}
	host = host[strings.LastIndexByte(host, '@')+1:]
	if slash {
		host += "/"
	}
	return scheme + "://" + host + path
}

// isPort reports whether what follows the colon of a host is a port, and perhaps the
// settings of a URL without a path. With an @ later on it may be a password instead.
func isPort(text string, later bool) bool {
	port, _, settings := strings.Cut(text, "?")
	return strings.Trim(port, "0123456789") == "" && !(settings && later)
}
