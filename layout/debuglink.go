package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/nixstatic/nixstatic/layout/nar"
)

// A DebugLink leads from a build ID to the file of a NAR that holds the
// symbols. In a tree it is an object below debuginfo/, JSON of the NAR's key
// and the file's path. Format: writeDebugInfo in Nix's binary-cache-store.cc.
type DebugLink struct {
	ID     string // 40 hexadecimal digits
	Member string // path of the file in the NAR: lib/debug/.build-id/<2 digits>/<38 digits>.debug
}

// Keys returns both spellings of the link's key: Nix writes the one with the
// suffix, the readers of cache.nixos.org ask for the one without.
func (l DebugLink) Keys() [2]Key {
	return [2]Key{Key(DebugInfoFolder + l.ID), Key(DebugInfoFolder + l.ID + ".debug")}
}

// Marshal returns the object that leads into nar.
func (l DebugLink) Marshal(nar Key) []byte {
	return compactJSON(debugLinkJSON{"../" + string(nar), l.Member})
}

type debugLinkJSON struct {
	Archive string `json:"archive"`
	Member  string `json:"member"`
}

// ParseDebugLink reads the object at a key below debuginfo/ and returns the
// link with the key of the NAR that it leads into. The build ID is that of the
// key; whether the NAR has such a file is not known here, nor whether that is the
// one which Nix would name, see NewDebugLink. Members of the object that are not
// known are passed over.
func ParseDebugLink(key Key, text []byte) (DebugLink, Key, error) {
	fail := func(format string, args ...any) (DebugLink, Key, error) {
		return DebugLink{}, "", fmt.Errorf("parse %s: %w", key, fmt.Errorf(format, args...))
	}
	if key.Kind() != KindDebugInfo {
		return fail("not a key of debug information")
	}
	var fields debugLinkJSON
	if err := json.Unmarshal(text, &fields); err != nil {
		return fail("not a JSON object of archive and member: %w", err)
	}
	// The archive is relative to the link, the way a browser would follow it.
	archive, err := ParseKey(path.Join(DebugInfoFolder, fields.Archive))
	if err != nil || archive.Kind() != KindNAR {
		return fail("the archive %.200q is not in nar/", fields.Archive)
	}
	id := key.BuildID()
	if fields.Member == "" {
		return fail("it names no member")
	}
	return DebugLink{id, fields.Member}, archive, nil
}

// BuildID returns the build ID in the key of a link to a debug file, and "" for every
// other key.
func (k Key) BuildID() string {
	if k.Kind() != KindDebugInfo {
		return ""
	}
	return strings.TrimSuffix(path.Base(string(k)), ".debug")
}

// NewDebugLink returns the link that Nix makes for a build ID.
func NewDebugLink(id string) DebugLink {
	return DebugLink{id, "lib/debug/.build-id/" + id[:2] + "/" + id[2:] + ".debug"}
}

// debugObjects returns the links in both spellings.
func debugObjects(links []DebugLink, nar Key) []Object {
	var objects []Object
	for _, link := range links {
		text := link.Marshal(nar)
		for _, key := range link.Keys() {
			objects = append(objects, Object{Key: key, Body: Bytes(text)})
		}
	}
	return objects
}

const (
	// maxDebugLinks bounds what one NAR can claim: the largest debug outputs have a
	// few thousand files, and each becomes two objects.
	maxDebugLinks = 20_000
	// debugLinkMemory is what each takes in memory, in bytes.
	debugLinkMemory = 256
)

// ErrTooManyFiles refuses a NAR with more files, or debug files, than any real one.
var ErrTooManyFiles = errors.New("the NAR has more files than any real one")

// debugLinks is a visitor that collects the separate debug files of a NAR:
// regular files lib/debug/.build-id/<2 hex>/<38 hex>.debug, as Nix finds them.
type debugLinks struct {
	nar.Discard
	path   []string
	links  []DebugLink
	memory func(total int64) error // asked before more is needed; nil: there is enough
}

var buildIDs = []string{"", "lib", "debug", ".build-id"}

func (d *debugLinks) Enter(name string) error {
	d.path = append(d.path, name)
	return nil
}

func (d *debugLinks) Leave() error {
	d.path = d.path[:len(d.path)-1]
	return nil
}

func (d *debugLinks) Regular(name string, _ bool, _, _ int64) error {
	if len(d.path) != len(buildIDs)+1 || len(name) != 38+len(".debug") {
		return nil
	}
	for i, want := range buildIDs {
		if d.path[i] != want {
			return nil
		}
	}
	dir := d.path[len(buildIDs)]
	id := dir + name[:38]
	if len(dir) != 2 || name[38:] != ".debug" || !isBuildID(id) {
		return nil
	}
	if len(d.links) == maxDebugLinks {
		return fmt.Errorf("%w: more than %d debug files", ErrTooManyFiles, maxDebugLinks)
	}
	if len(d.links)%256 == 0 && d.memory != nil {
		if err := d.memory(int64(len(d.links)+256) * debugLinkMemory); err != nil {
			return err
		}
	}
	d.links = append(d.links, NewDebugLink(id))
	return nil
}
