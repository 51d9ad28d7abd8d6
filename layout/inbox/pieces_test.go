package inbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/share"
)

// largeNAR returns a bare NAR of three pieces, and its key. The tests share it: they do not
// change it.
var largeNAR = sync.OnceValues(func() ([]byte, layout.Key) {
	var b bytes.Buffer
	put := func(s string) {
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(s))))
		b.WriteString(s)
		b.Write(make([]byte, (8-len(s)%8)%8))
	}
	put("nix-archive-1")
	put("(")
	put("type")
	put("regular")
	put("contents")
	put(strings.Repeat("a large file\n", (2*PieceSize+100)/13))
	put(")")
	return b.Bytes(), layout.NARKey(sha256.Sum256(b.Bytes()), compress.None.Extension())
})

func (tr *trial) piece(c share.Client, key layout.Key, nar []byte, offset int64) error {
	total := int64(len(nar))
	size := pieceLength(offset, total)
	return tr.PutPiece(share.As(context.Background(), c), key, offset, size, total, bytes.NewReader(nar[offset:offset+size]))
}

func (tr *trial) join(c share.Client, key layout.Key, total int64) (Joined, error) {
	return tr.Join(share.As(context.Background(), c), key, total, time.Hour)
}

// waiting returns how many pieces are in the tree.
func (tr *trial) waiting() (n int) {
	tr.tb.Helper()
	for _, err := range tr.tree.List(context.Background(), layout.PiecesPrefix) {
		if err != nil {
			tr.tb.Fatal(err)
		}
		n++
	}
	return n
}

// A NAR that is sent in pieces appears when all are there, whatever their order, and
// whichever inbox of the tree got them.
func TestPieces(t *testing.T) {
	nar, key := largeNAR()
	total := int64(len(nar))
	tr := newTrial(t, nil)
	other := trialOn(t, tr.tree, nil)
	wantMissing := func(want ...int64) {
		t.Helper()
		got, err := tr.join("a", key, total)
		if diff := cmp.Diff(Joined{Missing: want}, got); diff != "" || err != nil {
			t.Errorf("what is missing (-want +got):\n%s%v", diff, err)
		}
	}
	wantMissing(0, PieceSize, 2*PieceSize)
	if err := tr.piece("a", key, nar, 2*PieceSize); err != nil {
		t.Fatal(err)
	}
	wantMissing(0, PieceSize)
	if err := other.piece("a", key, nar, 0); err != nil {
		t.Fatal(err)
	}
	// The piece of another client does not belong to it.
	if err := tr.piece("b", key, nar, PieceSize); err != nil {
		t.Fatal(err)
	}
	tr.restart()
	wantMissing(PieceSize)
	broken := errors.New("the connection broke")
	err := tr.PutPiece(share.As(t.Context(), "a"), key, PieceSize, PieceSize, total, io.MultiReader(bytes.NewReader(nar[PieceSize:][:100]), &brokenReader{broken}))
	if !errors.Is(err, broken) {
		t.Errorf("a piece that broke off: %v", err)
	}
	wantMissing(PieceSize)
	if err := tr.piece("a", key, nar, PieceSize); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.tree.Stat(t.Context(), key); err == nil {
		t.Error("the NAR is there before it was put together")
	}
	got, err := tr.join("a", key, total)
	if err != nil || len(got.Missing) > 0 || got.Checking || got.Outcome != Created {
		t.Errorf("joined: %+v, %v", got, err)
	}
	if text, err := layout.ReadAll(t.Context(), tr.tree, key); err != nil || !bytes.Equal(text, nar) {
		t.Errorf("the NAR is another one: %d bytes, %v", len(text), err)
	}
	if n := tr.waiting(); n != 1 {
		t.Errorf("%d pieces are left, want that of the other client", n)
	}
	if got, err := tr.join("b", key, total); err != nil || got.Outcome != Unchanged {
		t.Errorf("joined once more: %+v, %v", got, err)
	}
	if n := tr.waiting(); n != 0 {
		t.Errorf("%d pieces are left of a NAR that is there", n)
	}
}

// A few bytes ask for what is missing of a NAR with very many pieces: the answer is short,
// and our client is told of all before it gives up.
func TestManyPiecesAreMissing(t *testing.T) {
	_, key := largeNAR()
	tr := newTrial(t, nil)
	got, err := tr.join("a", key, maxPieces*PieceSize)
	if err != nil || len(got.Missing) != maxMissing || got.Missing[maxMissing-1] != (maxMissing-1)*PieceSize {
		t.Errorf("%d pieces are missing, %v", len(got.Missing), err)
	}
	if maxMissing > 2000 || maxMissing*9 < maxPieces {
		t.Errorf("%d of %d pieces are told at once", maxMissing, maxPieces)
	}
}

type brokenReader struct{ err error }

func (b *brokenReader) Read([]byte) (int, error) { return 0, b.err }

// Pieces that make up another NAR than their name says are refused, and go.
func TestBadPieces(t *testing.T) {
	nar, key := largeNAR()
	total := int64(len(nar))
	tr := newTrial(t, nil)
	bad := bytes.Clone(nar)
	bad[PieceSize+7] ^= 1
	for offset := int64(0); offset < total; offset += PieceSize {
		if err := tr.piece("a", key, bad, offset); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.join("a", key, total); reasonOf(err) != BadFile {
		t.Errorf("joined: %v, want it refused: %s", err, BadFile)
	}
	if _, err := tr.tree.Stat(t.Context(), key); err == nil {
		t.Error("the NAR is there")
	}
	if n := tr.waiting(); n != 0 {
		t.Errorf("%d pieces are left", n)
	}
	for _, tt := range []struct {
		name                string
		key                 layout.Key
		offset, size, total int64
		want                Reason
	}{
		{"in the middle of one", key, 1, PieceSize, total, BadPiece},
		{"too short", key, 0, PieceSize - 1, total, BadPiece},
		{"too long", key, 2 * PieceSize, PieceSize, total, BadPiece},
		{"behind the end", key, 3 * PieceSize, PieceSize, total, BadPiece},
		{"before the beginning", key, -PieceSize, PieceSize, total, BadPiece},
		{"of a log", "log/x.drv", 0, PieceSize, total, ForeignKey},
		{"of a NAR without end", key, 0, PieceSize, 1 << 62, TooLarge},
		{"of nothing", key, 0, 0, 0, TooLarge},
	} {
		err := tr.PutPiece(t.Context(), tt.key, tt.offset, tt.size, tt.total, strings.NewReader(""))
		if reasonOf(err) != tt.want {
			t.Errorf("%s: %v, want it refused: %s", tt.name, err, tt.want)
		}
	}
}

// The pieces of a client leave room for those of others, and go after a day.
func TestPiecesOfClients(t *testing.T) {
	nar, key := largeNAR()
	tr := newTrial(t, func(c *Config) { c.MaxPieceBytes = 4 * PieceSize })
	now := time.Now()
	tr.now = func() time.Time { return now }
	for i, want := range []Reason{"", "", TooManyHeld} {
		if err := tr.piece("a", key, nar, int64(i)*PieceSize); reasonOf(err) != want {
			t.Errorf("piece %d: %v, want %q", i, err, want)
		}
	}
	if err := tr.piece("a", key, nar, 0); err != nil {
		t.Errorf("a piece that takes the place of an equal one: %v", err)
	}
	if err := tr.piece("b", key, nar, 0); err != nil {
		t.Errorf("another client's: %v", err)
	}
	tr.restart()
	tr.now = func() time.Time { return now }
	if err := tr.piece("a", key, nar, 2*PieceSize); reasonOf(err) != TooManyHeld {
		t.Errorf("after a restart: %v, want it refused", err)
	}
	now = now.Add(heldFor + piecesSeen + time.Minute)
	if err := tr.piece("a", key, nar, 2*PieceSize); err != nil {
		t.Errorf("a day later: %v", err)
	}
	if n := tr.waiting(); n != 1 {
		t.Errorf("%d pieces wait, want the new one", n)
	}
}

// Small pieces are no more than large ones: their names are listed with those of others.
func TestSmallPiecesAreFew(t *testing.T) {
	tr := newTrial(t, func(c *Config) { c.MaxPieceBytes = 8 * PieceSize })
	last := func(client share.Client, i int) error {
		key := layout.NARKey(sha256.Sum256([]byte{byte(i)}), compress.None.Extension())
		return tr.PutPiece(share.As(t.Context(), client), key, PieceSize, 1, PieceSize+1, strings.NewReader("x"))
	}
	taken := 0
	for ; taken < 100 && last("a", taken) == nil; taken++ {
	}
	if err := last("a", taken); taken != 4 || reasonOf(err) != TooManyHeld {
		t.Errorf("one client has %d pieces of a byte, then %v", taken, err)
	}
	if err := last("b", 0); err != nil {
		t.Errorf("another client's: %v", err)
	}
}

// The outcomes that a client does not ask for are so many at most: those of another client
// stay.
func TestOutcomesOfPiecesAreFew(t *testing.T) {
	tr := newTrial(t, nil)
	leave := func(c share.Client, n int) string {
		t.Helper()
		body := []byte(fmt.Sprintf("no NAR %d", n))
		key := layout.NARKey(sha256.Sum256(body), compress.None.Extension())
		if err := tr.piece(c, key, body, 0); err != nil {
			t.Fatal(err)
		}
		ctx := share.As(t.Context(), c)
		prefix := piecesPrefix(ctx, key, int64(len(body)))
		j, err := tr.beginJoin(ctx, key, prefix, int64(len(body)))
		if err != nil {
			t.Fatal(err)
		}
		<-j.done
		return prefix
	}
	known := func(c share.Client, prefix string) bool { return tr.joining(share.As(t.Context(), c), prefix) != nil }
	other, first := leave("b", 0), leave("a", 0)
	last := first
	for n := range maxJoined {
		last = leave("a", n)
	}
	if known("a", first) || !known("a", last) || !known("b", other) || len(tr.pieces.joins) != 0 {
		t.Errorf("the first outcome is known: %v, the last: %v, that of another: %v; %d are under way",
			known("a", first), known("a", last), known("b", other), len(tr.pieces.joins))
	}
}
