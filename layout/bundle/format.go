package bundle

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/nixstatic/nixstatic/layout"
)

// version is that of the formats of a bundle and of a state.
const version = 1

const (
	headName = "nixstatic-bundle.json"
	sumsName = "nixstatic-bundle.sums"

	maxHead = 4 << 10
	// maxMembers bounds what is opened together.
	maxMembers = 5_000_000
	// MaxParts bounds the parts of a bundle.
	MaxParts = 10_000
)

// A head is the first member of a part.
type head struct {
	Version  int    `json:"version"`
	ID       string `json:"id"` // that of the bundle, which its parts share
	Part     int    `json:"part"`
	StoreDir string `json:"storeDir"`
}

func parseHead(text []byte) (h head, err error) {
	if err := json.Unmarshal(text, &h); err != nil {
		return h, &BadError{Msg: headName + ": " + err.Error()}
	}
	if h.Version > version {
		return h, ErrVersion
	}
	if h.Version != version || h.Part < 1 || h.Part > MaxParts || len(h.ID) != idLen {
		return h, &BadError{Msg: headName + " lacks what it is to tell"}
	}
	if err := layout.CheckStoreDir(h.StoreDir); err != nil {
		return h, &BadError{Msg: headName + ": " + err.Error()}
	}
	return h, nil
}

const idLen = 32

// id returns a name for the bundle of a plan. The same paths have the same one.
func (p *Plan) id(most int64) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %d\n", p.StoreDir, most)
	for _, path := range p.Lacking {
		fmt.Fprintln(sum, path.Path)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))[:idLen]
}

// A BadError says that a file is not a bundle, or is damaged.
type BadError struct {
	File string
	Msg  string
}

func (e *BadError) Error() string { return e.File + ": " + e.Msg }

// ErrCut says that a bundle lacks its end.
var ErrCut = errors.New("the file was cut off: it lacks its end")

// A piece is a part of a NAR that has no room in a part of a bundle.
type piece struct {
	key         layout.Key
	from, whole int64 // bytes: where it begins, and of the NAR
}

// pieceDigits are enough for a petabyte.
const pieceDigits = 15

var pieceName = regexp.MustCompile(`^(.+)\.([0-9]{15})-of-([0-9]{15})$`)

func (p piece) name() string {
	return fmt.Sprintf("%s.%0*d-of-%0*d", p.key, pieceDigits, p.from, pieceDigits, p.whole)
}

func parsePiece(name string) (p piece, ok bool) {
	m := pieceName.FindStringSubmatch(name)
	if m == nil {
		return p, false
	}
	p.key = layout.Key(m[1])
	p.from, _ = strconv.ParseInt(m[2], 10, 64)
	p.whole, _ = strconv.ParseInt(m[3], 10, 64)
	return p, p.from < p.whole
}

// carried reports whether a bundle may have an object of this kind.
func carried(k layout.Kind) bool {
	switch k {
	case layout.KindNAR, layout.KindLog, layout.KindDebugInfo, layout.KindListing, layout.KindNarInfo, layout.KindRealisation, layout.KindCacheInfo:
		return true
	}
	return false
}
