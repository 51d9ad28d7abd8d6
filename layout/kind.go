package layout

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// A Kind is what a key stands for. Everything that depends on it is in one
// table: whether its bytes may change, what HTTP says of it, how large it may
// be, and its place in the order of publication.
type Kind int

// The kinds, in the order in which a new tree publishes them. Withdrawing goes
// the other way round (I2).
const (
	KindNAR Kind = iota
	KindLog
	KindDebugInfo
	KindListing
	KindPage
	KindNarInfo
	KindRealisation // leads to a narinfo
	KindPin         // leads to narinfos
	KindCacheInfo
	KindPrivate // never served
	KindForeign // nothing of ours: left alone wherever it is met
)

const (
	forever = "public, max-age=31536000, immutable"
	aDay    = "public, max-age=86400"
	// A narinfo changes when it gains a signature, and goes when it is pruned.
	// Clients keep it for 30 days of their own accord, caches in between need not.
	fiveMinutes = "public, max-age=300"

	// unlimited is for NARs: the record of a NAR says how large it is.
	unlimited = 1 << 62
)

var kinds = [...]struct {
	name, contentType, cacheControl string
	immutable                       bool
	most                            int64 // bytes
	folders                         []string
}{
	KindNAR:         {"nar", "application/x-nix-nar", forever, true, unlimited, []string{NARFolder}},
	KindLog:         {"log", "text/plain; charset=utf-8", aDay, false, 1 << 30, []string{LogFolder}},
	KindDebugInfo:   {"debuginfo", "application/json", aDay, false, 64 << 10, []string{DebugInfoFolder}},
	KindListing:     {"ls", "application/json", aDay, false, 256 << 20, nil},
	KindPage:        {"page", "", fiveMinutes, false, 64 << 20, []string{SearchFolder}},
	KindNarInfo:     {"narinfo", "text/x-nix-narinfo", fiveMinutes, false, MaxNarInfo, nil},
	KindRealisation: {"realisation", "application/json", fiveMinutes, false, MaxRealisation, []string{RealisationsFolder, BuildTraceFolder}},
	KindPin:         {"pin", "text/plain; charset=utf-8", fiveMinutes, false, MaxNarInfo, []string{PinsFolder}},
	KindCacheInfo:   {"nix-cache-info", "text/x-nix-cache-info", fiveMinutes, false, 64 << 10, nil},
	KindPrivate:     {"private", "application/octet-stream", "no-store", false, MaxNarInfo, nil},
	KindForeign:     {"foreign", "application/octet-stream", "no-store", false, MaxNarInfo, nil},
}

// pages are the files that a tree may carry for people and their browsers.
var pages = map[string]string{
	"404.html":    typeHTML,
	"favicon.ico": "image/x-icon",
	"favicon.svg": "image/svg+xml",
	"index.html":  typeHTML,
	"page.js":     typeScript,
	"path.html":   typeHTML,
	"path.js":     typeScript,
	"public-keys": typeText,
	"robots.txt":  typeText,
	"stats.json":  typeJSON,
	"style.css":   "text/css; charset=utf-8",
	"zstd.js":     typeScript,
}

const (
	typeHTML   = "text/html; charset=utf-8"
	typeScript = "text/javascript; charset=utf-8"
	typeText   = "text/plain; charset=utf-8"
	typeJSON   = "application/json"
)

// The folders of the public kinds that have one.
const (
	// NARFolder begins the keys of NARs.
	NARFolder = "nar/"
	// LogFolder begins the keys of build logs, see LogKeys.
	LogFolder = "log/"
	// DebugInfoFolder begins the keys of links to debug files, see DebugLink.
	DebugInfoFolder = "debuginfo/"
	// RealisationsFolder begins the keys of realisations for Nix up to 2.34.
	RealisationsFolder = "realisations/"
	// BuildTraceFolder begins the keys of realisations for Nix from 2.35.
	BuildTraceFolder = "build-trace-v2/"
	// PinsFolder begins the keys of pins: lists of store paths that are to stay, for
	// clients that want what is pinned.
	PinsFolder = "pins/"
	// SearchFolder begins the keys of the index in which a browser looks names up:
	// lists (.json) that name shards (.txt).
	SearchFolder = "search/"
)

// PublicFolders are those at the top that public keys lie in, in their order.
var PublicFolders = publicFolders()

func publicFolders() (names []string) {
	for _, kind := range kinds {
		for _, folder := range kind.folders {
			names = append(names, strings.TrimSuffix(folder, "/"))
		}
	}
	slices.Sort(names)
	return names
}

// IsPublicFolder reports whether public keys may lie in a folder at the top, as a
// TopEntry names it: "log/".
func IsPublicFolder(folder string) bool {
	name, ok := strings.CutSuffix(folder, "/")
	return ok && slices.Contains(PublicFolders, name)
}

// PublicPatterns match every key of a public kind and no private one. A star
// matches any characters, slashes too: so "*.narinfo" would match private keys,
// and each pattern begins as no private key does.
func PublicPatterns() []string {
	patterns := []string{string(CacheInfoKey)}
	for _, folder := range PublicFolders {
		patterns = append(patterns, folder+"/*")
	}
	patterns = slices.AppendSeq(patterns, maps.Keys(pages))
	for _, first := range Nix32Digits {
		patterns = append(patterns, string(first)+"*.narinfo", string(first)+"*.ls")
	}
	slices.Sort(patterns)
	return patterns
}

// String returns the name that options and messages use.
func (k Kind) String() string { return kinds[k].name }

// Immutable reports whether bytes at such a key never change (I4), where the key
// promises them: see Key.Immutable.
func (k Kind) Immutable() bool { return kinds[k].immutable }

// MaxBytes returns how large such an object may be. A listing of 256 MiB has two
// million files; a NAR may have as many bytes as its record says.
func (k Kind) MaxBytes() int64 { return kinds[k].most }

// Folders returns what the keys of such objects begin with, each with a slash at its end;
// none for the kinds that lie at the top alone.
func (k Kind) Folders() []string { return kinds[k].folders }

// Public reports whether such an object is served.
func (k Kind) Public() bool { return k < KindPrivate }

// pagePolicy lets a page have, ask for and run what lies beside it, and nothing
// else: no script or style in its text, which names from outside stand in.
const pagePolicy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// SecurityPolicy returns the HTTP header Content-Security-Policy, "" for what no
// browser shows as a document.
func (k Kind) SecurityPolicy() string {
	if k == KindPage {
		return pagePolicy
	}
	return ""
}

// CacheControl returns the HTTP header of that name.
func (k Kind) CacheControl() string { return kinds[k].cacheControl }

// CacheControl returns the HTTP header of that name. Clients have to ask again
// for an object that may change.
func (k Key) CacheControl() string {
	kind := k.Kind()
	if kind.Immutable() && !k.Immutable() {
		return aDay
	}
	return kind.CacheControl()
}

// ContentType returns the media type that Nix uses on upload, and that a
// server is to answer with.
func (k Key) ContentType() string {
	kind := k.Kind()
	if kind == KindPage {
		return pageType(string(k))
	}
	return kinds[kind].contentType
}

// pageType returns the media type of a page, "" for what is none.
func pageType(key string) string {
	name, ok := strings.CutPrefix(key, SearchFolder)
	if !ok {
		return pages[key]
	}
	if stem, ok := strings.CutSuffix(name, ".json"); ok && isSearchName(stem) {
		return typeJSON
	}
	if stem, ok := strings.CutSuffix(name, ".txt"); ok && isSearchName(stem) {
		return typeText
	}
	return ""
}

func isSearchName(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != "" && len(s) <= hashLen
}

// Kind returns what the key stands for.
func (k Key) Kind() Kind {
	s := string(k)
	dir, base := path.Split(s)
	switch {
	case k == CacheInfoKey:
		return KindCacheInfo
	case strings.HasPrefix(s, PrivatePrefix) || s == PrivatePrefix[:len(PrivatePrefix)-1]:
		return KindPrivate
	case dir == "":
		if k.PathHash() != "" {
			if strings.HasSuffix(s, ".ls") {
				return KindListing
			}
			return KindNarInfo
		}
		if pageType(s) != "" {
			return KindPage
		}
	case strings.HasPrefix(s, NARFolder):
		if narStem(s[len(NARFolder):]) != "" {
			return KindNAR
		}
	case dir == LogFolder:
		// A name cut off at a question mark counts too, see LogKeys.
		if len(base) > hashLen && checkHash(base[:hashLen]) == nil && base[hashLen] == '-' && isName(base, "") {
			return KindLog
		}
	case dir == DebugInfoFolder:
		if isBuildID(strings.TrimSuffix(base, ".debug")) {
			return KindDebugInfo
		}
	case strings.HasPrefix(s, RealisationsFolder), strings.HasPrefix(s, BuildTraceFolder):
		if strings.HasSuffix(s, ".doi") && isName(s, "/:!^") && strings.Count(s, "/") <= 4 {
			return KindRealisation
		}
	case dir == SearchFolder:
		if pageType(s) != "" {
			return KindPage
		}
	case strings.HasPrefix(s, PinsFolder):
		if CheckPinName(s[len(PinsFolder):]) == nil {
			return KindPin
		}
	}
	return KindForeign
}

func isName(s, extra string) bool {
	for _, c := range []byte(s) {
		if !isNameByte(c) && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return s != ""
}

func isBuildID(s string) bool {
	if len(s) != 40 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
