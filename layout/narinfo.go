package layout

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/signer"
)

// MaxNarInfo bounds a narinfo in bytes: room for some 70,000 references.
const MaxNarInfo = 4 << 20

// A NarInfo is the record of a store path in a binary cache: what is known of
// the path, and where and how its NAR is stored. Format: nar-info.cc in Nix.
type NarInfo struct {
	PathInfo
	URL         string // of the NAR, relative to the root of the cache
	Compression compress.Method
	FileHash    Hash  // of the compressed NAR; zero if the record does not tell it
	FileSize    int64 // bytes of the compressed NAR; 0 if the record does not tell it
}

// maxExtra bounds Extra in bytes, with the ends of its lines; the lines beyond are passed
// over.
const maxExtra = 16 << 10

// A SyntaxError tells where a record is malformed.
type SyntaxError struct {
	Line int // from 1; 0 if the record as a whole is meant
	Msg  string
}

func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Msg
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Msg)
}

// ParseNarInfo reads a narinfo whose StorePath must lie in storeDir, or in any
// store directory if that is "". References come out sorted.
//
// It requires what Nix requires and no more: StorePath, URL, NarHash, and a
// NarSize that is not 0. It finds fields where Nix finds them, and of fields that
// stand twice it takes the last as Nix does. A field that proves nothing here is
// kept (CA, Extra) or passed over: a content address of an unknown kind, a
// FileHash by another algorithm, a signature of another shape, an unknown field.
// The tests name what Nix takes and this function does not, with the reasons.
func ParseNarInfo(text []byte, storeDir string) (*NarInfo, error) {
	if len(text) > MaxNarInfo {
		return nil, &SyntaxError{0, fmt.Sprintf("narinfo of more than %d bytes", MaxNarInfo)}
	}
	n := &NarInfo{Compression: compress.Bzip2} // what Nix assumes where the field is missing
	extra := 0
	for rest, line := string(text), 1; rest != ""; {
		// A name extends to the next colon, and the byte after that is skipped
		// unseen. A line without a colon or a value is thereby part of the next.
		field, value, ok := strings.Cut(rest, ":")
		if !ok {
			return nil, &SyntaxError{line, fmt.Sprintf("%.60q is not a 'Field: value'", field)}
		}
		tidy := strings.HasPrefix(value, " ")
		if value, rest, ok = strings.Cut(value[min(1, len(value)):], "\n"); !ok {
			return nil, &SyntaxError{line, "no newline at the end: the narinfo is cut off"}
		}
		kept, err := n.set(field, value, storeDir)
		if err != nil {
			return nil, &SyntaxError{line, field + ": " + err.Error()}
		}
		if size := len(field) + len(": \n") + len(value); !kept && tidy && isPlain(field) && isPlain(value) && extra+size <= maxExtra {
			extra += size
			n.Extra = append(n.Extra, field+": "+value)
		}
		line += 1 + strings.Count(field, "\n")
	}
	switch {
	case n.Path == "":
		return nil, &SyntaxError{0, "no StorePath field"}
	case n.URL == "":
		return nil, &SyntaxError{0, "no URL field, or an empty one"}
	case n.NarHash.IsZero():
		return nil, &SyntaxError{0, "no NarHash field, or one of zeros"}
	case n.NarSize == 0:
		return nil, &SyntaxError{0, "no NarSize field, or a size that no NAR has"}
	}
	n.AddSigs() // sorts: once, as a stranger may send very many
	return n, nil
}

// isPlain reports whether a text can stand in a line of its own.
func isPlain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// set takes a field. It reports false for one that means nothing here.
func (n *NarInfo) set(field, value, storeDir string) (known bool, err error) {
	switch field {
	case "StorePath":
		n.Path, err = parseRecordPath(value, storeDir)
	case "URL":
		n.URL = value
	case "Compression":
		n.Compression, err = compress.Parse(value)
		if m := compress.Method(value); slices.Contains(compress.Unread, m) {
			n.Compression, err = m, nil
		}
	case "FileHash":
		if n.FileHash, err = ParseHash(value); errors.Is(err, errOtherHash) {
			err = nil // no reader compares it
		}
	case "FileSize":
		n.FileSize, err = parseSize(value)
	case "NarHash":
		n.NarHash, err = ParseHash(value)
	case "NarSize":
		n.NarSize, err = parseSize(value)
	case "References":
		if len(n.References) > 0 {
			return true, errors.New("stands a second time")
		}
		n.References, err = parseReferences(value)
	case "Deriver":
		if value != "unknown-deriver" {
			n.Deriver, err = ParseStorePath(value)
		}
	case "Sig":
		sig, err := signer.ParseSignature(value)
		if err != nil {
			return false, nil
		}
		n.Sigs = append(n.Sigs, sig)
	case "CA":
		if n.CA != "" {
			return true, errors.New("stands a second time")
		}
		if value == "" {
			break
		}
		ca, err := ParseContentAddress(value)
		switch {
		case err == nil:
			n.CA = ca.String()
		case errors.Is(err, ErrUnknownAddress):
			n.CA = value
		default:
			return true, err
		}
	default:
		return false, nil
	}
	return true, err
}

// parseRecordPath reads an absolute store path, which Nix cleans before it looks
// at it. If any store directory will do, nothing says which one is meant by a
// path that is not clean.
func parseRecordPath(value, storeDir string) (StorePath, error) {
	if storeDir != "" && strings.HasPrefix(value, "/") {
		value = path.Clean(value)
	} else if storeDir == "" {
		storeDir = value[:max(0, strings.LastIndexByte(value, '/'))]
		if err := CheckStoreDir(storeDir); err != nil {
			return "", err
		}
	}
	return ParseAbsStorePath(storeDir, value)
}

func parseReferences(value string) ([]StorePath, error) {
	var refs []StorePath
	for ref := range strings.SplitSeq(value, " ") {
		if ref == "" {
			continue // Nix takes any number of blanks
		}
		p, err := ParseStorePath(ref)
		if err != nil {
			return nil, err
		}
		refs = append(refs, p)
	}
	slices.Sort(refs)
	return slices.Compact(refs), nil
}

// parseSize reads a size as Nix does, which takes a plus. A size that no file can
// have is as good as none.
func parseSize(value string) (int64, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(value, "+"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a size in bytes", value)
	}
	if n > math.MaxInt64 {
		return 0, nil
	}
	return int64(n), nil
}

// Marshal returns the narinfo with the fields in Nix's own order.
func (n *NarInfo) Marshal(storeDir string) []byte {
	var b bytes.Buffer
	b.Grow(512 + 64*len(n.References))
	put := func(field, value string) {
		b.WriteString(field)
		b.WriteString(": ")
		b.WriteString(value)
		b.WriteByte('\n')
	}
	put("StorePath", n.Path.Abs(storeDir))
	put("URL", n.URL)
	put("Compression", string(n.Compression))
	if !n.FileHash.IsZero() {
		put("FileHash", n.FileHash.String())
	}
	if n.FileSize != 0 {
		put("FileSize", strconv.FormatInt(n.FileSize, 10))
	}
	put("NarHash", n.NarHash.String())
	put("NarSize", strconv.FormatInt(n.NarSize, 10))
	b.WriteString("References: ") // with the blank even if there are none: Nix reads the next line otherwise
	for i, ref := range n.References {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(ref))
	}
	b.WriteByte('\n')
	if n.Deriver != "" {
		put("Deriver", string(n.Deriver))
	}
	for _, sig := range n.Sigs {
		put("Sig", sig)
	}
	if n.CA != "" {
		put("CA", n.CA)
	}
	for _, line := range n.Extra {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// TakeMisformedSigs takes the signatures out of Extra that are not name:base64, and returns
// them. A record that is written for others must not have them: Nix since 2.34 could
// not read it.
func (n *NarInfo) TakeMisformedSigs() (taken []string) {
	n.Extra = slices.DeleteFunc(n.Extra, func(line string) bool {
		sig, ok := strings.CutPrefix(line, "Sig: ")
		if ok = ok && !signer.IsForeign(sig); ok {
			taken = append(taken, sig)
		}
		return ok
	})
	return taken
}

// Absorb adds what another record of the same content says beside it: its
// signatures, and the lines that mean nothing here.
func (n *NarInfo) Absorb(o *NarInfo) {
	n.AddSigs(o.Sigs...)
	extra, size := slices.Clone(n.Extra), 0
	for _, line := range n.Extra {
		size += len(line) + len("\n")
	}
	for _, line := range o.Extra {
		// Each upload of a path may bring others along.
		if added := len(line) + len("\n"); !slices.Contains(extra, line) && size+added <= maxExtra {
			extra, size = append(extra, line), size+added
		}
	}
	n.Extra = extra
}

// NARKey returns the key of the NAR in the same tree, or an error if the URL
// leads elsewhere, or the file is not called by its hash: what a writer makes.
// Readers take more, see NARKeys.
func (n *NarInfo) NARKey() (Key, error) {
	key, err := ParseKey(n.URL)
	if err != nil {
		return "", err
	}
	named, err := key.FileHash()
	if err != nil {
		return "", fmt.Errorf("URL %.200q does not lead to nar/<hash>.nar", n.URL)
	}
	if !n.FileHash.IsZero() && named != n.FileHash {
		return "", fmt.Errorf("URL %.200q is not named by the FileHash", n.URL)
	}
	return key, nil
}

// Sign adds the signatures of keys.
func (n *NarInfo) Sign(storeDir string, keys []signer.SecretKey) error {
	if len(keys) == 0 {
		return nil
	}
	fingerprint := n.Fingerprint(storeDir)
	for _, key := range keys {
		sig, err := key.Sign(fingerprint)
		if err != nil {
			return err
		}
		n.AddSigs(sig)
	}
	return nil
}
