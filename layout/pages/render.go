package pages

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	indexKey layout.Key = "index.html"
	statsKey layout.Key = "stats.json"
	keysKey  layout.Key = "public-keys"
)

//go:embed assets
var assets embed.FS

// templates are the pages. Text from outside is escaped by html/template, and a
// browser runs only the scripts that are files of ours.
var templates = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"bytes": Bytes, "count": wordCount, "day": func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
		"stamp": func(t time.Time) string { return t.UTC().Format(time.RFC3339) }, "assets": assetsVersion,
	}).ParseFS(assets, "assets/*.html"))
})

// plainFiles have the same bytes in all trees.
var plainFiles = []layout.Key{"favicon.svg", "page.js", "path.js", "style.css", "zstd.js"}

// assetsVersion stands behind the names of those files wherever one is asked for, so that no
// browser has a page take a script that it remembers of another version.
var assetsVersion = sync.OnceValue(func() string {
	sum := sha256.New()
	for _, key := range plainFiles {
		text, err := assets.ReadFile("assets/" + string(key))
		if err != nil {
			panic(err) // it is embedded
		}
		sum.Write(text)
	}
	return layout.Hash(sum.Sum(nil)).Nix32()[:10]
})

// asset returns one of those files.
func asset(key layout.Key) ([]byte, error) {
	text, err := assets.ReadFile("assets/" + string(key))
	for _, module := range []string{"./page.js", "./zstd.js"} {
		text = bytes.ReplaceAll(text, []byte(`"`+module+`"`), []byte(`"`+module+"?v="+assetsVersion()+`"`))
	}
	return text, err
}

// generator marks what we wrote.
const generator = `<meta name="generator" content="nixstatic">`

func isOurs(html []byte) bool { return bytes.Contains(html, []byte(generator)) }

// A view is what the templates show.
type view struct {
	Stats
	settings Settings
	Priority int
	Base     string // of links from 404.html, whose own URL is any
	Bars     []bar  // growth
	Largest  Month
	HasIndex bool
}

// Title names the cache.
func (v view) Name() string {
	if v.settings.Title != "" {
		return v.settings.Title
	}
	if u, err := url.Parse(v.URL()); err == nil && u.Host != "" {
		return u.Host + strings.TrimSuffix(u.Path, "/")
	}
	return "Nix binary cache"
}

// Address is the URL of the cache; a script replaces the word by where it is.
func (v view) Address() string {
	if v.settings.URL != "" {
		return v.settings.URL
	}
	return "https://cache.example.org"
}

// URL is where the operator says that the cache is, "" if nothing is said.
func (v view) URL() string { return v.settings.URL }

// Keys are the public keys that sign here.
func (v view) Keys() []string { return v.settings.Keys }

// KeyLine is the keys as nix.conf has them.
func (v view) KeyLine() string { return strings.Join(v.settings.Keys, " ") }

// mostPins bounds how many pins the index shows: it is to load at once everywhere.
const mostPins = 40

// ShownPins are the pins that changed last, by name.
func (v view) ShownPins() []Pin {
	pins := slices.Clone(v.Pins)
	if len(pins) > mostPins {
		slices.SortStableFunc(pins, func(a, b Pin) int { return b.Time.Compare(a.Time) })
		pins = pins[:mostPins]
	}
	slices.SortFunc(pins, func(a, b Pin) int { return strings.Compare(a.Name, b.Name) })
	return pins
}

// MorePins is how many pins are not shown.
func (v view) MorePins() int64 { return int64(max(0, len(v.Pins)-mostPins)) }

// A bar is a month in the picture of growth.
type bar struct {
	Month
	X, Y, Width, Height float64
	Total               int64 // bytes of files, up to here
}

// The size of the picture, in its own units.
const (
	pictureWidth, pictureHeight = 720.0, 120.0
	mostBars                    = 36
)

// bars are the sums of the latest months.
func bars(months []Month) []bar {
	var total int64
	var all []bar
	for _, m := range months {
		total += m.FileBytes
		all = append(all, bar{Month: m, Total: total})
	}
	all = all[max(0, len(all)-mostBars):]
	if total == 0 || len(all) == 0 {
		return nil
	}
	step := min(pictureWidth/float64(len(all)), 60)
	for i := range all {
		height := max(2, pictureHeight*float64(all[i].Total)/float64(total))
		all[i].X, all[i].Width = float64(i)*step, step-2
		all[i].Y, all[i].Height = pictureHeight-height, height
	}
	return all
}

// Bytes words a number of bytes in the units that disks and networks use.
func Bytes(n int64) string {
	switch f := float64(n); {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", f/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", f/1e6)
	case n < 1e12:
		return fmt.Sprintf("%.2f GB", f/1e9)
	default:
		return fmt.Sprintf("%.2f TB", f/1e12)
	}
}

// wordCount words a number with thin spaces between its thousands.
func wordCount(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// renders is how often a page is made again because its tables changed meanwhile.
const renders = 5

// render writes what follows from the table of hashes, the pins and the settings.
func (k *Keeper) render(ctx context.Context, settings Settings, c Change) error {
	info, err := layout.ReadCacheInfo(ctx, k.Tree)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = layout.DefaultCacheInfo(), nil
	}
	if err != nil {
		return err
	}
	hashes, _ := tables(settings.Unlisted)
	for range renders {
		t, version, err := k.read(ctx, hashes)
		if err != nil {
			return err
		}
		v := view{settings: settings, Priority: info.Priority}
		err = layout.Update(ctx, k.Tree, statsKey, func(text []byte) ([]byte, error) {
			v.Stats = parseStats(text)
			if c.SetPins {
				v.Pins = c.Pins
			}
			v.serve(c.Served)
			v.fill(t.Totals, &settings, info.StoreDir, k.now())
			next, err := json.MarshalIndent(v.Stats, "", "  ")
			return append(next, '\n'), err
		})
		if err != nil {
			return err
		}
		c.Served = nil // counted
		if err := k.write(ctx, v); err != nil {
			return err
		}
		// If another writer changed the table meanwhile, either of us may have come
		// last, with numbers of before.
		now, there, err := layout.Lookup(ctx, k.Tree, hashes.list())
		if err != nil || !there || now.ETag == version.ETag {
			return err
		}
	}
	return nil
}

// serve adds what a server counted.
func (s *Stats) serve(more *Served) {
	if more == nil {
		return
	}
	if s.Served == nil {
		s.Served = &Served{Since: more.Since}
	}
	s.Served.Reads += more.Reads
	s.Served.Uploads += more.Uploads
	s.Served.BytesIn += more.BytesIn
	s.Served.BytesOut += more.BytesOut
}

// write puts the pages: those that seldom change only if they did.
func (k *Keeper) write(ctx context.Context, v view) error {
	files, err := v.files()
	if err != nil {
		return err
	}
	var all bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&all, "%s %d\n", f.key, len(f.text))
		all.Write(f.text)
	}
	sum := digest(all.Bytes())
	index, err := v.page(indexKey)
	if err != nil {
		return err
	}
	objects := []layout.Object{{Key: indexKey, Body: layout.Bytes(index)}}
	if sum != v.settings.Files {
		for _, f := range files {
			objects = append(objects, layout.Object{Key: f.key, Body: layout.Bytes(f.text)})
		}
	}
	if _, err := layout.PutBatch(ctx, k.Tree, objects); err != nil || sum == v.settings.Files {
		return err
	}
	return k.set(ctx, func(s *Settings) error { s.Files = sum; return nil })
}

type file struct {
	key  layout.Key
	text []byte
}

// files are the pages that depend on the settings alone, or on nothing.
func (v view) files() ([]file, error) {
	v.Base = "/"
	if u, err := url.Parse(v.URL()); err == nil && u.Host != "" {
		v.Base = strings.TrimSuffix(u.EscapedPath(), "/") + "/"
	}
	var files []file
	if len(v.settings.Keys) > 0 { // without the file, clients know that nothing is said
		files = append(files, file{keysKey, v.settings.publicKeys()})
	}
	for _, key := range []layout.Key{"path.html", "404.html"} {
		text, err := v.page(key)
		if err != nil {
			return nil, err
		}
		files = append(files, file{key, text})
	}
	for _, key := range plainFiles {
		text, err := asset(key)
		if err != nil {
			return nil, err
		}
		files = append(files, file{key, text})
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(string(a.key), string(b.key)) })
	return files, nil
}

// page fills in a template.
func (v view) page(key layout.Key) ([]byte, error) {
	v.Bars, v.HasIndex = bars(v.Months), !v.settings.Unlisted
	if n := len(v.Bars); n > 0 {
		v.Largest = v.Bars[n-1].Month
	}
	var b bytes.Buffer
	err := templates().ExecuteTemplate(&b, string(key), v)
	return b.Bytes(), err
}
