package nixstore

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// ahead is how many paths are asked for before the first reply is read. It hides
// the latency of the daemon, and bounds what is left to read of an abandoned call.
const ahead = 256

// Infos returns what the store knows of each path, in the order of paths, and
// holds them from before it asks until the Store is closed. References and
// signatures are sorted. A path that is not valid is fs.ErrNotExist.
func (s *Store) Infos(ctx context.Context, paths []layout.StorePath) ([]layout.PathInfo, error) {
	if infos, ok, err := s.direct.infos(ctx, paths); ok {
		if err != nil {
			return nil, fmt.Errorf("query %s: %w", s.name, err)
		}
		for _, p := range paths {
			s.hold(p)
		}
		return infos, nil
	}
	infos := make([]layout.PathInfo, len(paths))
	err := s.roots.use(ctx, func(ctx context.Context, c *conn) error {
		ask := func(p layout.StorePath) {
			c.request(opAddTempRoot, p.Abs(s.storeDir))
			c.request(opQueryPathInfo, p.Abs(s.storeDir))
		}
		return c.pipeline(ctx, paths, ask, func(i int) error {
			unheld := c.readRoot()
			info, _, err := c.readInfo(s.storeDir, paths[i])
			if err = cmp.Or(unheld, err); err == nil {
				infos[i] = info
				s.hold(paths[i])
			}
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", s.name, err)
	}
	return infos, nil
}

// pipeline asks for every path while it reads the replies, at most some ahead.
// After the first error, or when ctx ends, it asks no more and reads what it
// asked for. It returns the first error.
func (c *conn) pipeline(ctx context.Context, paths []layout.StorePath, ask func(layout.StorePath), read func(i int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	asked := make(chan int, ahead)
	unsent := make(chan error, 1)
	go func() { // ends when everything is asked, when ctx ends, or with the connection
		defer close(asked)
		for i, p := range paths {
			if ctx.Err() != nil {
				break
			}
			ask(p)
			select {
			case asked <- i:
				continue
			default:
			}
			// About to wait for the reader, who may wait for this very reply.
			if err := c.out.to.Flush(); err != nil {
				unsent <- err
				return
			}
			asked <- i
		}
		unsent <- c.out.to.Flush()
	}()
	var first error
	for i := range asked {
		if c.in.err != nil {
			continue // the connection is gone; let the writer notice
		}
		if err := read(i); err != nil && first == nil {
			first = err
			stop(err)
		}
		if c.in.err != nil {
			c.Close() // wakes up the writer
		}
	}
	if err := <-unsent; err != nil {
		c.in.fail(err)
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = context.Cause(ctx)
	}
	return first
}

func (c *conn) readRoot() error {
	if err := c.settle(); err != nil {
		return fmt.Errorf("hold a path: %w", err)
	}
	c.in.num() // always 1
	return c.in.err
}

// registration is what a store says of a path beyond what a cache knows.
type registration struct {
	at    time.Time
	built bool // here, and not copied from elsewhere
}

// readInfo reads a reply to opQueryPathInfo. The order of the fields is that of
// UnkeyedValidPathInfo in worker-protocol.cc.
func (c *conn) readInfo(storeDir string, p layout.StorePath) (layout.PathInfo, registration, error) {
	var reg registration
	fail := func(err error) (layout.PathInfo, registration, error) {
		return layout.PathInfo{}, reg, fmt.Errorf("%s: %w", p.Abs(storeDir), err)
	}
	if err := c.settle(); err != nil {
		return fail(err)
	}
	if !c.in.bool() {
		if c.in.err != nil {
			return fail(c.in.err)
		}
		return layout.PathInfo{}, reg, notValid(storeDir, p)
	}
	deriver := c.in.text(maxText)
	narHash := c.in.text(maxText)
	references := c.in.texts(maxList, "references")
	reg.at = time.Unix(int64(c.in.num()&math.MaxInt64), 0)
	narSize := c.in.num()
	reg.built = c.in.bool()
	sigs := c.in.texts(maxList, "signatures")
	ca := c.in.text(maxText)
	if c.in.err != nil {
		return fail(c.in.err)
	}

	// An error from here on is about the facts, and the stream is still in step.
	info, err := facts{deriver, narHash, narSize, references, sigs, ca}.info(storeDir, p)
	if err != nil {
		return fail(err)
	}
	return info, reg, nil
}

func notValid(storeDir string, p layout.StorePath) error {
	return fmt.Errorf("%s: %w", p.Abs(storeDir), ErrNotValid)
}

// facts are what a store knows of a path, as it writes them.
type facts struct {
	deriver    string // "" for none
	narHash    string // hexadecimal
	narSize    uint64
	references []string
	sigs       []string
	ca         string
}

// info checks facts of a path.
func (f facts) info(storeDir string, p layout.StorePath) (layout.PathInfo, error) {
	info := layout.PathInfo{Path: p, CA: f.ca}
	var err error
	if f.deriver != "" {
		if info.Deriver, err = layout.ParseAbsStorePath(storeDir, f.deriver); err != nil {
			return layout.PathInfo{}, fmt.Errorf("deriver: %w", err)
		}
	}
	if n, err := hex.Decode(info.NarHash[:], []byte(f.narHash[:min(len(f.narHash), 2*len(info.NarHash))])); err != nil || n != len(info.NarHash) || len(f.narHash) != 2*n {
		return layout.PathInfo{}, fmt.Errorf("NAR hash %.100q: want 64 hexadecimal digits", f.narHash)
	}
	if f.narSize == 0 || f.narSize > math.MaxInt64 {
		return layout.PathInfo{}, fmt.Errorf("NAR size %d: no NAR has that", f.narSize)
	}
	info.NarSize = int64(f.narSize)
	for _, text := range f.references {
		ref, err := layout.ParseAbsStorePath(storeDir, text)
		if err != nil {
			return layout.PathInfo{}, fmt.Errorf("reference: %w", err)
		}
		info.References = append(info.References, ref)
	}
	slices.Sort(info.References)
	for _, text := range append(f.sigs, f.ca) {
		if !oneLine(text) {
			return layout.PathInfo{}, fmt.Errorf("field %.100q: has a control character", text)
		}
	}
	info.AddSigs(f.sigs...)
	return info, nil
}

// oneLine reports whether text can stand in a narinfo without becoming another
// field of it.
func oneLine(text string) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}
