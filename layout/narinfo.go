package layout

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

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
	FileHash    Hash  // of the compressed NAR; zero if the writer left it out
	FileSize    int64 // bytes of the compressed NAR; 0 if left out
}

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
// store directory if that is "".
//
// It is as strict as the strictest Nix, and stricter where Nix silently lets
// the last of two equal fields win. Unknown fields are passed over.
// References come out sorted.
func ParseNarInfo(text []byte, storeDir string) (*NarInfo, error) {
	if len(text) > MaxNarInfo {
		return nil, &SyntaxError{0, fmt.Sprintf("narinfo of more than %d bytes", MaxNarInfo)}
	}
	n := &NarInfo{Compression: compress.Bzip2} // what Nix assumes where the field is missing
	seen := map[string]bool{}
	line := 0
	for len(text) > 0 {
		line++
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			return nil, &SyntaxError{line, "no newline at the end: the narinfo is cut off"}
		}
		field, value, ok := strings.Cut(string(text[:end]), ": ")
		text = text[end+1:]
		if !ok || field == "" {
			return nil, &SyntaxError{line, fmt.Sprintf("%.60q is no 'Field: value'", field)}
		}
		if strings.ContainsAny(value, "\r\x00") {
			return nil, &SyntaxError{line, field + " holds a control character"}
		}
		if !narInfoFields[field] {
			continue
		}
		if seen[field] && field != "Sig" {
			return nil, &SyntaxError{line, "a second " + field}
		}
		seen[field] = true
		if err := n.set(field, value, &storeDir); err != nil {
			return nil, &SyntaxError{line, field + ": " + err.Error()}
		}
	}
	for _, field := range []string{"StorePath", "URL", "NarHash", "NarSize", "References"} {
		if !seen[field] {
			return nil, &SyntaxError{0, "no " + field + " field"}
		}
	}
	n.AddSigs() // sorts: once, as a stranger may send very many
	return n, nil
}

// narInfoFields are the fields that mean something here.
var narInfoFields = map[string]bool{
	"StorePath": true, "URL": true, "Compression": true, "FileHash": true, "FileSize": true,
	"NarHash": true, "NarSize": true, "References": true, "Deriver": true, "Sig": true, "CA": true,
}

func (n *NarInfo) set(field, value string, storeDir *string) (err error) {
	switch field {
	case "StorePath":
		if *storeDir == "" {
			*storeDir = value[:max(0, strings.LastIndexByte(value, '/'))]
			if err := CheckStoreDir(*storeDir); err != nil {
				return err
			}
		}
		n.Path, err = ParseAbsStorePath(*storeDir, value)
	case "URL":
		if value == "" || strings.ContainsAny(value, " \t") {
			return fmt.Errorf("%.200q is no URL", value)
		}
		n.URL = value
	case "Compression":
		n.Compression, err = compress.Parse(value)
	case "FileHash":
		n.FileHash, err = ParseHash(value)
	case "FileSize":
		n.FileSize, err = parseSize(value)
	case "NarHash":
		n.NarHash, err = ParseHash(value)
	case "NarSize":
		n.NarSize, err = parseSize(value)
		if err == nil && n.NarSize == 0 {
			return fmt.Errorf("no NAR is empty")
		}
	case "References":
		for ref := range strings.SplitSeq(value, " ") {
			if ref == "" {
				continue // Nix takes any number of blanks
			}
			p, err := ParseStorePath(ref)
			if err != nil {
				return err
			}
			n.References = append(n.References, p)
		}
		slices.Sort(n.References)
		n.References = slices.Compact(n.References)
	case "Deriver":
		if value != "unknown-deriver" {
			n.Deriver, err = ParseStorePath(value)
		}
	case "Sig":
		if _, err := signer.SignatureName(value); err != nil {
			return err
		}
		n.Sigs = append(n.Sigs, value)
	case "CA":
		if value != "" {
			_, err = ParseContentAddress(value)
		}
		n.CA = value
	}
	return err
}

// parseSize reads digits alone: Nix takes a leading plus, which nobody writes.
func parseSize(value string) (int64, error) {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no size in bytes", value)
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
	return b.Bytes()
}

// NARKey returns the key of the NAR in the same tree, or an error if the URL
// leads elsewhere or is not named by the FileHash.
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
