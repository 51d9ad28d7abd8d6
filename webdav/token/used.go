package token

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// usedFile is where it is written down when tokens of a file were used last: beside it,
// a name and a time a line.
func usedFile(path string) string { return path + ".used" }

// writeUsed is how often the times are written, and how far they may be off.
const writeUsed = time.Minute

// Used returns when the tokens of the file at path were used last, as far as it was written
// down. A file that cannot be read says nothing.
func Used(path string) map[string]time.Time {
	used := map[string]time.Time{}
	f, err := os.Open(usedFile(path))
	if err != nil {
		return used
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	if err != nil {
		return used
	}
	for line := range bytes.Lines(text) {
		name, moment, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		at, err := time.Parse(time.RFC3339, moment)
		if ok && err == nil && checkTokenName(name) == nil {
			used[name] = at
		}
	}
	return used
}

// use remembers that a token was used.
func (f *File) use(name string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.used == nil {
		f.used = map[string]time.Time{}
	}
	f.used[name] = now
}

// KeepUsed writes down each minute which tokens were used, and once more when ctx ends.
func (f *File) KeepUsed(ctx context.Context) {
	told := false
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-time.After(writeUsed):
		}
		if err := f.writeUsed(); err != nil && !told {
			told = true
			f.log.Warn("it cannot be written down when tokens were used", "err", err)
		}
	}
}

// writeUsed merges what this process knows with what others wrote.
func (f *File) writeUsed() error {
	f.mu.Lock()
	used, tokens := f.used, f.tokens
	f.used = nil
	f.mu.Unlock()
	if len(used) == 0 {
		return nil
	}
	locked, err := lockTokens(f.path, false)
	if err != nil {
		return err
	}
	defer locked.Close()
	all := Used(f.path)
	var text bytes.Buffer
	for _, t := range tokens {
		last := all[t.Name]
		if used[t.Name].After(last) {
			last = used[t.Name]
		}
		if !last.IsZero() {
			fmt.Fprintf(&text, "%s %s\n", t.Name, last.UTC().Format(time.RFC3339))
		}
	}
	return writeBeside(usedFile(f.path), text.Bytes())
}

// writeBeside replaces a file. A crash loses the latest times at most.
func writeBeside(name string, text []byte) error {
	next := fmt.Sprintf("%s.%d", name, os.Getpid())
	err := os.WriteFile(next, text, 0o600)
	if err == nil {
		err = os.Rename(next, name)
	}
	if err != nil {
		os.Remove(next)
	}
	return err
}
