package inbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// narMagic begins every NAR: the length and text of "nix-archive-1".
var narMagic = []byte("\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1")

// putNAR takes a NAR file. It appears as soon as its bytes are checked, without
// anything that leads to it: dying after that leaves a NAR for the next garbage
// collection, or for the narinfo that comes after a restart.
func (b *Inbox) putNAR(ctx context.Context, key layout.Key, u *upload, o Options) (Outcome, error) {
	named, err := key.FileHash()
	if err != nil {
		return 0, foreign(key)
	}
	body := bufio.NewReaderSize(u, 64)
	if _, err := body.Peek(1); err != nil {
		if failed := u.failed(); failed != nil {
			return 0, failed
		}
		return 0, errEmpty
	}
	method, err := methodOf(key, body)
	if err != nil {
		if failed := u.failed(); failed != nil {
			return 0, failed
		}
		return 0, err
	}
	writer := *b.writer
	writer.Spilled, writer.Spooled = u.room.wrote, o.Spooled
	if o.NarSize > 0 {
		writer.MaxNarSize = min(writer.MaxNarSize, o.NarSize)
	}
	packed, err := writer.Keep(ctx, nil, method, body)
	if err != nil {
		return 0, aboutNAR(u, method, err)
	}
	defer packed.File().Discard() // after a Put it does nothing
	r := b.newReceipt(packed)
	defer r.release()
	// A decoder may be content before the end of the file.
	if n, err := io.Copy(io.Discard, body); n > 0 || err != nil {
		if failed := u.failed(); failed != nil {
			return 0, failed
		}
		return 0, refuse(BadCompression, "bad compression: %d bytes follow the end of the %s data", n, method)
	}
	if o.Name != nil {
		key = layout.NARKey(packed.FileHash, extension(key))
		*o.Name = key
	} else if packed.FileHash != named {
		return 0, refuse(BadFile, "bad file: it was sent as %s and hashes to %s; it was damaged on its way, send it again", key, packed.FileHash)
	}
	if o.Passed != nil {
		if err := o.Passed(packed.NarHash, packed.NarSize); err != nil {
			return 0, err
		}
	}
	var outcome Outcome
	err = b.relying(ctx, func() (err error) {
		outcome, err = b.storeNAR(ctx, key, packed, r)
		return err
	}, key)
	if err != nil {
		return 0, err
	}
	b.dropNote(ctx, key)
	b.wake(key)
	b.finish(ctx)
	return outcome, nil
}

// storeNAR gives a checked NAR its final key, also where an object stands there
// already. The object was meant to have the same bytes (I4), and may have lost
// some since it was written, or since it was looked at last. To write them again
// costs less than to read them, and mends it.
func (b *Inbox) storeNAR(ctx context.Context, key layout.Key, packed *layout.Packed, r *receipt) (Outcome, error) {
	tree, outcome := b.writer.Tree, Created
	have, err := tree.Stat(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		err = tree.Put(ctx, key, packed.File(), layout.PutOptions{IfAbsent: true})
		if errors.Is(err, fs.ErrExist) { // another client was faster
			have, err = tree.Stat(ctx, key)
			outcome = Unchanged
		}
	} else {
		outcome = Unchanged
	}
	if err == nil && outcome == Unchanged {
		if have.Size != packed.FileSize || b.damaged.has(have) {
			outcome = Replaced
		}
		err = tree.Put(ctx, key, packed.File(), layout.PutOptions{})
	}
	if err != nil {
		return 0, storage(err)
	}
	b.damaged.mended(key)
	if r.object, err = tree.Stat(ctx, key); err == nil {
		b.remember(ctx, r)
	}
	// Without the Stat there is no receipt, and the narinfo has the NAR read again.
	return outcome, nil
}

// methodOf tells how a NAR file is compressed: by its name, and where the name
// leaves it open, by how it begins. Nix gives the same name to what is not
// compressed, and to gzip.
func methodOf(key layout.Key, file *bufio.Reader) (compress.Method, error) {
	if _, err := key.FileHash(); err != nil { // another program put it into the tree
		head, _ := file.Peek(len(narMagic))
		return compress.Guess(extension(key), head), nil
	}
	if method, ok := extensions[extension(key)]; ok {
		return method, nil
	}
	if extension(key) == "" {
		head, _ := file.Peek(len(narMagic))
		switch {
		case bytes.HasPrefix(narMagic, head) && len(head) > 0:
			return compress.None, nil // and if it is cut off, the parser says so
		case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
			return compress.Gzip, nil
		}
		return "", refuse(BadCompression, "bad compression: a file named .nar has to hold a NAR, bare or compressed by gzip; use zstd or xz instead")
	}
	return "", unknownExtension(extension(key))
}

// extensions are what a file is whose name leaves that in no doubt.
var extensions = map[string]compress.Method{
	".xz": compress.Xz, ".zst": compress.Zstd, ".bz2": compress.Bzip2, ".br": compress.Brotli, ".lz4": compress.Lz4, ".gz": compress.Gzip,
}

func extension(nar layout.Key) string {
	name, _, _ := strings.Cut(string(nar), "?")
	return name[strings.LastIndex(name, ".nar")+len(".nar"):]
}

// unreadable reports whether a NAR's name says that it is compressed in a way
// that cannot be checked here.
func unreadable(nar layout.Key) (ext string, ok bool) {
	ext = extension(nar)
	return ext, ext == ".lzip"
}

func unknownExtension(ext string) *Refusal {
	return refuse(BadCompression, "bad compression: this cache cannot check NARs compressed as %s; use zstd or xz instead", ext)
}

// aboutNAR tells what is wrong with the bytes from trouble of the client's
// connection, and that from trouble of ours.
func aboutNAR(u *upload, method compress.Method, err error) error {
	if failed := u.failed(); failed != nil {
		return failed
	}
	syntax, long, refusal := (*nar.SyntaxError)(nil), (*layout.NARTooLong)(nil), (*Refusal)(nil)
	switch {
	case errors.As(err, &refusal): // the disk has no room for the listing
		return refusal
	case errors.Is(err, compress.ErrCorrupt):
		return refuse(BadCompression, "bad compression: the file is not whole %s data, or asks for too much memory", method).because(err)
	case errors.As(err, &syntax):
		return refuse(BadNAR, "bad NAR: %v", syntax).because(err)
	case errors.As(err, &long):
		return refuse(NARTooLarge, "too large: the NAR has more than the %d bytes that this cache allows", long.Limit).because(err)
	case errors.Is(err, layout.ErrTooManyFiles):
		return refuse(BadNAR, "bad NAR: %v", err).because(err)
	}
	return storage(err)
}

func foreign(key layout.Key) *Refusal {
	return refuse(ForeignKey, "not a file of a Nix binary cache: %.150q", string(key))
}
