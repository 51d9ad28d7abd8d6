package layout

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Nix and nixstatic call the file of a NAR by its SHA-256 in nix32. Other caches
// use the hash of the NAR in it, hexadecimal digits, the hash of the store path,
// or an identifier that means nothing. Nix takes any name that a record leads to,
// and so does a reader here; a writer here takes its own form alone.

// NARSuffixes are all that the key of a NAR can end in, sorted: what any Nix has
// ever appended.
var NARSuffixes = []string{".nar", ".nar.br", ".nar.bz2", ".nar.gz", ".nar.lz4", ".nar.lzip", ".nar.xz", ".nar.zst"}

// MaxNARName bounds what follows "nar/" in the key of a NAR, in bytes.
const MaxNARName = 255

// narStem returns the name of a NAR without its suffix and what follows a
// question mark, which some servers have in their URLs and a tree may
// have in its file names. It is "" for every other name.
func narStem(name string) string {
	if len(name) > MaxNARName {
		return ""
	}
	plain, query, _ := strings.Cut(name, "?")
	i := strings.LastIndex(plain, ".nar")
	if i < 0 || !isNARSuffix(plain[i:]) || !isNARName(query) {
		return ""
	}
	// A name that begins with a dot is that of a file which is not complete yet.
	if stem := plain[:i]; stem != "" && stem[0] != '.' && isNARName(stem) {
		return stem
	}
	return ""
}

func isNARSuffix(s string) bool {
	_, known := slices.BinarySearch(NARSuffixes, s)
	return known
}

// isNARName reports whether a name needs no escapes in a URL.
func isNARName(s string) bool {
	for _, c := range []byte(s) {
		if !isNameByte(c) && strings.IndexByte("~:,@!$&'()*;", c) < 0 {
			return false
		}
	}
	return true
}

// ErrOtherName says that a NAR is not called by the hash of its file.
var ErrOtherName = errors.New("not named by the hash of its file")

// FileHash returns the hash that a NAR's key promises of its file if it is named
// as Nix and nixstatic name it, and ErrOtherName for every other key.
func (k Key) FileHash() (Hash, error) {
	name := strings.TrimPrefix(string(k), NARFolder)
	if k.Kind() != KindNAR || len(name) < narHashLen || checkNix32(name[:narHashLen]) != nil || !isNARSuffix(name[narHashLen:]) {
		return Hash{}, fmt.Errorf("key %s: %w", k, ErrOtherName)
	}
	return parseNix32Hash(name[:narHashLen])
}

// NameHash returns the SHA-256 in the name of a NAR, in nix32 or hexadecimal: of
// its file, or of the NAR in it. The name does not tell which. Without ok the
// name promises nothing, and the records that lead to the NAR alone say what its
// bytes are to be.
func (k Key) NameHash() (h Hash, ok bool) {
	if k.Kind() != KindNAR {
		return h, false
	}
	stem := narStem(string(k[len(NARFolder):]))
	if i := len(stem) - narHashLen; i == hashLen+1 && (stem[hashLen] == '-' || stem[hashLen] == '_') {
		stem = stem[i:] // nix-serve has the hash of the store path in front
	}
	if len(stem) == hex.EncodedLen(len(h)) {
		n, err := hex.Decode(h[:], []byte(stem))
		return h, err == nil && n == len(h) && strings.ToLower(stem) == stem
	}
	h, err := parseNix32Hash(stem)
	return h, err == nil
}

// Immutable reports whether the bytes at such a key never change (I4): those of
// a NAR whose name promises them.
func (k Key) Immutable() bool {
	if !k.Kind().Immutable() {
		return false
	}
	_, ok := k.NameHash()
	return ok
}

// ErrLeadsOut says that a URL is not that of an object of the same tree. It does not
// quote the URL, which may hold a password.
var ErrLeadsOut = errors.New("the URL leads out of the cache")

// URLKeys returns the keys that the URL of a record can mean in the record's own
// tree, the likeliest first. Nix takes it literally in a directory; but a tree
// may be the copy of a web server's files, which have their names without the
// query and the escapes.
func URLKeys(ref string) ([]Key, error) {
	if strings.Contains(ref, "://") {
		return nil, ErrLeadsOut
	}
	plain, _, _ := strings.Cut(ref, "#")
	plain, _, _ = strings.Cut(plain, "?")
	spellings := []string{ref, plain}
	if unescaped, err := url.PathUnescape(plain); err == nil {
		spellings = append(spellings, unescaped)
	}
	var keys []Key
	for _, s := range spellings {
		// A slash in front means the root of the host to newer Nix, and nothing to
		// older: for the NAR of a tree that has a host of its own both are the same.
		rooted := strings.HasPrefix(s, "/")
		key, err := ParseKey(strings.TrimLeft(path.Clean(s), "/"))
		if err != nil || key.Kind() == KindPrivate || rooted && key.Kind() != KindNAR {
			return nil, ErrLeadsOut
		}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// ErrMisnamed says that a record leads to a NAR that is named by a hash, and that
// the record has others.
var ErrMisnamed = errors.New("is named by neither the FileHash nor the NarHash")

// NARKeys returns the keys at which the NAR of a record may be in the same tree,
// see URLKeys. The error says that the URL leads elsewhere; with ErrMisnamed come
// keys.
func (n *NarInfo) NARKeys() ([]Key, error) {
	keys, err := URLKeys(n.URL)
	if err != nil {
		return nil, fmt.Errorf("URL %.200q: %w", n.URL, err)
	}
	keys = slices.DeleteFunc(keys, func(k Key) bool { return k.Kind() != KindNAR })
	if len(keys) == 0 {
		return nil, fmt.Errorf("URL %.200q does not lead to a NAR in %s", n.URL, NARFolder)
	}
	for _, key := range keys {
		if named, err := key.FileHash(); err == nil && !n.FileHash.IsZero() && named != n.FileHash && named != n.NarHash {
			return keys, fmt.Errorf("URL %.200q %w", n.URL, ErrMisnamed)
		}
	}
	return keys, nil
}

// A URLReader finds NARs by the URLs of their narinfos, wherever those lead.
type URLReader interface {
	// OpenURL opens what a URL leads to.
	OpenURL(ctx context.Context, ref string) (io.ReadCloser, Info, error)
	// OpenURLRange opens the bytes [from, to) of it. It has size bytes, or it is an error.
	OpenURLRange(ctx context.Context, ref string, size, from, to int64) (io.ReadCloser, error)
}

// OpenURL opens what the URL field of a narinfo leads to. A reader that is not a
// URLReader has it among its objects, or the error is ErrLeadsOut.
func OpenURL(ctx context.Context, r Reader, ref string) (body io.ReadCloser, info Info, err error) {
	if r, ok := Ability[URLReader](r); ok {
		return r.OpenURL(ctx, ref)
	}
	keys, err := URLKeys(ref)
	if err != nil {
		return nil, Info{}, err
	}
	for _, key := range keys {
		if body, info, err = r.Get(ctx, key); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return body, info, err
}

// OpenNAR opens the NAR of a record. In a reader that is not a URLReader, it is what
// FindNAR finds.
func OpenNAR(ctx context.Context, r Reader, n *NarInfo) (io.ReadCloser, Info, error) {
	if r, ok := Ability[URLReader](r); ok {
		return r.OpenURL(ctx, n.URL)
	}
	info, err := FindNAR(ctx, r, n)
	if err != nil {
		return nil, Info{}, err
	}
	return r.Get(ctx, info.Key)
}

// OpenNARRange opens the bytes [from, to) of the NAR of a record. The file has size
// bytes, or it is an error.
func OpenNARRange(ctx context.Context, r Reader, n *NarInfo, size, from, to int64) (io.ReadCloser, error) {
	if r, ok := Ability[URLReader](r); ok {
		return r.OpenURLRange(ctx, n.URL, size, from, to)
	}
	info, err := FindNAR(ctx, r, n)
	if err != nil {
		return nil, err
	}
	if info.Size != size {
		return nil, fmt.Errorf("%s has %d bytes, not %d", info.Key, info.Size, size)
	}
	return OpenRange(ctx, r, info, from, to)
}

// FindNAR describes the NAR of a record in the same tree. The error is
// fs.ErrNotExist if it is not there, or the record leads nowhere in the tree.
func FindNAR(ctx context.Context, r Reader, n *NarInfo) (Info, error) {
	keys, err := n.NARKeys()
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	for _, key := range keys {
		info, there, err := Lookup(ctx, r, key)
		if there || err != nil {
			return info, err
		}
	}
	return Info{}, fmt.Errorf("find NAR %s: %w", keys[0], fs.ErrNotExist)
}
