//go:build real

package gc_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout/gc"
)

// A history is the moments of the generations of one name, the newest first.
func randomHistory(r *rand.Rand, now time.Time) []time.Time {
	var moments []time.Time
	at := now.Add(-time.Duration(r.IntN(400*24)) * time.Hour)
	step := []time.Duration{time.Hour, 12 * time.Hour, 3 * 24 * time.Hour, 40 * 24 * time.Hour}[r.IntN(4)]
	for range 1 + r.IntN(40) {
		moments = append(moments, at.Truncate(time.Second))
		at = at.Add(-time.Second - time.Duration(r.Int64N(int64(2*step))))
	}
	return moments
}

// The words of a policy mean what the options of the real restic mean.
func TestKeepIsThatOfRestic(t *testing.T) {
	repo := newRestic(t)
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Now().UTC()
	var histories [][]time.Time
	for n := range 40 {
		h := randomHistory(r, now)
		histories = append(histories, h)
		for _, at := range h {
			repo.snapshot(t, fmt.Sprint("host", n), at)
		}
	}
	for range 10 {
		k := randomKeep(r)
		want := repo.forget(t, k)
		for n, h := range histories {
			var got []time.Time
			for i, kept := range k.Kept(h, now) {
				if kept {
					got = append(got, h[i])
				}
			}
			if diff := cmp.Diff(want[fmt.Sprint("host", n)], got); diff != "" {
				t.Errorf("keep roots * %s, of %v (-restic +ours):\n%s", k, h, diff)
			}
		}
	}
}

// A resticRepo is a repository whose snapshots are written here: restic takes a
// second for each.
type resticRepo struct {
	dir     string
	encrypt []byte
	mac, r  []byte
}

func newRestic(t *testing.T) *resticRepo {
	repo := &resticRepo{dir: filepath.Join(t.TempDir(), "repo")}
	repo.run(t, "init")
	var key struct {
		MAC     struct{ K, R string }
		Encrypt string
	}
	if err := json.Unmarshal(repo.run(t, "cat", "masterkey"), &key); err != nil {
		t.Fatal(err)
	}
	for text, to := range map[string]*[]byte{key.Encrypt: &repo.encrypt, key.MAC.K: &repo.mac, key.MAC.R: &repo.r} {
		var err error
		if *to, err = base64.StdEncoding.DecodeString(text); err != nil {
			t.Fatal(err)
		}
	}
	return repo
}

func (repo *resticRepo) run(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("restic", append([]string{"--repo", repo.dir, "--no-cache", "--quiet"}, args...)...)
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD=x", "TZ=UTC")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("restic %v: %v\n%s", args, err, stderr.Bytes())
	}
	return out
}

// snapshot writes a file of the folder snapshots, by the format that restic's own
// doc/design.rst gives: AES-256 in counter mode, then Poly1305-AES.
func (repo *resticRepo) snapshot(t *testing.T, host string, at time.Time) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"time": at, "tree": strings.Repeat("0", 64), "paths": []string{"/"}, "hostname": host})
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, 16)
	binary.BigEndian.PutUint64(nonce, rand.Uint64())
	block, err := aes.NewCipher(repo.encrypt)
	if err != nil {
		t.Fatal(err)
	}
	cipher.NewCTR(block, nonce).XORKeyStream(text, text)
	file := append(slices.Clone(nonce), text...)
	file = append(file, poly1305(t, repo.mac, repo.r, nonce, text)...)
	sum := sha256.Sum256(file)
	if err := os.WriteFile(filepath.Join(repo.dir, "snapshots", hex.EncodeToString(sum[:])), file, 0o600); err != nil {
		t.Fatal(err)
	}
}

func poly1305(t *testing.T, k, r, nonce, text []byte) []byte {
	number := func(b []byte) *big.Int {
		b = slices.Clone(b)
		slices.Reverse(b)
		return new(big.Int).SetBytes(b)
	}
	prime := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 130), big.NewInt(5))
	clamp := slices.Clone(r)
	for i := range clamp {
		if i%4 == 3 {
			clamp[i] &= 15
		}
		if i%4 == 0 && i > 0 {
			clamp[i] &= 252
		}
	}
	sum, factor := new(big.Int), number(clamp)
	for chunk := range slices.Chunk(text, 16) {
		sum.Add(sum, number(append(slices.Clone(chunk), 1)))
		sum.Mul(sum, factor).Mod(sum, prime)
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		t.Fatal(err)
	}
	pad := make([]byte, 16)
	block.Encrypt(pad, nonce)
	sum.Add(sum, number(pad))
	out := make([]byte, 24) // the sum is below 2^132
	sum.FillBytes(out)
	slices.Reverse(out)
	return out[:16]
}

// forget returns what restic keeps of each host, the newest first.
func (repo *resticRepo) forget(t *testing.T, k gc.Keep) map[string][]time.Time {
	t.Helper()
	args := []string{"forget", "--dry-run", "--json", "--group-by", "host"}
	for option, n := range map[string]int{"last": k.Last, "daily": k.Daily, "weekly": k.Weekly, "monthly": k.Monthly, "yearly": k.Yearly} {
		if n > 0 {
			args = append(args, "--keep-"+option, strconv.Itoa(n))
		}
	}
	if !k.Within.IsZero() {
		args = append(args, "--keep-within", k.Within.String())
	}
	var groups []struct {
		Host string
		Keep []struct{ Time time.Time }
	}
	if err := json.Unmarshal(repo.run(t, args...), &groups); err != nil {
		t.Fatal(err)
	}
	kept := map[string][]time.Time{}
	for _, g := range groups {
		for _, s := range g.Keep {
			kept[g.Host] = append(kept[g.Host], s.Time.UTC())
		}
		slices.SortFunc(kept[g.Host], func(a, b time.Time) int { return b.Compare(a) })
	}
	return kept
}
