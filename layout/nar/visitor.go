package nar

// A Visitor is told of each node of an archive, in the archive's order: entries
// of a directory by the bytes of their names, a directory before what is in it.
//
// The name is that of the entry in its directory, "" at the root. An error ends the
// walk and is returned by the function that drives it, unchanged.
type Visitor interface {
	// Enter begins a directory; the nodes up to the matching Leave are in it.
	Enter(name string) error

	// Leave ends the directory that was entered last.
	Leave() error

	// Regular is a file of size bytes. Offset is where its first byte stands, or
	// would stand if it were not empty, in the archive; offset+size does not
	// overflow.
	Regular(name string, executable bool, size, offset int64) error

	// Content is the next piece of the file announced last. The pieces are never
	// empty and add up to its size. The bytes are valid during the call only, and
	// must not be changed.
	Content(p []byte) error

	// Symlink is a symbolic link.
	Symlink(name, target string) error
}

// Discard is a Visitor that does nothing. Embedded, it leaves its user to write
// only the methods it needs.
type Discard struct{}

// Enter does nothing.
func (Discard) Enter(string) error { return nil }

// Leave does nothing.
func (Discard) Leave() error { return nil }

// Regular does nothing.
func (Discard) Regular(string, bool, int64, int64) error { return nil }

// Content does nothing.
func (Discard) Content([]byte) error { return nil }

// Symlink does nothing.
func (Discard) Symlink(string, string) error { return nil }

// Visitors returns a Visitor that tells each of vs in turn, skipping those that
// are nil. The first error ends the turn.
func Visitors(vs ...Visitor) Visitor {
	var out visitors
	for _, v := range vs {
		if v != nil {
			out = append(out, v)
		}
	}
	switch len(out) {
	case 0:
		return Discard{}
	case 1:
		return out[0]
	}
	return out
}

type visitors []Visitor

func (vs visitors) Enter(name string) error {
	for _, v := range vs {
		if err := v.Enter(name); err != nil {
			return err
		}
	}
	return nil
}

func (vs visitors) Leave() error {
	for _, v := range vs {
		if err := v.Leave(); err != nil {
			return err
		}
	}
	return nil
}

func (vs visitors) Regular(name string, executable bool, size, offset int64) error {
	for _, v := range vs {
		if err := v.Regular(name, executable, size, offset); err != nil {
			return err
		}
	}
	return nil
}

func (vs visitors) Content(p []byte) error {
	for _, v := range vs {
		if err := v.Content(p); err != nil {
			return err
		}
	}
	return nil
}

func (vs visitors) Symlink(name, target string) error {
	for _, v := range vs {
		if err := v.Symlink(name, target); err != nil {
			return err
		}
	}
	return nil
}
