package uses

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	// maxLine bounds a line of a log that is understood.
	maxLine = 256 << 10
	// maxReads bounds what one import remembers.
	maxReads = 5_000_000
	// Remembered is for how many days reads count. A line of an older one is passed over.
	Remembered = 400
	// ahead is by how much a line may be from the future: clocks differ, and some servers
	// write their own time without saying so.
	ahead = 24 * time.Hour
)

// An access is a line of a log that tells of a request.
type access struct {
	method string
	uri    string
	status int
	at     time.Time
}

// A Log gathers what the logs of web servers tell of a tree.
type Log struct {
	// Lines counts lines; Reads those that tell of a read of the tree, Strange those
	// that are not understood, and Undated reads that are passed over: of the future or of
	// long ago. Another goroutine may read them.
	Lines, Reads, Strange, Undated atomic.Int64

	now func() time.Time // nil for time.Now

	days  map[time.Time]map[string]bool
	count int
}

// ErrManyReads says that logs tell of more reads than are remembered at once.
var ErrManyReads = fmt.Errorf("more than %d different reads: import the logs one after the other", maxReads)

// Add reads a log, which may be compressed with gzip, in the combined or common format
// of nginx, Apache and others, as JSON on each line as Caddy writes it, or in the formats
// of the access logs of S3 and CloudFront.
func (l *Log) Add(from io.Reader) error {
	r := bufio.NewReaderSize(from, 64<<10)
	if magic, _ := r.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		r = bufio.NewReaderSize(z, 64<<10)
	}
	var fields []string // of CloudFront
	for {
		line, err := readLine(r)
		if len(line) > 0 {
			l.Lines.Add(1)
			if names, ok := strings.CutPrefix(line, "#Fields:"); ok {
				fields = strings.Fields(names)
			} else if line[0] != '#' {
				if err := l.line(line, fields); err != nil {
					return err
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readLine returns a line without its end. One that is too long is returned as "?",
// which no format is.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line) <= maxLine {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if len(line) > maxLine {
			return "?", err
		}
		return strings.TrimRight(string(line), "\r\n"), err
	}
}

func (l *Log) line(line string, fields []string) error {
	a, ok := parseLine(line, fields)
	if !ok {
		l.Strange.Add(1)
		return nil
	}
	entry := a.entry()
	if entry == "" {
		return nil
	}
	now := time.Now()
	if l.now != nil {
		now = l.now()
	}
	if a.at.After(now.Add(ahead)) || a.at.Before(now.AddDate(0, 0, -Remembered)) {
		l.Undated.Add(1) // it would count for ever, or not at all
		return nil
	}
	l.Reads.Add(1)
	day := a.at.UTC().Truncate(24 * time.Hour)
	if l.days == nil {
		l.days = map[time.Time]map[string]bool{}
	}
	if l.days[day] == nil {
		l.days[day] = map[string]bool{}
	}
	if !l.days[day][entry] {
		l.days[day][strings.Clone(entry)] = true // without the rest of its line
		if l.count++; l.count > maxReads {
			return ErrManyReads
		}
	}
	return nil
}

// entry returns what a request read of a tree, "" if nothing. The tree may be at any
// path of a server; what uploading clients read at its upload
// URL does not count.
func (a *access) entry() string {
	switch a.status {
	case 200, 206, 302, 304, 307:
	default:
		return ""
	}
	name, _, _ := strings.Cut(a.uri, "?")
	if a.method != "GET" || strings.HasPrefix(name, "/upload/") {
		return ""
	}
	if i := strings.Index(name, "://"); i >= 0 { // a request to a proxy
		if u, err := url.Parse(name); err == nil {
			name = u.EscapedPath()
		}
	}
	name, err := url.PathUnescape(name)
	if err != nil {
		return ""
	}
	parts := strings.Split(name, "/")
	for n := 1; n <= 2 && n <= len(parts); n++ {
		key, err := layout.ParseKey(strings.Join(parts[len(parts)-n:], "/"))
		if err != nil {
			return ""
		}
		if entry := entryOf(key); entry != "" {
			return entry
		}
	}
	return ""
}

// parseLine reads a line in any of the formats.
func parseLine(line string, fields []string) (access, bool) {
	switch {
	case fields != nil && strings.Contains(line, "\t"):
		return parseFields(strings.Split(line, "\t"), fields)
	case strings.HasPrefix(line, "{"):
		return parseJSON(line)
	}
	return parseText(line)
}

// parseFields reads a line of a CloudFront standard log, whose columns its head names:
// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logs-reference.html
func parseFields(values, fields []string) (a access, ok bool) {
	get := func(name string) string {
		if i := slices.Index(fields, name); i >= 0 && i < len(values) {
			return values[i]
		}
		return ""
	}
	return cloudFront(get)
}

// cloudFront reads a line by the names that CloudFront gives to its parts.
func cloudFront(get func(name string) string) (a access, ok bool) {
	a.method, a.uri = get("cs-method"), get("cs-uri-stem")
	var err, err2 error
	a.status, err = strconv.Atoi(get("sc-status"))
	a.at, err2 = time.Parse("2006-01-02 15:04:05", get("date")+" "+get("time"))
	return a, err == nil && err2 == nil && a.method != ""
}

// request is the first line of a request, in a part of its own.
var request = regexp.MustCompile(`^([A-Z]+) ([^ ]+)`)

// parseText reads the combined and the common format, and the access logs of S3, which
// begin otherwise and have the request and the time in the same form:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html
//
// The time is in brackets, the last ones before the request: the name of a user, which the
// client chooses, may have some too.
func parseText(line string) (a access, ok bool) {
	for {
		before, rest, quoted := strings.Cut(line, `"`)
		if !quoted {
			return a, false
		}
		at, timed := bracketed(before)
		if timed && a.request(rest) {
			a.at = at
			return a, true
		}
		line = rest
	}
}

// bracketed reads the time in the last brackets of a text.
func bracketed(text string) (time.Time, bool) {
	const form = "02/Jan/2006:15:04:05 -0700"
	text = text[strings.LastIndexByte(text, '[')+1:]
	if len(text) <= len(form) || text[len(form)] != ']' {
		return time.Time{}, false
	}
	at, err := time.Parse(form, text[:len(form)])
	return at, err == nil
}

// request reads what follows the quotation mark before a request: GET /x HTTP/1.1" 200. A
// quotation mark in the request is escaped. Escapes do not matter to a key.
func (a *access) request(text string) bool {
	var ok bool
	if a.method, text, ok = strings.Cut(text, " "); !ok || a.method == "" || strings.Trim(a.method, capitals) != "" {
		return false
	}
	end := 0
	for end < len(text) && text[end] != ' ' && text[end] != '"' {
		if text[end] == '\\' {
			end++ // and what is escaped
		}
		end++
	}
	if end == 0 || end >= len(text) {
		return false
	}
	a.uri, text = text[:end], text[end:]
	if rest, ok := strings.CutPrefix(text, " HTTP/"); ok {
		text = strings.TrimLeft(rest, "0123456789.")
	}
	if text, ok = strings.CutPrefix(text, `" `); !ok {
		return false
	}
	status, _, _ := strings.Cut(text, " ")
	var err error
	a.status, err = strconv.Atoi(status)
	return err == nil && len(status) == 3
}

const capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// parseJSON reads a line of Caddy, or one whose fields have the names of nginx's
// variables or of Apache's, as people configure it.
func parseJSON(line string) (a access, ok bool) {
	var m map[string]any
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return a, false
	}
	if inner, ok := m["request"].(map[string]any); ok { // Caddy
		for _, name := range []string{"method", "uri"} {
			m[name] = inner[name]
		}
	}
	text := func(names ...string) string {
		for _, name := range names {
			switch v := m[name].(type) {
			case string:
				if v != "" {
					return v
				}
			case json.Number:
				return v.String()
			}
		}
		return ""
	}
	if text("cs-method") != "" {
		return cloudFront(func(name string) string { return text(name) })
	}
	a.method, a.uri = text("method", "request_method"), text("request_uri", "uri", "path", "url")
	if r := request.FindStringSubmatch(text("request", "request_line")); r != nil {
		a.method, a.uri = r[1], r[2]
	}
	var err error
	if a.status, err = strconv.Atoi(text("status", "status_code", "code")); err != nil || a.method == "" || a.uri == "" {
		return a, false
	}
	a.at, ok = parseTime(text("ts", "time_iso8601", "time_local", "time", "timestamp", "@timestamp", "msec", "t"))
	return a, ok
}

// parseTime reads the forms in which servers write a moment.
func parseTime(text string) (time.Time, bool) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if seconds > 1e17 { // nanoseconds
			seconds /= 1e9
		} else if seconds > 1e14 { // microseconds
			seconds /= 1e6
		} else if seconds > 1e11 { // milliseconds
			seconds /= 1e3
		}
		if !(seconds > 0 && seconds < 1e11) {
			return time.Time{}, false
		}
		return time.Unix(int64(seconds), 0), true
	}
	text = strings.Trim(text, "[]")
	for _, form := range []string{time.RFC3339Nano, "02/Jan/2006:15:04:05 -0700", "2006/01/02 15:04:05", "2006-01-02T15:04:05-0700", "2006-01-02T15:04:05.000-0700"} {
		if t, err := time.Parse(form, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// Days returns the first and the last day of which a log tells, and how many there are.
func (l *Log) Days() (first, last time.Time, n int) {
	for day := range l.days {
		if n == 0 || day.Before(first) {
			first = day
		}
		if n == 0 || day.After(last) {
			last = day
		}
		n++
	}
	return first, last, n
}

// Write writes down what the logs tell. To import a log once more changes nothing.
func (l *Log) Write(ctx context.Context, t layout.Tree) error {
	for day, set := range l.days {
		entries := sorted(set)
		sum := sha256.Sum256([]byte(strings.Join(entries, "\n")))
		if err := put(ctx, t, day, "import", "log-"+hex.EncodeToString(sum[:12]), entries); err != nil {
			return err
		}
	}
	return nil
}
