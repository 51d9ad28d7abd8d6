package fsck_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/signer"
)

// TestDamage damages a whole tree in one way at a time, and expects to be told
// of that and of nothing else.
func TestDamage(t *testing.T) {
	zstd := func(t *testing.T, data []byte) []byte { return compressed(t, compress.Zstd, data) }
	for _, c := range []struct {
		name   string
		damage func(p *patient)
		quick  []string // problems
		deep   []string // nil: as quick; all: quick's come first
		notes  []string
	}{
		{name: "no cache info", damage: func(p *patient) { p.remove(layout.CacheInfoKey) },
			quick: []string{"no-cache-info nix-cache-info"}},
		{name: "web page for a cache info", damage: func(p *patient) { p.set(layout.CacheInfoKey, []byte("<html>")) },
			quick: []string{"bad-cache-info nix-cache-info"}},
		{name: "endless cache info", damage: func(p *patient) { p.set(layout.CacheInfoKey, bytes.Repeat([]byte("x: y\n"), 20_000)) },
			quick: []string{"bad-cache-info nix-cache-info"}},
		{name: "NAR named by no hash", damage: func(p *patient) { p.set(layout.Key("nar/"+strings.Repeat("z", 52)+".nar"), []byte("x")) },
			quick: []string{"malformed-key nar/" + strings.Repeat("z", 52) + ".nar"},
			notes: []string{"unreferenced-nar nar/" + strings.Repeat("z", 52) + ".nar"}},

		{name: "narinfo cut off", damage: func(p *patient) {
			p.Damage(p.narInfo("env"), func(b []byte) []byte { return b[:len(b)-1] })
		}, quick: []string{"bad-narinfo {env}.narinfo"}, notes: []string{"unreferenced-nar {env.nar}"}},
		{name: "narinfo empty", damage: func(p *patient) { p.set(p.narInfo("env"), nil) },
			quick: []string{"bad-narinfo {env}.narinfo"}, notes: []string{"unreferenced-nar {env.nar}"}},
		{name: "narinfo of another store", damage: func(p *patient) {
			p.set(p.narInfo("env"), bytes.ReplaceAll(p.bytes(p.narInfo("env")), []byte("/nix/store"), []byte("/gnu/store")))
		}, quick: []string{"bad-narinfo {env}.narinfo"}, notes: []string{"unreferenced-nar {env.nar}"}},
		{name: "narinfos swapped", damage: func(p *patient) {
			a, b := p.bytes(p.narInfo("env")), p.bytes(p.narInfo("app"))
			p.set(p.narInfo("env"), b)
			p.set(p.narInfo("app"), a)
		}, quick: []string{"wrong-name app", "wrong-name env"}},
		{name: "narinfo under a new name", damage: func(p *patient) {
			p.set("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz.narinfo", p.bytes(p.narInfo("env")))
		}, quick: []string{"wrong-name env"}},
		{name: "absolute URL", damage: func(p *patient) {
			p.edit("env", func(n *layout.NarInfo) { n.URL = "https://example.org/" + n.URL })
		}, quick: []string{"bad-url env"}, notes: []string{"unreferenced-nar {env.nar}"}},
		{name: "URL out of the tree", damage: func(p *patient) {
			p.edit("env", func(n *layout.NarInfo) { n.URL = "../" + n.URL })
		}, quick: []string{"bad-url env"}, notes: []string{"unreferenced-nar {env.nar}"}},
		{name: "URL of a listing", damage: func(p *patient) {
			p.edit("env", func(n *layout.NarInfo) { n.URL = string(p.listing("env")) })
		}, quick: []string{"bad-url env"}, notes: []string{"unreferenced-nar {env.nar}"}},

		{name: "NAR gone", damage: func(p *patient) { p.remove(p.nar("lib")) },
			quick: []string{"missing-nar lib"}},
		{name: "shared NAR gone", damage: func(p *patient) { p.remove(p.nar("twin")) },
			quick: []string{"missing-nar source", "missing-nar twin"}},
		{name: "NAR with debug files gone", damage: func(p *patient) { p.remove(p.nar("lib-debug")) },
			quick: []string{"missing-nar lib-debug",
				"dangling-debuginfo debuginfo/abcdef0123456789abcdef0123456789abcdef01",
				"dangling-debuginfo debuginfo/abcdef0123456789abcdef0123456789abcdef01.debug",
				"dangling-debuginfo debuginfo/abffff0123456789abcdef0123456789abcdef01",
				"dangling-debuginfo debuginfo/abffff0123456789abcdef0123456789abcdef01.debug"}},
		{name: "NAR cut off", damage: func(p *patient) {
			p.Damage(p.nar("app"), func(b []byte) []byte { return b[:len(b)/2] })
		}, quick: []string{"file-size app"}, deep: []string{"file-hash app"}},
		{name: "NAR emptied", damage: func(p *patient) { p.set(p.nar("app"), nil) },
			quick: []string{"file-size app"}, deep: []string{"file-hash app"}},
		{name: "bit of a NAR flipped", damage: func(p *patient) {
			p.Damage(p.nar("app"), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, deep: []string{"file-hash app"}},
		{name: "NARs swapped", damage: func(p *patient) {
			a, b := p.bytes(p.nar("env")), p.bytes(p.nar("flat"))
			p.set(p.nar("env"), b)
			p.set(p.nar("flat"), a)
		}, quick: []string{"file-size env", "file-size flat"}, deep: []string{"file-hash env", "file-hash flat"}},
		{name: "NAR compressed anew in place", damage: func(p *patient) {
			// Two frames where there was one: same content, another file.
			archive := p.closure.Named("env").NAR
			p.set(p.nar("env"), append(zstd(p.t, archive[:50]), zstd(p.t, archive[50:])...))
		}, quick: []string{"file-size env"}, deep: []string{"file-hash env"}},
		{name: "other FileHash", damage: func(p *patient) {
			p.edit("env", func(n *layout.NarInfo) { n.FileHash = n.NarHash })
		}, quick: []string{"file-hash env"}},
		{name: "other FileSize", damage: func(p *patient) {
			p.edit("env", func(n *layout.NarInfo) { n.FileSize++ })
		}, quick: []string{"file-size env"}},
		{name: "no FileHash", damage: func(p *patient) {
			p.edit("env", func(n *layout.NarInfo) { n.FileHash, n.FileSize = layout.Hash{}, 0 })
		}, notes: []string{"no-file-hash env"}},

		{name: "NAR of another path", damage: func(p *patient) {
			p.store("env", zstd(p.t, p.closure.Named("lib").NAR), compress.Zstd)
		}, deep: []string{"nar-hash env"}},
		{name: "truncated archive", damage: func(p *patient) {
			archive := p.closure.Named("app").NAR
			p.store("app", zstd(p.t, archive[:len(archive)-8]), compress.Zstd)
		}, deep: []string{"bad-nar app"}},
		{name: "archive with more behind it", damage: func(p *patient) {
			p.store("env", zstd(p.t, append(slices.Clone(p.closure.Named("env").NAR), 0)), compress.Zstd)
		}, deep: []string{"nar-size env"}},
		{name: "decompression bomb", damage: func(p *patient) {
			p.store("env", zstd(p.t, append(slices.Clone(p.closure.Named("app").NAR), make([]byte, 64<<20)...)), compress.Zstd)
		}, deep: []string{"nar-size env"}},
		{name: "unsorted archive", damage: func(p *patient) {
			archive := slices.Clone(p.closure.Named("source").NAR)
			archive = bytes.Replace(archive, []byte("README"), []byte("zEADME"), 1)
			p.store("twin", zstd(p.t, archive), compress.Zstd)
			p.edit("twin", func(n *layout.NarInfo) { n.NarHash = sha256.Sum256(archive) })
			p.set(p.nar("source"), zstd(p.t, p.closure.Named("source").NAR)) // store removed the shared one
		}, deep: []string{"bad-nar twin"}},
		{name: "other compression than it says", damage: func(p *patient) {
			p.edit("env", func(n *layout.NarInfo) { n.Compression = compress.Xz })
		}, deep: []string{"bad-nar env"}},
		{name: "other compression of a shared NAR", damage: func(p *patient) {
			p.edit("twin", func(n *layout.NarInfo) { n.Compression = compress.Xz })
		}, deep: []string{"bad-nar twin"}},
		{name: "no compression where there is one", damage: func(p *patient) {
			p.edit("lib", func(n *layout.NarInfo) { n.Compression = compress.None })
		}, deep: []string{"bad-nar lib"}},
		{name: "compressed data cut off", damage: func(p *patient) {
			file := p.bytes(p.nar("env"))
			p.store("env", file[:len(file)-1], compress.Zstd)
		}, deep: []string{"bad-nar env"}},
		{name: "other NarHash", damage: func(p *patient) {
			p.edit("lib", func(n *layout.NarInfo) { n.NarHash[0] ^= 1 })
		}, deep: []string{"nar-hash lib"}},
		{name: "other NarHash of one of two", damage: func(p *patient) {
			p.edit("twin", func(n *layout.NarInfo) { n.NarHash[0] ^= 1 })
		}, deep: []string{"nar-hash twin"}},
		{name: "smaller NarSize", damage: func(p *patient) {
			p.edit("lib", func(n *layout.NarInfo) { n.NarSize -= 8 })
		}, deep: []string{"nar-size lib"}},
		{name: "greater NarSize", damage: func(p *patient) {
			p.edit("lib", func(n *layout.NarInfo) { n.NarSize += 8 })
		}, deep: []string{"nar-size lib"}},

		{name: "NAR named by nothing", damage: func(p *patient) { p.rename("lib", uuidKey, false) }},
		{name: "NAR named by nothing, damaged", damage: func(p *patient) {
			p.rename("lib", uuidKey, false)
			p.Damage(uuidKey, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, deep: []string{"file-hash lib"}},
		{name: "NAR named by nothing, without FileHash, damaged", damage: func(p *patient) {
			p.rename("lib", uuidKey, true)
			p.Damage(uuidKey, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, deep: []string{"bad-nar lib"}, notes: []string{"no-file-hash lib"}},
		{name: "NAR named by nothing, gone", damage: func(p *patient) {
			p.rename("lib", uuidKey, false)
			p.remove(uuidKey)
		}, quick: []string{"missing-nar lib"}},
		{name: "NAR named by the hash of its path", damage: func(p *patient) {
			p.rename("lib", layout.Key("nar/"+p.path("lib").Hash()+".nar"), true)
		}, notes: []string{"no-file-hash lib"}},
		{name: "NAR named in hexadecimal", damage: func(p *patient) {
			sum := p.record("lib").FileHash
			p.rename("lib", layout.Key("nar/"+hex.EncodeToString(sum[:])+".nar.zst"), false)
		}},
		{name: "NAR named in hexadecimal, damaged", damage: func(p *patient) {
			sum := p.record("lib").FileHash
			key := layout.Key("nar/" + hex.EncodeToString(sum[:]) + ".nar.zst")
			p.rename("lib", key, true)
			p.Damage(key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, deep: []string{"file-hash lib"}, notes: []string{"no-file-hash lib"}},
		{name: "NAR named by its own hash", damage: func(p *patient) {
			p.rename("lib", layout.NARKey(p.narHash("lib"), ".zst"), false)
		}},
		{name: "NAR named by its own hash, damaged", damage: func(p *patient) {
			key := layout.NARKey(p.narHash("lib"), ".zst")
			p.rename("lib", key, true)
			p.Damage(key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, deep: []string{"file-hash lib"}, notes: []string{"no-file-hash lib"}},
		{name: "NAR named by its own hash, another NAR", damage: func(p *patient) {
			key := layout.NARKey(p.narHash("lib"), ".zst")
			p.rename("lib", key, true)
			p.set(key, zstd(p.t, p.closure.Named("app").NAR))
		}, deep: []string{"file-hash lib"}, notes: []string{"no-file-hash lib"}},
		{name: "NAR named by its own hash that no one needs", damage: func(p *patient) {
			p.set(layout.NARKey(sha256.Sum256(p.closure.Named("app").NAR), ".zst"), zstd(p.t, p.closure.Named("app").NAR))
		}, notes: []string{"unreferenced-nar nar/{app.own}"}},
		{name: "NAR named as when it was compressed otherwise", damage: func(p *patient) {
			p.rename("lib", layout.NARKey(layout.Hash{1}, ""), true)
		}, notes: []string{"no-file-hash lib"}},
		{name: "NAR with a query in its URL", damage: func(p *patient) {
			p.edit("lib", func(n *layout.NarInfo) { n.URL += "?hash=" + n.Path.Hash() })
		}},
		{name: "NAR with a query in its name", damage: func(p *patient) {
			p.rename("lib", p.nar("lib")+"?hash=x", false)
		}},
		{name: "NAR named by a hash of neither", damage: func(p *patient) {
			p.rename("lib", layout.NARKey(layout.Hash{1}, ".zst"), false)
		}, quick: []string{"file-hash lib"}},

		{name: "reference gone", damage: func(p *patient) {
			p.remove(p.narInfo("flat"))
		}, quick: []string{"missing-reference app"},
			notes: []string{"unreferenced-nar {flat.nar}", "unreferenced-listing {flat}.ls"}},
		{name: "reference to nowhere", damage: func(p *patient) {
			p.edit("twin", func(n *layout.NarInfo) {
				n.References = []layout.StorePath{"00000000000000000000000000000000-nowhere"}
			})
		}, quick: []string{"missing-reference twin"}},

		{name: "listing gone", damage: func(p *patient) { p.remove(p.listing("app")) },
			quick: []string{"missing-listing app"}},
		{name: "listing cut off", damage: func(p *patient) {
			p.Damage(p.listing("app"), func(b []byte) []byte { return b[:len(b)-1] })
		}, quick: []string{"bad-listing app"}},
		{name: "listing of a later version", damage: func(p *patient) {
			p.Damage(p.listing("app"), func(b []byte) []byte { return bytes.Replace(b, []byte(`"version":1`), []byte(`"version":2`), 1) })
		}, quick: []string{"bad-listing app"}},
		{name: "listings swapped", damage: func(p *patient) {
			a, b := p.bytes(p.listing("app")), p.bytes(p.listing("lib"))
			p.set(p.listing("app"), b)
			p.set(p.listing("lib"), a)
		}, deep: []string{"listing-differs app", "listing-differs lib"}},
		{name: "listing with another size in it", damage: func(p *patient) {
			p.Damage(p.listing("lib"), func(b []byte) []byte { return bytes.Replace(b, []byte(`"size":3`), []byte(`"size":4`), 1) })
		}, deep: []string{"listing-differs lib"}},
		{name: "listing with frames that the file does not have", damage: func(p *patient) {
			p.Damage(p.listing("lib"), withFrames(p.record("lib").FileHash.String(), "[1,2],[3,4]"))
		}, deep: []string{"listing-differs lib"}},
		{name: "listing with the frames of another file", damage: func(p *patient) {
			p.Damage(p.listing("lib"), withFrames(p.record("app").FileHash.String(), "[1,2],[3,4]"))
		}},
		{name: "listing with frames that make no sense", damage: func(p *patient) {
			p.Damage(p.listing("lib"), withFrames(p.record("lib").FileHash.String(), "[0,2],[3,4]"))
		}, quick: []string{"bad-listing lib"}},
		{name: "listing as an older Nix writes it", damage: func(p *patient) {
			p.Damage(p.listing("lib"), func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"executable":false,`), nil) })
		}},

		{name: "link is no JSON", damage: func(p *patient) { p.set(debugKey, []byte("\x7fELF")) },
			quick: []string{"bad-debuginfo " + string(debugKey)}},
		{name: "link out of the tree", damage: func(p *patient) {
			p.set(debugKey, []byte(`{"archive":"../../nar/x","member":"x"}`))
		}, quick: []string{"bad-debuginfo " + string(debugKey)}},
		{name: "link to no NAR", damage: func(p *patient) {
			p.set(debugKey, []byte(`{"archive":"../index.html","member":"x"}`))
		}, quick: []string{"bad-debuginfo " + string(debugKey)}},
		{name: "link without a member", damage: func(p *patient) {
			p.set(debugKey, []byte(`{"archive":"../`+p.nar("lib-debug")+`"}`))
		}, quick: []string{"bad-debuginfo " + string(debugKey)}},
		{name: "link to a NAR that is not there", damage: func(p *patient) {
			link, _, _ := layout.ParseDebugLink(debugKey, p.bytes(debugKey))
			p.set(debugKey, link.Marshal(layout.Key("nar/"+strings.Repeat("0", 52)+".nar.zst")))
		}, quick: []string{"dangling-debuginfo " + string(debugKey)}},
		{name: "link to a file that is not there", damage: func(p *patient) {
			const other = "abcdee0123456789abcdef0123456789abcdef01"
			link := layout.DebugLink{ID: other, Member: "lib/debug/.build-id/ab/" + other[2:] + ".debug"}
			p.set(link.Keys()[0], link.Marshal(layout.Key(p.nar("lib-debug"))))
		}, deep: []string{"dangling-debuginfo lib-debug"}},
		{name: "link to another file that is not there", damage: func(p *patient) {
			p.Damage(debugKey, func(b []byte) []byte { return bytes.Replace(b, []byte("cdef"), []byte("cdee"), 1) })
		}, deep: []string{"dangling-debuginfo lib-debug"}},
		{name: "link to a directory", damage: func(p *patient) {
			p.set(debugKey, []byte(`{"archive":"../`+p.nar("lib-debug")+`","member":"lib/debug"}`))
		}, deep: []string{"dangling-debuginfo lib-debug"}},

		{name: "realisation is no JSON", damage: func(p *patient) { p.set(realisationKey, []byte("out")) },
			quick: []string{"bad-realisation " + string(realisationKey)}},
		{name: "realisation of another derivation", damage: func(p *patient) {
			p.Damage(realisationKey, func(b []byte) []byte { return bytes.Replace(b, []byte("0123"), []byte("3210"), 1) })
		}, quick: []string{"bad-realisation " + string(realisationKey)}},
		{name: "realisation of a path that is not there", damage: func(p *patient) {
			p.Damage(realisationKey, func(b []byte) []byte {
				return bytes.Replace(b, []byte(p.path("app")), []byte("00000000000000000000000000000000-gone"), 1)
			})
		}, notes: []string{"dangling-realisation gone"}},

		{name: "address of other content", damage: func(p *patient) {
			p.edit("env", func(n *layout.NarInfo) { n.CA = p.record("flat").CA })
		}, quick: []string{"wrong-ca env"}},
		{name: "address that may not refer", damage: func(p *patient) {
			p.edit("flat", func(n *layout.NarInfo) { n.References = []layout.StorePath{p.path("source")} })
		}, quick: []string{"wrong-ca flat"}},
		{name: "address of an unknown kind", damage: func(p *patient) {
			p.edit("env", func(n *layout.NarInfo) { n.CA = "fixed:r:sha3:" + n.NarHash.Nix32() })
		}, notes: []string{"unknown-ca env"}},
		{name: "address by an algorithm that is not computed, to another path", damage: func(p *patient) {
			p.edit("env", func(n *layout.NarInfo) { n.CA = "fixed:r:blake3:" + n.NarHash.Nix32() })
		}, quick: []string{"wrong-ca env"}},
		{name: "content-addressed path with other content", damage: func(p *patient) {
			// All is consistent but that the bytes do not hash to the address.
			archive := bytes.Replace(p.closure.Named("flat").NAR, []byte("just"), []byte("JUST"), 1)
			p.store("flat", zstd(p.t, archive), compress.Zstd)
			p.edit("flat", func(n *layout.NarInfo) { n.NarHash = sha256.Sum256(archive) })
		}, deep: []string{"wrong-ca flat"}},
		{name: "self-reference elsewhere", damage: func(p *patient) {
			archive := slices.Clone(p.closure.Named("selfish").NAR)
			copy(archive[bytes.Index(archive, []byte(p.path("selfish").Hash())):], make([]byte, 32))
			p.store("selfish", zstd(p.t, archive), compress.Zstd)
			p.edit("selfish", func(n *layout.NarInfo) { n.NarHash = sha256.Sum256(archive) })
		}, deep: []string{"wrong-ca selfish"}},

		{name: "NAR that no one needs", damage: func(p *patient) { p.set(narKey("orphan"), []byte("orphan")) },
			notes: []string{"unreferenced-nar " + string(narKey("orphan"))}},
		{name: "NAR that no one needs yet, damaged", damage: func(p *patient) { p.set(narKey("orphan"), []byte("orphaN")) },
			deep:  []string{"file-hash " + string(narKey("orphan"))},
			notes: []string{"unreferenced-nar " + string(narKey("orphan"))}},
		{name: "listing that no one needs", damage: func(p *patient) { p.set("00000000000000000000000000000000.ls", []byte("{}")) },
			notes: []string{"unreferenced-listing 00000000000000000000000000000000.ls"}},
		{name: "foreign files", damage: func(p *patient) {
			p.set("README", nil)
			p.set("nar/x.nar.xz.tmp.1234.5", nil)
		}, notes: []string{"foreign-file README", "foreign-file nar/x.nar.xz.tmp.1234.5"}},
		{name: "staging", damage: func(p *patient) {
			p.set(".nixstatic/staging/12-ab/1", nil)
			p.set(".nixstatic/lock", nil)
		}, notes: []string{"unfinished-file .nixstatic/staging/12-ab/1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t)
			names := []string{}
			for _, path := range p.closure.Paths {
				name := path.Info.Path.Name()
				names = append(names, "{"+name+"}", path.Info.Path.Hash(), "{"+name+".nar}", string(p.nar(name)),
					"{"+name+".own}", p.narHash(name).Nix32()+".nar.zst")
			}
			expand := func(texts []string) []string {
				var out []string
				for _, text := range texts {
					out = append(out, strings.NewReplacer(names...).Replace(text))
				}
				slices.Sort(out)
				return out
			}
			c.damage(p)
			for _, deep := range []bool{false, true} {
				want := slices.Clone(c.quick)
				if deep {
					want = append(want, c.deep...)
				}
				problems, notes, errs := p.check(p.Mem, fsck.Options{Deep: deep, Trusted: signer.Trusted{p.key.Public()}})
				slices.Sort(problems)
				slices.Sort(notes)
				if diff := cmp.Diff(expand(want), problems); diff != "" {
					t.Errorf("deep %t: problems (-want +got):\n%s", deep, diff)
				}
				if diff := cmp.Diff(expand(c.notes), notes); diff != "" {
					t.Errorf("deep %t: notes (-want +got):\n%s", deep, diff)
				}
				if len(errs) > 0 {
					t.Errorf("deep %t: errors %v", deep, errs)
				}
				if err := fsck.Whole(t.Context(), p.Mem, fsck.Options{Deep: deep}); (err != nil) != (len(want) > 0) {
					t.Errorf("deep %t: Whole = %v", deep, err)
				}
			}
		})
	}
}

// withFrames adds frames of a file to a listing.
func withFrames(file, frames string) func([]byte) []byte {
	return func(b []byte) []byte {
		return bytes.Replace(b, []byte(`,"version":1}`), []byte(`,"seek":{"file":"`+file+`","frames":[`+frames+`]},"version":1}`), 1)
	}
}
