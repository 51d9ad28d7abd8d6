package doctor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

// read reads the narinfo of a path from a cache.
func (p *patient) read(ctx context.Context, r layout.Reader, path layout.StorePath) (*layout.NarInfo, error) {
	text, err := layout.ReadAll(ctx, r, layout.NarInfoKey(path))
	if err != nil {
		return nil, err
	}
	n, err := layout.ParseNarInfo(text, p.StoreDir)
	if err != nil {
		return nil, err
	}
	if n.Path.Hash() != path.Hash() {
		return nil, fmt.Errorf("it is the narinfo of %s", n.Path)
	}
	return n, nil
}

func checkPath(ctx context.Context, p *patient) {
	n, err := p.read(ctx, p.reader, p.Path)
	switch {
	case err == nil:
		p.record = n
	case errors.Is(err, fs.ErrNotExist):
		p.fail("not-there", "nixstatic push, or nix copy --to the upload URL of the cache", "the cache does not have %s", p.Path)
	default:
		p.fail("narinfo-damaged", "upload the path again; nixstatic verify on the cache tells more", "the narinfo of %s cannot be read: %v", p.Path, err)
	}
}

func checkSignature(_ context.Context, p *patient) {
	if p.record == nil || p.keysTold {
		return
	}
	p.judge(p.record)
}

// judge reports a path that no trusted key vouches for, and returns whether it did.
func (p *patient) judge(n *layout.NarInfo) bool {
	trusted, wanted := p.published, true
	if p.Tree == nil {
		trusted, wanted = p.view.trusted(), p.view.conf.True("require-sigs")
	}
	if !wanted || n.CA != "" && n.CheckAddress(p.StoreDir) == nil {
		return false
	}
	if _, ok := trusted.Verify(n.Fingerprint(p.StoreDir), n.Sigs); ok {
		return false
	}
	if len(n.Sigs) == 0 {
		p.fail("unsigned", "sign what is in the cache: nixstatic sign CACHE -k secret.key", "%s has no signature", n.Path)
		return true
	}
	if p.Tree != nil {
		return false // the check of the tree tells
	}
	var names []string
	for _, sig := range n.Sigs {
		name, err := signer.SignatureName(sig)
		if err != nil {
			continue
		}
		names = append(names, name)
		for _, key := range trusted {
			if key.Name() == name {
				p.fail("signature-wrong", "ask the operator for the key of now: nixstatic use "+p.URL+" --key NAME:BASE64",
					"the signature of %s by %s is not by the key of that name that is trusted here", n.Path, name)
				return true
			}
		}
	}
	for _, key := range p.published {
		for _, name := range names {
			if key.Name() == name && !p.unused {
				p.tellUntrusted(key)
				return true
			}
		}
	}
	if p.unused {
		return false
	}
	p.fail("key-not-trusted", "ask the operator for its public key: nixstatic use "+p.URL+" --key NAME:BASE64",
		"%s is signed by %s, and no such key is trusted here", n.Path, strings.Join(names, ", "))
	return true
}

func checkNAR(ctx context.Context, p *patient) {
	n := p.record
	if n == nil {
		return
	}
	if p.web == nil {
		info, err := layout.FindNAR(ctx, p.reader, n)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			p.fail("nar-missing", "upload the path again", "the NAR of %s is not there: %s", n.Path, n.URL)
		case err != nil:
			p.unchecked("%v", err)
		case n.FileSize > 0 && info.Size != n.FileSize:
			p.fail("nar-size", "upload the path again; nixstatic verify --deep on the cache tells more", "the NAR of %s has %d bytes, its narinfo says %d", n.Path, info.Size, n.FileSize)
		case p.Deep:
			body, _, err := p.reader.Get(ctx, info.Key)
			if err != nil {
				p.unchecked("%v", err)
				return
			}
			p.readNAR(ctx, body)
		}
		return
	}
	a, err := p.web.ask(ctx, http.MethodGet, n.URL, 1024, "Accept-Encoding: identity")
	switch {
	case err != nil:
		p.unchecked("%v", err)
	case a.status == http.StatusNotFound, a.status == http.StatusGone:
		p.fail("nar-missing", "upload the path again; nixstatic verify on the cache tells more", "the NAR of %s is not there: %s", n.Path, n.URL)
	case a.status == http.StatusForbidden, a.status == http.StatusUnauthorized:
		p.fail("nar-refused", "let readers read nar/ as well as the rest", "the server answers %d for the NAR of %s", a.status, n.Path)
	case a.status != http.StatusOK:
		p.fail("nar-refused", "curl -v "+a.at.Redacted()+" shows more", "the server answers %d for the NAR of %s", a.status, n.Path)
	case a.isPage() && n.Compression != "none":
		p.fail("nar-page", "a login page or a proxy stands in between: let it pass the cache", "the server sends a web page for the NAR of %s", n.Path)
	case n.FileSize > 0 && a.encoding() == "" && (a.length >= 0 && a.length != n.FileSize || a.whole && int64(len(a.body)) != n.FileSize):
		have := a.length
		if have < 0 {
			have = int64(len(a.body))
		}
		p.fail("nar-size", "upload the path again; nixstatic verify --deep on the cache tells more", "the NAR of %s has %d bytes, its narinfo says %d", n.Path, have, n.FileSize)
	case p.Deep:
		body, err := p.web.stream(ctx, a.at)
		if err != nil {
			p.unchecked("%v", err)
			return
		}
		p.readNAR(ctx, body)
	}
}

// readNAR reads the whole NAR and compares it with the record.
func (p *patient) readNAR(ctx context.Context, body io.ReadCloser) {
	defer body.Close()
	n := p.record
	plain, err := layout.NewDecoder(ctx, body, n.Compression, nil, nil)
	if err != nil {
		p.fail("nar-damaged", "upload the path again", "the NAR of %s cannot be read: %v", n.Path, err)
		return
	}
	defer plain.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, io.LimitReader(plain, n.NarSize+1))
	switch {
	case err != nil && ctx.Err() == nil:
		p.fail("nar-damaged", "upload the path again", "the NAR of %s cannot be read: %v", n.Path, err)
	case err == nil && (size != n.NarSize || layout.Hash(hash.Sum(nil)) != n.NarHash):
		p.fail("nar-hash", "upload the path again; nixstatic verify --deep on the cache tells of all", "the NAR of %s is not the one that its narinfo describes", n.Path)
	}
}
