package doctor

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver called sqlite

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/nixconf"
)

// A Memory is a folder in which a Nix keeps what it remembers of caches.
type Memory struct {
	Dir   string // with binary-cache-v6.sqlite and the like
	Owner string // for people: "root", "this user"
	Sudo  bool   // the cure needs another user
	Main  bool   // this one counts for builds
}

// memories returns the folders of this machine.
func memories(daemon bool) []Memory {
	var all []Memory
	home, _ := os.UserHomeDir()
	own := os.Getenv("NIX_CACHE_HOME")
	if own == "" {
		if own = os.Getenv("XDG_CACHE_HOME"); own == "" && home != "" {
			own = filepath.Join(home, ".cache")
		}
		if own != "" {
			own = filepath.Join(own, "nix")
		}
	}
	if own != "" {
		all = append(all, Memory{Dir: own, Owner: "this user", Main: !daemon})
	}
	if root, err := user.LookupId("0"); err == nil && root.HomeDir != "" && (daemon || os.Geteuid() == 0) {
		dir := filepath.Join(root.HomeDir, ".cache/nix")
		if own != dir {
			all = append(all, Memory{Dir: dir, Owner: "root", Sudo: os.Geteuid() != 0, Main: daemon})
		}
	}
	return all
}

// maxRemembered is how many answers are compared with those of now.
const maxRemembered = 100

// A memoryTable is an open database of a Nix. Source of the tables: nar-info-disk-cache.cc.
type memoryTable struct {
	Memory
	db   *sql.DB
	file string
}

func (t *memoryTable) close() { t.db.Close() }

// An entry is what a Nix remembers of a path.
type entry struct {
	hash    string
	name    string
	url     string
	sigs    string
	narHash string
	at      time.Time
	present bool
}

func checkRemembered(ctx context.Context, p *patient) {
	for _, m := range p.Memories {
		files, err := filepath.Glob(filepath.Join(m.Dir, "binary-cache-v*.sqlite"))
		if err == nil {
			_, err = os.ReadDir(m.Dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			if m.Main {
				p.unchecked("only %s may read what its Nix remembers: sudo nixstatic doctor %s", m.Owner, p.URL)
			}
			continue
		}
		for _, file := range files {
			t, err := openMemory(m, file)
			if err == nil {
				p.tables = append(p.tables, t)
				err = t.compare(ctx, p)
			}
			if err != nil {
				p.unchecked("%s: %v", file, err)
			}
		}
	}
}

// openMemory opens a database for reading alone. A database that no process writes is
// taken for unchangeable, since reading could make files beside it otherwise.
func openMemory(m Memory, file string) (*memoryTable, error) {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: "mode=ro&immutable=1"}
	for _, suffix := range []string{"-wal", "-journal"} {
		if st, err := os.Stat(file + suffix); err == nil && st.Size() > 0 {
			u.RawQuery = "mode=ro&_pragma=busy_timeout(2000)"
		}
	}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return &memoryTable{m, db, file}, nil
}

// caches returns the numbers that a cache has in the table.
func (t *memoryTable) caches(ctx context.Context, url string) (ids []int64, err error) {
	rows, err := t.db.QueryContext(ctx, "select id, url from BinaryCaches limit 1000")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var have string
		if err := rows.Scan(&id, &have); err != nil {
			return nil, err
		}
		if nixconf.SameCache(have, url) {
			ids = append(ids, id)
		}
	}
	return ids, rows.Err()
}

// entries returns what is remembered of a cache: of one path, or with "" of the
// paths that were absent last.
func (t *memoryTable) entries(ctx context.Context, cache int64, hash string) (all []entry, err error) {
	const columns = `select hashPart, coalesce(namePart, ''), coalesce(url, ''), coalesce(sigs, ''), coalesce(narHash, ''), timestamp, present from NARs where cache = ? `
	query, args := columns+"and present = 0 order by timestamp desc limit ?", []any{cache, maxRemembered}
	if hash != "" {
		query, args = columns+"and hashPart = ?", []any{cache, hash}
	}
	rows, err := t.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e entry
		var at int64
		if err := rows.Scan(&e.hash, &e.name, &e.url, &e.sigs, &e.narHash, &at, &e.present); err != nil {
			return nil, err
		}
		e.at = time.Unix(at, 0)
		if layout.NarInfoKeyOf(e.hash).PathHash() == e.hash {
			all = append(all, e)
		}
	}
	return all, rows.Err()
}

// compare compares what is remembered with what the cache says now.
func (t *memoryTable) compare(ctx context.Context, p *patient) error {
	ids, err := t.caches(ctx, p.URL)
	if err != nil {
		return err
	}
	hash := ""
	if p.Path != "" {
		hash = p.Path.Hash()
	}
	var hidden []string
	for _, id := range ids {
		entries, err := t.entries(ctx, id, hash)
		if err != nil {
			return err
		}
		for _, e := range entries {
			now, err := p.recordOf(ctx, e.hash)
			switch {
			case err != nil && !errors.Is(err, fs.ErrNotExist):
				continue // another check tells
			case !e.present && now != nil && e.at.Add(p.ttl("narinfo-cache-negative-ttl", time.Hour)).After(p.now()):
				hidden = append(hidden, now.Path.Abs(p.StoreDir))
			case e.present && e.at.Add(p.ttl("narinfo-cache-positive-ttl", 30*24*time.Hour)).After(p.now()):
				t.comparePresent(ctx, p, e, now)
			}
		}
	}
	if len(hidden) > 0 {
		p.fail("remembered-absent", t.cure(p, hidden...), "%s of %s remembers that %d of the paths of this cache are absent, such as %s, which is there now", filepath.Base(t.file), t.Owner, len(hidden), filepath.Base(hidden[0]))
	}
	return nil
}

// comparePresent compares a record that is remembered with the one of now, which is
// nil if there is none any more.
func (t *memoryTable) comparePresent(ctx context.Context, p *patient, e entry, now *layout.NarInfo) {
	name := e.hash + "-" + e.name
	memory := fmt.Sprintf("%s of %s", filepath.Base(t.file), t.Owner)
	path := p.StoreDir + "/" + name
	if now == nil {
		p.fail("remembered-present", t.cure(p, path), "%s remembers %s, which the cache does not have any more", memory, name)
		return
	}
	if e.narHash != "" && e.narHash != "sha256:"+now.NarHash.Nix32() {
		p.fail("remembered-outdated", t.cure(p, path), "%s remembers another content of %s than the cache has", memory, name)
		return
	}
	if e.url != now.URL {
		if a, err := p.web.ask(ctx, http.MethodHead, e.url, 0); err == nil && (a.status == http.StatusNotFound || a.status == http.StatusGone) {
			p.fail("remembered-outdated", t.cure(p, path), "%s remembers the NAR %s of %s, which is not there any more", memory, e.url, name)
			return
		}
	}
	trusted := p.view.trusted()
	fingerprint := now.Fingerprint(p.StoreDir)
	if now.CA != "" || !p.view.conf.True("require-sigs") {
		return
	}
	_, good := trusted.Verify(fingerprint, now.Sigs)
	_, before := trusted.Verify(fingerprint, strings.Fields(e.sigs))
	if good && !before {
		p.fail("remembered-unsigned", t.cure(p, path), "%s remembers %s without the signature by a trusted key that it has now", memory, name)
	}
}

// recordOf returns the record of a path as the cache has it, nil if it is absent.
func (p *patient) recordOf(ctx context.Context, hash string) (*layout.NarInfo, error) {
	if p.record != nil && p.record.Path.Hash() == hash {
		return p.record, nil
	}
	text, err := layout.ReadAll(ctx, p.reader, layout.NarInfoKeyOf(hash))
	if err != nil {
		return nil, err
	}
	n, err := layout.ParseNarInfo(text, p.StoreDir)
	if err == nil && n.Path.Hash() != hash {
		err = errors.New("the narinfo of another path")
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (p *patient) ttl(setting string, fallback time.Duration) time.Duration {
	if n, err := strconv.ParseInt(p.view.conf.Get(setting), 10, 32); err == nil && n >= 0 {
		return time.Duration(n) * time.Second
	}
	return fallback
}

// cure is the command that has Nix ask again.
func (t *memoryTable) cure(p *patient, paths ...string) string {
	sudo := ""
	if t.Sudo {
		sudo = "sudo -H "
	}
	if len(paths) > 20 {
		return sudo + "rm " + t.file + "*"
	}
	return sudo + "nix --extra-experimental-features nix-command path-info --refresh --store " + p.URL + " " + strings.Join(paths, " ")
}
