package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"time"
)

// Beyond the methods of Tree, some trees can do more. As in io/fs, each ability
// is an interface of few methods, and a function of the same name does
// the same for every tree, by other means where the tree lacks the ability.
// Callers use these functions, and ask for no interface themselves.

// A Wrapper is a tree or cache over another one. It has the methods of every ability,
// and can do what the one below can.
type Wrapper interface {
	// Below returns what it is over.
	Below() Reader
}

// Ability returns r as something that has the methods of A, if it can do what they do.
// It is for this package, and for a Wrapper that passes a call on.
func Ability[A any](r Reader) (a A, can bool) {
	a, can = r.(A)
	for w, over := r.(Wrapper); can && over; w, over = r.(Wrapper) {
		r = w.Below()
		_, can = r.(A)
	}
	return a, can
}

// Traits say what an operation costs in a tree. They decide how work is
// arranged, and never whether it can be done.
type Traits struct {
	Local   bool   // the objects are files on this machine: reading is cheap, and its spool is put by renaming
	Path    string // of the directory of a local tree
	Batches bool   // many objects are put cheaper together
	Folders bool   // ListTop does not go through the folders
	Blind   bool   // it cannot be listed, so that each object has to be asked for
	Lists   bool   // it makes listings and debug links itself, of the NARs that it gets
	// Encoded says that objects may be kept with a Content-Encoding, which Get takes
	// off: the sizes in a listing are those of what is kept.
	Encoded bool
}

// TraitsOf returns the traits that a tree or cache declares with a method Traits.
// A tree without that method has none.
func TraitsOf(r Reader) Traits {
	if t, ok := Ability[interface{ Traits() Traits }](r); ok {
		return t.Traits()
	}
	return Traits{}
}

// IsTree reports whether r is a whole tree, with what is private. A cache behind a web server
// is not one.
func IsTree(r Reader) bool {
	_, ok := Ability[Tree](r)
	return ok
}

// List yields the objects of r, or ErrNotListable if r is not a Lister.
func List(ctx context.Context, r Reader, prefix string) iter.Seq2[Info, error] {
	if l, ok := Ability[Lister](r); ok {
		return l.List(ctx, prefix)
	}
	return func(yield func(Info, error) bool) { yield(Info{}, ErrNotListable) }
}

// A TopEntry is an object whose key has no slash, or the folder of those whose
// keys do.
type TopEntry struct {
	Info
	Folder string // such as "nar/"; "" for an object
}

// A TopLister can list the top of a tree without going through its folders: a
// caller that does not want them all, or wants them side by side, need not wait
// for them.
type TopLister interface {
	// ListTop yields the objects at the top and each folder once, in the order of
	// List, without private keys.
	ListTop(ctx context.Context) iter.Seq2[TopEntry, error]
}

// ListTop lists the top of a tree, see TopLister. Without that ability the whole
// tree is listed, or the error is ErrNotListable.
func ListTop(ctx context.Context, r Reader) iter.Seq2[TopEntry, error] {
	if top, ok := Ability[TopLister](r); ok {
		return top.ListTop(ctx)
	}
	return func(yield func(TopEntry, error) bool) {
		last := ""
		for info, err := range List(ctx, r, "") {
			entry := TopEntry{Info: info}
			if folder, _, below := strings.Cut(string(info.Key), "/"); below {
				entry = TopEntry{Folder: folder + "/"}
				if entry.Folder == last {
					continue
				}
				last = entry.Folder
			}
			if !yield(entry, err) {
				return
			}
		}
	}
}

// A NarInfoLister can name its narinfos without describing them.
type NarInfoLister interface {
	// NarInfoKeys yields the keys of the narinfos, in any order. While others change the
	// tree a key may come twice.
	NarInfoKeys(ctx context.Context) iter.Seq2[Key, error]
}

// NarInfoKeys yields the keys of the narinfos of a tree, in any order, see NarInfoLister.
// Without that ability its top is listed.
func NarInfoKeys(ctx context.Context, r Reader) iter.Seq2[Key, error] {
	if l, ok := Ability[NarInfoLister](r); ok {
		return l.NarInfoKeys(ctx)
	}
	return func(yield func(Key, error) bool) {
		for entry, err := range ListTop(ctx, r) {
			if err != nil || entry.Folder == "" && entry.Key.Kind() == KindNarInfo {
				if !yield(entry.Key, err) {
					return
				}
			}
		}
	}
}

// A NameLister can list objects without looking at each.
type NameLister interface {
	// ListNames yields what List does, but the Info of an object whose name is enough may
	// have the key and nothing else. The goroutine that reads the listing asks named, some
	// way ahead, and for each folder in the order of List.
	ListNames(ctx context.Context, prefix string, named func(Key) bool) iter.Seq2[Info, error]
}

// ListNames lists a tree, see NameLister. Without that ability it is List, and named is
// not asked.
func ListNames(ctx context.Context, r Reader, prefix string, named func(Key) bool) iter.Seq2[Info, error] {
	if l, ok := Ability[NameLister](r); ok {
		return l.ListNames(ctx, prefix, named)
	}
	return List(ctx, r, prefix)
}

// A RangeReader can open an object in its middle, where reading up to there
// costs more than another request.
type RangeReader interface {
	// OpenRange opens the bytes [from, to) of the version that a Stat described.
	// The error is ErrChanged if the key has another version by now.
	OpenRange(ctx context.Context, version Info, from, to int64) (io.ReadCloser, error)
}

// OpenRange opens a part of an object, see RangeReader. Without that ability the
// bytes before it are skipped.
func OpenRange(ctx context.Context, r Reader, version Info, from, to int64) (io.ReadCloser, error) {
	if from < 0 || from > to || to > version.Size {
		return nil, keyError("get part of", version.Key, fmt.Errorf("no bytes %d to %d in %d", from, to, version.Size))
	}
	if ranged, ok := Ability[RangeReader](r); ok {
		return ranged.OpenRange(ctx, version, from, to)
	}
	body, info, err := r.Get(ctx, version.Key)
	if err != nil {
		return nil, err
	}
	if info.ETag != version.ETag {
		err = ErrChanged
	} else if seeker, ok := body.(io.Seeker); ok {
		_, err = seeker.Seek(from, io.SeekStart)
	} else if _, err = io.CopyN(io.Discard, body, from); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		body.Close()
		return nil, keyError("get part of", version.Key, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(body, to-from), body}, nil
}

// A BatchPutter stores many objects cheaper than one by one.
type BatchPutter interface {
	// PutBatch stores groups of objects. Every body is durable before the first
	// key appears, and every key of a group is durable before the first key of
	// the next appears. Within a group the keys appear in any order, and any of
	// them may be there after an error. An object with IfAbsent whose key is
	// taken is passed over and its key returned; what is there is durable then, too.
	PutBatch(ctx context.Context, groups ...[]Object) (taken []Key, err error)
}

// PutBatch stores groups of objects, see BatchPutter. Without that ability they
// are put one after the other.
func PutBatch(ctx context.Context, t Tree, groups ...[]Object) (taken []Key, err error) {
	if b, ok := Ability[BatchPutter](t); ok {
		return b.PutBatch(ctx, groups...)
	}
	for _, group := range groups {
		for _, o := range group {
			err := t.Put(ctx, o.Key, o.Body, o.Opts)
			switch {
			case o.Opts.IfAbsent && errors.Is(err, fs.ErrExist):
				taken = append(taken, o.Key)
			case err != nil:
				return taken, err
			}
		}
	}
	return taken, nil
}

// A BatchDeleter removes many objects cheaper than one by one.
type BatchDeleter interface {
	// DeleteBatch removes groups of objects. Every key of a group is gone durably
	// before the first key of the next goes. Within a group the keys go in any
	// order, and any of them may be gone after an error. Absent ones are passed
	// over.
	DeleteBatch(ctx context.Context, groups ...[]Key) error
}

// DeleteBatch removes groups of objects, see BatchDeleter. Without that ability
// they are removed one after the other.
func DeleteBatch(ctx context.Context, t Tree, groups ...[]Key) error {
	if b, ok := Ability[BatchDeleter](t); ok {
		return b.DeleteBatch(ctx, groups...)
	}
	for _, group := range groups {
		for _, key := range group {
			if err := t.Delete(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// Missing returns those of the paths that a tree wants to be put: it lacks them, or has
// them in a manner that is of no use. The error is errors.ErrUnsupported for a tree that
// cannot be asked for many paths at once, which is most of them.
func Missing(ctx context.Context, r Reader, paths []StorePath) (map[StorePath]bool, error) {
	if m, ok := Ability[interface {
		Missing(context.Context, []StorePath) (map[StorePath]bool, error)
	}](r); ok {
		return m.Missing(ctx, paths)
	}
	return nil, errors.ErrUnsupported
}

// A Leftover is an upload in parts to an object store that was begun and never ended. No
// listing shows it, and its parts are paid for.
type Leftover struct {
	Key     Key
	Started time.Time
	ID      string // opaque, of the store
}

// A LeftoverTree is one in which there may be leftovers.
type LeftoverTree interface {
	// Leftovers yields those that were begun before a moment. A process may be at work
	// on younger ones. The error is errors.ErrUnsupported if the store does not tell.
	Leftovers(ctx context.Context, before time.Time) iter.Seq2[Leftover, error]
	// RemoveLeftover removes one. It succeeds if that is gone already.
	RemoveLeftover(ctx context.Context, l Leftover) error
}

// Leftovers yields those of a tree that were begun before a moment, see LeftoverTree;
// where there can be none, it yields nothing.
func Leftovers(ctx context.Context, t Tree, before time.Time) iter.Seq2[Leftover, error] {
	if l, ok := Ability[LeftoverTree](t); ok {
		return l.Leftovers(ctx, before)
	}
	return func(func(Leftover, error) bool) {}
}

// RemoveLeftover removes one that Leftovers yielded.
func RemoveLeftover(ctx context.Context, t Tree, l Leftover) error {
	if t, ok := Ability[LeftoverTree](t); ok {
		return t.RemoveLeftover(ctx, l)
	}
	return fmt.Errorf("remove a leftover of %s: %w", l.Key, errors.ErrUnsupported)
}

// SumOf returns the version that an object with this text would have in a tree that tells
// MD5 sums in its listing, of texts that it changes on the way in.
func SumOf(r Reader, key Key, text []byte) (version string, ok bool) {
	if s, ok := Ability[interface{ SumOf(Key, []byte) string }](r); ok {
		return s.SumOf(key, text), true
	}
	return "", false
}

// A Flusher is a tree in which an object can be seen before it is certain to
// outlast a power cut: the process that puts it may still be about to flush it,
// or may have been killed before. Once a Put has returned, its object is flushed.
type Flusher interface {
	// Flush makes the objects at keys outlast a power cut. Absent ones are passed
	// over. Without keys it flushes the names of all that is in the tree.
	Flush(ctx context.Context, keys ...Key) error
}

// Flush is called before a process vouches for objects that it found in a tree
// and did not put there itself, see Flusher. Other trees show only what lasts.
func Flush(ctx context.Context, t Tree, keys ...Key) error {
	if f, ok := Ability[Flusher](t); ok {
		return f.Flush(ctx, keys...)
	}
	return nil
}

// KeepsConditions reports whether a tree refuses to put an object under conditions
// that do not hold: that it is absent, that it is another version. Some stores take
// conditions and do not look. The object must be there, and may be body afterwards.
func KeepsConditions(ctx context.Context, t Tree, key Key, body Body) (absent, match bool, err error) {
	refuses := func(opts PutOptions, refusal error) (bool, error) {
		err := t.Put(ctx, key, body, opts)
		if err == nil || errors.Is(err, refusal) || errors.Is(err, errors.ErrUnsupported) {
			return errors.Is(err, refusal), nil
		}
		return false, err
	}
	if absent, err = refuses(PutOptions{IfAbsent: true}, fs.ErrExist); err == nil {
		match, err = refuses(PutOptions{IfMatch: "0123456789abcdef0123456789abcdef"}, ErrChanged)
	}
	return absent, match, err
}

// AssumeOneWriter has a tree check conditions itself from now on, by looking
// before it writes, where it found a store that keeps to none. It is right for as
// long as no other process writes to the tree.
func AssumeOneWriter(t Tree) {
	if a, ok := Ability[interface{ AssumeOneWriter() }](t); ok {
		a.AssumeOneWriter()
	}
}

// Sweep removes what processes that were killed left unfinished in a tree, where
// the tree keeps such files.
func Sweep(t Tree) {
	if s, ok := Ability[interface{ Sweep() }](t); ok {
		s.Sweep()
	}
}

// Touch gives an object of a directory another version, and leaves its bytes. It takes
// no room. The error is errors.ErrUnsupported in trees of other kinds.
func Touch(t Tree, key Key) error {
	if d, ok := Ability[interface{ Touch(Key) error }](t); ok {
		return d.Touch(key)
	}
	return fmt.Errorf("touch %s: %w", key, errors.ErrUnsupported)
}
