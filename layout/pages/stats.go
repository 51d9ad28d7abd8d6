package pages

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

// Settings say how a page is to be. They are kept at layout.PageKey.
type Settings struct {
	Version int    `json:"version"`
	Title   string `json:"title,omitempty"`
	URL     string `json:"url,omitempty"` // at which clients read the cache
	// Keys are the public keys that sign here, as nix.conf has them.
	Keys []string `json:"keys,omitempty"`
	// Unlisted leaves out what lists paths: the search index and the newest ones.
	Unlisted bool `json:"unlisted,omitempty"`
	// Files is the digest of the files that were written last.
	Files string `json:"files,omitempty"`
}

const settingsVersion = 1

// AddKeys adds public keys. A newer key of one name replaces an older one.
func (s *Settings) AddKeys(keys ...string) {
	for _, key := range keys {
		name, _, _ := strings.Cut(key, ":")
		s.Keys = slices.DeleteFunc(s.Keys, func(have string) bool { return strings.HasPrefix(have, name+":") })
		s.Keys = append(s.Keys, key)
	}
	slices.Sort(s.Keys)
}

// publicKeys is the file of that name: a key on each line.
func (s *Settings) publicKeys() []byte {
	return []byte(strings.Join(s.Keys, "\n") + "\n")
}

// KeysOf returns the public keys of secret ones.
func KeysOf(keys []signer.SecretKey) (public []string) {
	for _, key := range keys {
		public = append(public, key.Public().String())
	}
	return public
}

// Stats is stats.json. A later version may have more fields.
type Stats struct {
	Version   int       `json:"version"`
	Generated time.Time `json:"generated"`
	Title     string    `json:"title,omitempty"`
	StoreDir  string    `json:"storeDir"`
	Size                // of all paths that are there
	Months    []Month   `json:"months"` // of which month they are
	Pins      []Pin     `json:"pins"`
	Newest    []Arrival `json:"newest"`
	// Served is what a server counted, nil if none did.
	Served *Served `json:"served,omitempty"`
}

// StatsVersion is that of the form of stats.json.
const StatsVersion = 1

// An Arrival is one of the newest paths.
type Arrival struct {
	Path      layout.StorePath `json:"path"`
	NarBytes  int64            `json:"narBytes"`
	FileBytes int64            `json:"fileBytes"`
	Time      time.Time        `json:"time"`
}

// A Pin is what a pin keeps: its newest generation, and all that it refers to.
type Pin struct {
	Name       string     `json:"name"`
	Generation int        `json:"generation"`
	Time       time.Time  `json:"time"`
	Until      *time.Time `json:"until,omitempty"`
	Note       string     `json:"note,omitempty"`
	Size                  // of the closure
	// Partial says that records of the closure could not be read, or were too many.
	Partial bool   `json:"partial,omitempty"`
	Roots   []Root `json:"roots"` // of the pin's paths, MaxRoots at most
	// Graph is the key of a Graph of the closure, "" if there is none.
	Graph layout.Key `json:"graph,omitempty"`
}

// A Root is a path that a pin names.
type Root struct {
	Path layout.StorePath `json:"path"`
	Size                  // of its closure
}

// MaxRoots bounds how many roots of a pin are named.
const MaxRoots = 100

// Served is what the servers of a tree counted.
type Served struct {
	Since    time.Time `json:"since"`
	Reads    int64     `json:"reads"`    // NARs, as far as they went through a server
	BytesOut int64     `json:"bytesOut"` // of all answers
	Uploads  int64     `json:"uploads"`  // paths
	BytesIn  int64     `json:"bytesIn"`  // of all requests
}

// A Graph tells which path of a closure refers to which.
type Graph struct {
	Version int                `json:"version"`
	Pin     string             `json:"pin"`
	Paths   []layout.StorePath `json:"paths"`
	// Refs are the numbers of the paths that each path refers to, without itself.
	Refs [][]int32 `json:"refs"`
}

// GraphVersion is that of the form of a Graph.
const GraphVersion = 1

// GraphKey is where the graph of a pin is.
func GraphKey(pin string) layout.Key {
	return layout.Key(layout.SearchFolder + "pin" + digest([]byte(pin))[:hashLen/2] + ".json")
}

func parseStats(text []byte) (s Stats) {
	if json.Unmarshal(text, &s) != nil || s.Version != StatsVersion {
		return Stats{} // of what is not known, nothing is kept
	}
	for i := range s.Pins {
		if s.Pins[i].Graph != "" && s.Pins[i].Graph != GraphKey(s.Pins[i].Name) {
			s.Pins[i].Graph = ""
		}
	}
	return s
}

// fill makes the stats tell of a table of hashes.
func (s *Stats) fill(t *totals, settings *Settings, storeDir string, now time.Time) {
	s.Version, s.Generated = StatsVersion, now.UTC().Truncate(time.Second)
	s.Title, s.StoreDir = settings.Title, storeDir
	s.Size, s.Months, s.Newest = Size{}, []Month{}, []Arrival{}
	if s.Pins == nil {
		s.Pins = []Pin{}
	}
	if t == nil {
		return
	}
	s.Size, s.Months = t.Size, append(s.Months, t.months()...)
	if settings.Unlisted {
		return
	}
	for _, r := range t.records() {
		s.Newest = append(s.Newest, Arrival{r.Path, r.NarSize, r.FileSize, r.Time})
	}
}

// ReadStats returns the stats of a tree. The error is fs.ErrNotExist if there are none.
func ReadStats(ctx context.Context, r layout.Reader) (Stats, error) {
	text, err := layout.ReadAll(ctx, r, statsKey)
	return parseStats(text), err
}
