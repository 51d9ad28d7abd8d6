package export

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/sync/httpcache"
)

// File opens the compressed NAR of p. It gives no more bytes than a NAR of the
// record's size can take, and checks nothing else.
func (c *Cache) File(ctx context.Context, p layout.StorePath) (io.ReadCloser, *layout.NarInfo, error) {
	n, err := c.record(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	body, _, err := layout.OpenURL(ctx, c.r, n.URL)
	if errors.Is(err, layout.ErrLeadsOut) {
		err = fmt.Errorf("URL %.200q: %w", httpcache.RedactRef(n.URL), err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read NAR of %s: %w", p.Abs(c.info.StoreDir), err)
	}
	copied := *n
	return &bounded{body, fileBound(n)}, &copied, nil
}

// fileBound returns how many bytes the compressed NAR may have. No Nix checks
// FileSize, so that a wrong one may be met; what it would cost to believe it is
// an import that Nix itself can do.
func fileBound(n *layout.NarInfo) int64 {
	const room = 1 << 20 // headers, and what a compressor adds to noise
	return max(n.FileSize, n.NarSize) + n.NarSize/16 + room
}

// WriteNAR writes the NAR of p, which must have the size of its record.
func (c *Cache) WriteNAR(ctx context.Context, p layout.StorePath, w io.Writer) error {
	file, n, err := c.File(ctx, p)
	if err != nil {
		return err
	}
	defer file.Close()
	z, err := compress.NewReader(file, n.Compression)
	if err == nil {
		err = copyNAR(ctx, w, z, n.NarSize)
		err = errors.Join(err, z.Close())
	}
	if err != nil {
		return fmt.Errorf("read NAR of %s: %w", p.Abs(c.info.StoreDir), err)
	}
	return nil
}

// copyNAR copies size bytes, after which r must end.
func copyNAR(ctx context.Context, w io.Writer, r io.Reader, size int64) error {
	buf := make([]byte, 256<<10)
	for total := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		total += int64(n)
		if total > size {
			return fmt.Errorf("more than the %d bytes of its narinfo", size)
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			if total < size {
				return fmt.Errorf("%d bytes, its narinfo says %d", total, size)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// bounded is a file that fails when it goes on for too long.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errors.New("the file is far larger than its narinfo says")
	}
	return n, err
}
