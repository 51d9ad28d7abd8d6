package nixstore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/nixstatic/nixstatic/layout"
)

// A database is the record that a store keeps of its paths. Source of its form:
// schema.sql and local-store.cc in Nix, where it is the same from 2.3 on.
type database struct {
	db *sql.DB
}

const (
	schema = "10"
	// atOnce is how many paths one question is about.
	atOnce = 500
	// maxRow bounds a value of the database in bytes.
	maxRow = 8 << 20
)

// openDatabase opens the database of the store with a state directory for reading. A
// database of another form is an error.
func openDatabase(ctx context.Context, stateDir string) (*database, error) {
	dir := filepath.Join(stateDir, "db")
	text, err := os.ReadFile(filepath.Join(dir, "schema"))
	if err != nil {
		return nil, err
	}
	if string(bytes.TrimSpace(text)) != schema {
		return nil, fmt.Errorf("the database has the schema %.20q, want %s", text, schema)
	}
	file := filepath.Join(dir, "db.sqlite")
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(),
		RawQuery: "mode=ro&_pragma=busy_timeout(5000)&_pragma=query_only(1)"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	d := &database{db}
	if err := d.bound(ctx); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// bound sets limits on what is read.
func (d *database) bound(ctx context.Context) error {
	c, err := d.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = sqlite.Limit(c, sqlite3.SQLITE_LIMIT_LENGTH, maxRow)
	return err
}

func (d *database) close() { d.db.Close() }

// infos returns what the store knows of paths, in their order. If one is not valid,
// absent names it.
func (d *database) infos(ctx context.Context, storeDir string, paths []layout.StorePath) (infos []layout.PathInfo, absent layout.StorePath, err error) {
	for len(paths) > 0 {
		part := paths[:min(len(paths), atOnce)]
		paths = paths[len(part):]
		found, err := d.some(ctx, storeDir, part)
		if err != nil {
			return nil, "", err
		}
		for _, p := range part {
			f, valid := found[p]
			if !valid {
				return nil, p, nil
			}
			info, err := f.info(storeDir, p)
			if err != nil {
				return nil, "", fmt.Errorf("%s: %w", p, err)
			}
			infos = append(infos, info)
		}
	}
	return infos, "", nil
}

// some returns the facts of those of some paths that are valid, all of one moment.
func (d *database) some(ctx context.Context, storeDir string, paths []layout.StorePath) (map[layout.StorePath]*facts, error) {
	tx, err := d.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	texts := make([]string, len(paths))
	for i, p := range paths {
		texts[i] = p.Abs(storeDir)
	}
	found := map[layout.StorePath]*facts{}
	byID := map[int64]*facts{}
	var ids []int64
	err = each(ctx, tx, `select id, path, hash, coalesce(deriver, ''), coalesce(narSize, 0), coalesce(sigs, ''), coalesce(ca, '')
		from ValidPaths where path in (select value from json_each(?))`, asJSON(texts), func(row *sql.Rows) error {
		var id, narSize int64
		var path, hash, deriver, sigs, ca string
		if err := row.Scan(&id, &path, &hash, &deriver, &narSize, &sigs, &ca); err != nil {
			return err
		}
		p, err := layout.ParseAbsStorePath(storeDir, path)
		if err != nil {
			return err
		}
		hex, isSHA256 := strings.CutPrefix(hash, "sha256:")
		if !isSHA256 || narSize < 0 {
			return fmt.Errorf("%s: NAR of hash %.100q and %d bytes", p, hash, narSize)
		}
		f := &facts{deriver: deriver, narHash: hex, narSize: uint64(narSize), sigs: strings.Fields(sigs), ca: ca}
		found[p], byID[id], ids = f, f, append(ids, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, each(ctx, tx, `select referrer, path from Refs join ValidPaths on id = reference
		where referrer in (select value from json_each(?))`, asJSON(ids), func(row *sql.Rows) error {
		var referrer int64
		var path string
		if err := row.Scan(&referrer, &path); err != nil {
			return err
		}
		f := byID[referrer]
		if f == nil || len(f.references) >= maxList {
			return errors.New("more references than any path has")
		}
		f.references = append(f.references, path)
		return nil
	})
}

// derivations returns the valid paths that are derivations.
func (d *database) derivations(ctx context.Context) (texts []string, err error) {
	tx, err := d.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	err = each(ctx, tx, `select path from ValidPaths where path like '%' || ?`, ".drv", func(row *sql.Rows) error {
		var text string
		if err := row.Scan(&text); err != nil {
			return err
		}
		if texts = append(texts, text); len(texts) > maxPaths {
			return errors.New("more paths than any store has")
		}
		return nil
	})
	return texts, err
}

// each calls row for every row of a query.
func each(ctx context.Context, tx *sql.Tx, query, argument string, row func(*sql.Rows) error) error {
	rows, err := tx.QueryContext(ctx, query, argument)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func asJSON[V string | int64](list []V) string {
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings and numbers always have a form
	}
	return string(text)
}
