package main

import (
	"crypto/sha1"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/nix-community/go-nix/pkg/nixbase32"
)

// plan decides everything about the store from its size alone.
func plan(n int) []*path {
	random := rand.New(rand.NewPCG(uint64(n), 0x6e6978))
	paths := make([]*path, 0, n+n/perSet)
	heads := map[*path]bool{} // what nothing refers to
	for i := range n {
		p := &path{name: storeName("path", i)}
		if i%5 != 0 {
			p.deriver = storeName("path", i) + ".drv"
		}
		for range min(random.IntN(maxRefs+1), i) {
			// Half of all references go to the oldest hundredth: a store has a C
			// library, and most of the newest paths have no user.
			ref := paths[random.IntN(i)]
			if random.IntN(2) == 0 {
				ref = paths[random.IntN(i/100+1)]
			}
			if !slices.Contains(p.refs, ref) {
				p.refs = append(p.refs, ref)
				delete(heads, ref)
			}
		}
		p.fill(random)
		paths = append(paths, p)
		heads[p] = true
	}
	return gather(paths, heads, random)
}

// gather puts the heads under set paths and those under the top path.
func gather(paths []*path, heads map[*path]bool, random *rand.Rand) []*path {
	var loose []*path
	for _, p := range paths {
		if heads[p] {
			loose = append(loose, p)
		}
	}
	var sets []*path
	for refs := range slices.Chunk(loose, perSet) {
		sets = append(sets, &path{name: storeName("set", len(sets)), refs: refs})
	}
	top := &path{name: storeName("top", len(paths)), refs: sets}
	sets = append(sets, top)
	for _, p := range sets {
		p.fill(random)
	}
	return append(paths, sets...)
}

// fill makes up the contents: the references by name, so that a scan finds them,
// then bytes of which a compressor saves about a half, as with programs.
func (p *path) fill(random *rand.Rand) {
	var text []byte
	for _, ref := range p.refs {
		text = fmt.Appendf(text, "/nix/store/%s\n", ref.name)
	}
	size := minContent + random.IntN(maxContent-minContent+1)
	for len(text) < size {
		text = append(text, "0123456789abcdef"[random.IntN(16)])
	}
	p.files = map[string][]byte{"": text}
	if random.IntN(3) > 0 {
		cut := random.IntN(len(text))
		p.files = map[string][]byte{"bin": text[:cut], "share": text[cut:]}
	}
}

func storeName(kind string, i int) string {
	sum := sha1.Sum(fmt.Appendf(nil, "synthetic %s %d", kind, i))
	return fmt.Sprintf("%s-%s-%d", nixbase32.EncodeToString(sum[:]), kind, i)
}
