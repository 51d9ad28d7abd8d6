package doctor

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nixstatic/nixstatic/layout"
)

const maxSample = 100 // narinfos of a tree that are looked at

// checkTree looks at the serving side: whether the user of a web server may read
// the files, and whether what narinfos lead to is there.
func checkTree(ctx context.Context, p *patient) {
	if dir := layout.TraitsOf(p.Tree).Path; dir != "" {
		checkRights(p, dir)
	}
	seen := 0
	for e, err := range layout.List(ctx, p.Tree, "") {
		if err != nil {
			p.unchecked("%v", err)
			return
		}
		if e.Key.Kind() != layout.KindNarInfo {
			continue
		}
		if seen++; seen > maxSample {
			break
		}
		text, err := layout.ReadAll(ctx, p.Tree, e.Key)
		if err != nil {
			p.unchecked("%v", err)
			continue
		}
		n, err := layout.ParseNarInfo(text, p.StoreDir)
		if err != nil {
			p.fail("narinfo-damaged", "nixstatic verify --deep tells of all, and an upload or an export of the path mends it", "%s is damaged: %v", e.Key, err)
			continue
		}
		if _, err := layout.FindNAR(ctx, p.Tree, n); err != nil {
			p.fail("nar-missing", "nixstatic verify tells of all, and an upload or an export of the path mends it", "the NAR of %s is not there: %v", n.Path, err)
		}
		if len(p.published) > 0 && n.CA == "" && len(n.Sigs) > 0 {
			if _, ok := p.published.Verify(n.Fingerprint(p.StoreDir), n.Sigs); !ok {
				p.fail("key-not-published", "put the key into public-keys, or sign with one that is there: nixstatic sign TREE -k FILE", "%s is signed by none of the keys in public-keys", n.Path)
				return
			}
		}
		if n.CA == "" && len(n.Sigs) == 0 {
			p.fail("unsigned", "nixstatic sign TREE -k secret.key", "%s has no signature", n.Path)
			return
		}
	}
}

// checkRights looks whether others may read a folder and the first of its files.
func checkRights(p *patient, dir string) {
	for at := dir; ; at = filepath.Dir(at) {
		if st, err := os.Stat(at); err == nil && st.Mode().Perm()&0o001 == 0 {
			p.warn("folder-closed", "chmod a+x "+at+", or have the web server run as a user who may", "users other than the owner may not enter %s: a web server cannot, unless it runs as that user", at)
			return
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	seen := 0
	filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if e != nil && e.IsDir() && e.Name() == ".nixstatic" {
				return filepath.SkipDir
			}
			return nil
		}
		if seen++; seen > 10*maxSample {
			return filepath.SkipAll
		}
		if st, err := e.Info(); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o004 == 0 {
			p.fail("file-closed", "chmod -R a+rX "+dir, "users other than the owner may not read %s: a web server answers 403", name)
			return filepath.SkipAll
		}
		return nil
	})
}
