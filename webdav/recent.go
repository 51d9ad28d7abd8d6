package webdav

import (
	"net/http"
	"strconv"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// recent remembers the small objects that were asked for lately, most of all narinfos,
// which every client asks for first. A remembered object is believed only if the tree
// still has this very version, so that a reader gets what is there at that moment: it
// saves opening and reading a file, not looking at it.
//
// Memory is bounded by two generations of half the budget each. An object that
// is not asked for during a whole generation is forgotten.
type recent struct {
	mu         sync.RWMutex
	young, old map[layout.Key]*remembered
	size       int64 // of young
}

// recentBudget is in bytes, for both generations.
const recentBudget = 16 << 20

// rememberedCost is what an object costs beside its bytes.
const rememberedCost = 512

type remembered struct {
	etag                       string
	text                       []byte
	quoted, length, modifiedAt []string // values of headers, shared by all answers
}

// get returns what is remembered of a key.
func (c *recent) get(key layout.Key) *remembered {
	c.mu.RLock()
	found, young := c.young[key]
	if !young {
		found = c.old[key]
	}
	c.mu.RUnlock()
	if !young && found != nil {
		c.put(key, found)
	}
	return found
}

func (c *recent) put(key layout.Key, o *remembered) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if had := c.young[key]; had != nil {
		c.size -= had.cost()
	}
	if c.young == nil || c.size+o.cost() > recentBudget/2 {
		c.young, c.old, c.size = map[layout.Key]*remembered{}, c.young, 0
	}
	c.young[key] = o
	c.size += o.cost()
}

func (o *remembered) cost() int64 { return int64(len(o.text)) + rememberedCost }

func newRemembered(info layout.Info, text []byte) *remembered {
	o := &remembered{etag: info.ETag, text: text, length: []string{strconv.Itoa(len(text))}}
	if info.ETag != "" {
		o.quoted = []string{`"` + info.ETag + `"`}
	}
	if !info.ModTime.IsZero() {
		o.modifiedAt = []string{info.ModTime.UTC().Format(http.TimeFormat)}
	}
	return o
}

// send answers with the whole object, in one write.
func (o *remembered) send(w *response) {
	h := w.Header()
	h["Accept-Ranges"] = acceptBytes
	h["Content-Length"] = o.length
	if o.quoted != nil {
		h["Etag"] = o.quoted
	}
	if o.modifiedAt != nil {
		h["Last-Modified"] = o.modifiedAt
	}
	w.Write(o.text)
}
