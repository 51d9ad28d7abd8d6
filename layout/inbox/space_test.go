package inbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/share"
)

func TestFreeSpace(t *testing.T) {
	s := newSample(t)
	nar := s.nar(t, "app")
	size := int64(len(s.objects[nar]))
	free := uint64(size + 1000)
	tr := newTrial(t, func(c *Config) {
		c.FreeSpace = func() (uint64, error) { return free, nil }
		c.MinFree = 1000
	})
	check := func(size int64, want Reason) {
		t.Helper()
		if err := tr.Check(t.Context(), nar, Options{Size: size}); reasonOf(err) != want {
			t.Errorf("check %d bytes: %v, want %q", size, err, want)
		}
	}
	check(size, "")
	check(size+1, NoSpace)
	check(-1, "")
	// Uploads on their way count.
	reader, writer := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := tr.Put(t.Context(), nar, reader, Options{Size: size})
		done <- err
	}()
	half := size / 2
	if _, err := io.WriteString(writer, s.objects[nar][:half]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(writer, s.objects[nar][half:half+1]); err != nil { // the half has been counted
		t.Fatal(err)
	}
	check(half+2, NoSpace)
	check(half-1, "")
	if _, err := io.WriteString(writer, s.objects[nar][half+1:]); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(tr.space.coming) != 0 {
		t.Errorf("%v bytes are coming", tr.space.coming)
	}
	free = 999
	check(0, NoSpace)
	check(-1, NoSpace)
	tr.refused(s.nar(t, "lib"), s.objects[s.nar(t, "lib")], true, NoSpace)
	key := layout.NarInfoKey(s.path("builder.sh"))
	tr.must(key, s.objects[key], false, Held) // records complete what is there
}

// The floor holds while a body of unknown size streams in.
func TestFreeSpaceWhileStreaming(t *testing.T) {
	asked := 0
	tr := newTrial(t, func(c *Config) {
		c.FreeSpace = func() (uint64, error) {
			if asked++; asked > 2 {
				return 10, nil
			}
			return 1 << 40, nil
		}
		c.MinFree = 1000
	})
	key := layout.Key("log/" + strings.Repeat("0", 32) + "-x.drv")
	endless := io.LimitReader(zeros{}, 1<<30)
	if _, err := tr.Put(t.Context(), key, endless, Options{Size: -1}); reasonOf(err) != NoSpace {
		t.Errorf("put: %v", err)
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}

// A client that announces much and does not send it keeps no other client out.
func TestAnnouncedSpaceIsNotTaken(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, func(c *Config) {
		c.FreeSpace, c.MinFree = func() (uint64, error) { return 1 << 30, nil }, 1<<20
	})
	reader, writer := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := tr.Put(share.As(t.Context(), "attacker"), s.nar(t, "app"), reader, Options{Size: 1<<30 - 1<<20})
		done <- err
	}()
	if _, err := io.WriteString(writer, s.objects[s.nar(t, "app")][:10]); err != nil {
		t.Fatal(err)
	}
	if err := tr.Check(share.As(t.Context(), "attacker"), s.nar(t, "lib"), Options{Size: 100}); reasonOf(err) != NoSpace {
		t.Errorf("the client itself has room for more: %v", err)
	}
	nar := s.nar(t, "lib")
	if err := tr.Check(share.As(t.Context(), "honest"), nar, Options{Size: int64(len(s.objects[nar]))}); err != nil {
		t.Errorf("check: %v", err)
	}
	tr.mustAs("honest", nar, s.objects[nar], Created)
	writer.CloseWithError(io.ErrUnexpectedEOF)
	<-done
}

// Records use a part of the floor, and no more: a stream of them fills no disk.
func TestRecordsKeepTheFloor(t *testing.T) {
	s := newSample(t)
	const floor = 1 << 30
	free := uint64(floor - 1)
	tr := newTrial(t, func(c *Config) { c.FreeSpace, c.MinFree = func() (uint64, error) { return free, nil }, floor })
	var small []layout.Key
	for key := range s.objects {
		switch key.Kind() {
		case layout.KindNarInfo, layout.KindRealisation, layout.KindDebugInfo:
			small = append(small, key)
		}
	}
	if len(small) < 5 {
		t.Fatalf("the sample has %q", small)
	}
	free = floor - floor/recordShare - 1
	for _, key := range small {
		tr.refused(key, s.objects[key], false, NoSpace)
	}
	free = floor - 1
	for _, key := range small {
		if _, err := tr.send(key, s.objects[key], false); err != nil {
			t.Errorf("put %s: %v", key, err)
		}
	}
}

// Any number of paths may have one NAR, each with all of its debug links: a client has a
// budget for them.
func TestLinksAreBounded(t *testing.T) {
	tr := newTrial(t, nil)
	const links = 100
	file, record := manyFiles(t, "lib/debug/.build-id/00/%038x.debug", links)
	nar, err := record.NARKey()
	if err != nil {
		t.Fatal(err)
	}
	tr.must(nar, file, true, Created)
	tr.lookups = share.NewBudget(2*links*linkLookups+50, time.Hour) // of one, with its listing
	send := func(c share.Client, i int) error {
		n := *record
		n.Path, n.CA = inventedPath(i), ""
		_, err := tr.Put(share.As(t.Context(), c), layout.NarInfoKey(n.Path), strings.NewReader(string(n.Marshal(layout.DefaultStoreDir))), Options{Strict: true, Size: -1})
		return err
	}
	for i := range 2 {
		if err := send("a", i); err != nil {
			t.Fatal(err)
		}
	}
	tr.mem.Counts()
	if err := send("a", 2); !errors.Is(err, share.ErrBusy) || tr.mem.Counts().Put != 0 {
		t.Errorf("the third: %v", err)
	}
	if err := send("b", 3); err != nil {
		t.Errorf("another client: %v", err)
	}
	// A path that is there has none put again.
	tr.mem.Counts()
	if err := send("b", 3); err != nil || tr.mem.Counts().Put != 0 {
		t.Errorf("once more: %v", err)
	}
}

// Each path of a NAR with very many files has a long listing of its own.
func TestListingsCost(t *testing.T) {
	tr := newTrial(t, nil)
	file, record := manyFiles(t, strings.Repeat("x", 200)+"%06d", 20_000)
	nar, err := record.NARKey()
	if err != nil {
		t.Fatal(err)
	}
	tr.must(nar, file, true, Created)
	tr.lookups = share.NewBudget(1000, time.Hour)
	n := *record
	send := func() error {
		_, err := tr.Put(t.Context(), layout.NarInfoKey(n.Path), strings.NewReader(string(n.Marshal(layout.DefaultStoreDir))), Options{Strict: true, Size: -1})
		return err
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	n.Path, n.CA = inventedPath(1), ""
	if err := send(); !errors.Is(err, share.ErrBusy) {
		t.Errorf("another listing of megabytes: %v", err)
	}
}

// The listing and the debug links that a small upload becomes count for the floor.
func TestWhatIsMadeOfAnUploadKeepsTheFloor(t *testing.T) {
	const floor = 1 << 30
	free := uint64(1 << 40)
	tr := newTrial(t, func(c *Config) { c.FreeSpace, c.MinFree = func() (uint64, error) { return free, nil }, floor })
	file, record := manyFiles(t, "lib/debug/.build-id/00/%038x.debug", 20_000)
	nar, err := record.NARKey()
	if err != nil {
		t.Fatal(err)
	}
	tr.must(nar, file, true, Created)
	free = floor + 32<<20 // each link takes a block
	key, text := layout.NarInfoKey(record.Path), string(record.Marshal(layout.DefaultStoreDir))
	tr.refused(key, text, true, NoSpace)
	if len(file) > 1<<20 {
		t.Errorf("the upload has %d bytes", len(file))
	}
	file, record = manyFiles(t, strings.Repeat("x", 200)+"%06d", 100_000)
	if nar, err = record.NARKey(); err != nil {
		t.Fatal(err)
	}
	asked := 0
	tr.space.free = func() (uint64, error) {
		if asked++; asked > 1 {
			return floor, nil // the listing took it
		}
		return floor + 1<<20, nil
	}
	tr.space.floor = floor + 1
	tr.refused(nar, file, true, NoSpace)
	// And its file counts for as long as it is kept.
	tr.space.free = nil
	tr.must(nar, file, true, Created)
	info, err := tr.tree.Stat(t.Context(), nar)
	if err != nil {
		t.Fatal(err)
	}
	r := tr.receiptOf(info)
	defer r.release()
	if cost := tr.costOf(r); cost < r.listing.Size()/spooledShare || r.listing.Size() < 20<<20 {
		t.Errorf("a listing of %d bytes costs %d", r.listing.Size(), cost)
	}
}

// Few of the files are open that clients sent ahead of narinfos.
func TestFewFilesAreKept(t *testing.T) {
	tr := newTrial(t, func(c *Config) { c.MaxFiles = 8 })
	for i := range 10 {
		tr.must(layout.ListingKey(inventedPath(i)), "{"+strings.Repeat(" ", keptInMemory), false, Held)
	}
	if n := len(tr.notes.items); n == 0 || n > 4 {
		t.Errorf("%d are kept of 10", n)
	}
}

// A NAR with more debug files than any real one is refused.
func TestTooManyDebugFiles(t *testing.T) {
	tr := newTrial(t, nil)
	file, record := manyFiles(t, "lib/debug/.build-id/00/%038x.debug", 20_001)
	nar, err := record.NARKey()
	if err != nil {
		t.Fatal(err)
	}
	tr.refused(nar, file, true, BadNAR)
}

// manyFiles returns a NAR with n empty files whose names follow a pattern,
// compressed, and its record.
func manyFiles(t *testing.T, pattern string, n int) (string, *layout.NarInfo) {
	t.Helper()
	var text bytes.Buffer
	str := func(words ...string) {
		for _, s := range words {
			text.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(s))))
			text.WriteString(s + strings.Repeat("\x00", -len(s)&7))
		}
	}
	dirs := strings.Split(pattern, "/")
	name := dirs[len(dirs)-1]
	str("nix-archive-1", "(", "type", "directory")
	for _, dir := range dirs[:len(dirs)-1] {
		str("entry", "(", "name", dir, "node", "(", "type", "directory")
	}
	for i := range n {
		str("entry", "(", "name", fmt.Sprintf(name, i), "node", "(", "type", "regular", "contents", "", ")", ")")
	}
	for range dirs[:len(dirs)-1] {
		str(")", ")")
	}
	str(")")
	pool := compress.NewPool(1)
	defer pool.Close()
	var file bytes.Buffer
	z, err := pool.NewWriter(t.Context(), &file, compress.Zstd, 0)
	if err == nil {
		_, err = z.Write(text.Bytes())
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &layout.NarInfo{Compression: compress.Zstd, FileHash: sha256.Sum256(file.Bytes()), FileSize: int64(file.Len())}
	r.Path, r.NarHash, r.NarSize = inventedPath(n), sha256.Sum256(text.Bytes()), int64(text.Len())
	r.URL = string(layout.NARKey(r.FileHash, r.Compression.Extension()))
	return file.String(), r
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
