//go:build real

package siege_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

func madeUp(alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rand.IntN(len(alphabet))]
	}
	return string(b)
}

// issuer is one whose tokens the server takes, and that does not answer.
const issuer = "https://127.0.0.1:9/"

const nix32 = "0123456789abcdfghijklmnpqrsvwxyz"

func hash() string { return madeUp(nix32, 32) }
func sum() string  { return "1" + madeUp(nix32, 51) } // of 256 bits
func nar() string  { return "/upload/nar/" + sum() + ".nar.zst" }

func put(path string, size int) string {
	return fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", path, size)
}

// narinfo is a record of a path that no client has, with references to others.
func narinfo(name string, references int, extra string) string {
	refs := make([]string, references)
	for i := range refs {
		refs[i] = hash() + "-missing"
	}
	file := sum()
	return fmt.Sprintf("StorePath: /nix/store/%s-evil\nURL: nar/%s.nar\nCompression: none\nFileHash: sha256:%s\nFileSize: 200\nNarHash: sha256:%s\nNarSize: 200\nReferences: %s\n%s",
		name, file, file, file, strings.Join(refs, " "), extra)
}

// claim is a record of a NAR that is there, with a content address that only
// reading the NAR can refute.
func claim(target string) (name, text string) {
	ca := layout.ContentAddress{}
	for ; ca.Algo == ""; ca, _ = layout.ParseContentAddress("fixed:r:sha1:" + madeUp(nix32, 32)) {
	}
	path, err := ca.Path(layout.DefaultStoreDir, "evil", nil, false)
	if err != nil {
		panic(err)
	}
	file := strings.TrimSuffix(strings.TrimPrefix(target, "/nar/"), ".nar")
	return path.Hash(), fmt.Sprintf("StorePath: /nix/store/%s\nURL: nar/%s.nar\nCompression: none\nNarHash: sha256:%s\nNarSize: %d\nReferences: \nCA: %s\n",
		path, file, file, 32<<20, ca)
}

// attacks are those on a server that speaks HTTP/1.
var attacks = map[string]attack{
	"PROPFIND of names that are long": {stranger: true, do: func(ctx context.Context, a *attacker) {
		body := `<D:propfind xmlns:D="DAV:" xmlns:Z="` + strings.Repeat("u", 40_000) + `"><D:prop>` + strings.Repeat("<Z:a/>", 60) + "</D:prop></D:propfind>"
		a.send(ctx, "PROPFIND", "/nar/", strings.NewReader(body), "Depth: 1")
	}},
	"PROPFIND that is not read": {stranger: true, do: func(ctx context.Context, a *attacker) {
		a.hold(ctx, "PROPFIND /nar/ HTTP/1.1\r\nHost: x\r\nDepth: 1\r\n\r\n", 0, time.Second)
	}},
	"PROPFIND of folders that are not there": {do: func(ctx context.Context, a *attacker) {
		a.send(ctx, "PROPFIND", "/upload/realisations/"+hash(), nil, "Depth: 0")
	}},
	"PROPPATCH": {do: func(ctx context.Context, a *attacker) {
		body := `<D:propertyupdate xmlns:D="DAV:" xmlns:Z="` + strings.Repeat("u", 30_000) + `"><D:set><D:prop>` + strings.Repeat("<Z:a/>", 1000) + "</D:prop></D:set></D:propertyupdate>"
		a.send(ctx, "PROPPATCH", "/upload/nix-cache-info", strings.NewReader(body))
	}},
	"PROPPATCH of values in long namespaces": {do: func(ctx context.Context, a *attacker) {
		body := `<D:propertyupdate xmlns:D="DAV:" xmlns:Z="` + strings.Repeat("u", 30_000) + `"><D:set><D:prop><D:x>` + strings.Repeat("<Z:a/>", 4000) + "</D:x></D:prop></D:set></D:propertyupdate>"
		a.send(ctx, "PROPPATCH", "/upload/nix-cache-info", strings.NewReader(body))
	}},
	"bodies of WebDAV that do not end": {stranger: true, copies: 100, do: func(ctx context.Context, a *attacker) {
		a.hold(ctx, "PROPFIND /nar/ HTTP/1.1\r\nHost: x\r\nDepth: 1\r\nContent-Length: 65536\r\n\r\n"+strings.Repeat("x", 65_000), 1, time.Second)
	}},
	"small pieces of NARs": {do: func(ctx context.Context, a *attacker) {
		a.send(ctx, "PUT", nar(), strings.NewReader("x"), "Content-Range: bytes 33554432-33554432/33554433")
		a.send(ctx, "PUT", nar(), http.NoBody, "Content-Range: bytes */300000000000")
	}},
	"outcomes of pieces that are not asked for": {do: func(ctx context.Context, a *attacker) {
		path := nar()
		a.send(ctx, "PUT", path, strings.NewReader("x"), "Content-Range: bytes 0-0/1")
		a.hold(ctx, strings.Replace(put(path, 0), "\r\n", "\r\nContent-Range: bytes */1\r\n", 1), 0, pause)
	}},
	"runs": {do: func(ctx context.Context, a *attacker) {
		run := "/upload/root/" + hash() + "/" + hash() + "/"
		a.send(ctx, "PUT", run+hash()+".narinfo", strings.NewReader("x"))
		a.send(ctx, "POST", run+"?missing", strings.NewReader(hash()+"\n"))
		a.send(ctx, "GET", "/upload/root"+strings.Repeat("/a", 8000)+"/nix-cache-info", nil)
	}},
	"folders and files that move": {do: func(ctx context.Context, a *attacker) {
		a.send(ctx, "MKCOL", "/upload/realisations/"+hash(), nil)
		for _, method := range []string{"DELETE", "MOVE", "COPY"} {
			a.send(ctx, method, a.target[:5]+"../upload"+a.target, nil, "Destination: /upload/nar/x", "Depth: infinity")
			a.send(ctx, method, "/upload"+a.target, nil, "Destination: /upload/nar/x", "Depth: infinity")
		}
	}},
	"ID tokens that nobody signed": {stranger: true, do: func(ctx context.Context, a *attacker) {
		part := base64.RawURLEncoding.EncodeToString
		token := part([]byte(`{"alg":"RS256","kid":"`+hash()+`"}`)) + "." + part([]byte(`{"iss":"`+issuer+`","sub":"`+strings.Repeat("x", 8000)+`"}`)) + "." + part([]byte(hash()))
		form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"}, "subject_token": {token}}
		a.send(ctx, "POST", "/?token", strings.NewReader(form.Encode()), "Content-Type: application/x-www-form-urlencoded")
	}},
	"ID tokens that trickle in": {stranger: true, copies: 20, do: func(ctx context.Context, a *attacker) {
		a.hold(ctx, strings.Replace(put("/?token", 60_000), "PUT", "POST", 1), 1, time.Second)
	}},
	"long questions": {do: func(ctx context.Context, a *attacker) {
		var hashes strings.Builder
		for range 10_000 {
			hashes.WriteString(hash() + "\n")
		}
		a.send(ctx, "POST", "/upload/?missing", strings.NewReader(hashes.String()))
	}},
	"LOCK": {do: func(ctx context.Context, a *attacker) {
		body := `<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>`
		for _, path := range []string{"/upload/", "/upload/nar/", "/upload/" + hash() + ".narinfo"} {
			a.send(ctx, "LOCK", path, strings.NewReader(body), "Depth: infinity", "Timeout: Infinite")
		}
	}},
	"early listings": {do: func(ctx context.Context, a *attacker) {
		text := `{"version":1,"root":{"type":"directory","entries":{}}}` + strings.Repeat(" ", 1<<20)
		a.send(ctx, "PUT", "/upload/"+hash()+".ls", strings.NewReader(text))
	}},
	"held narinfos": {do: func(ctx context.Context, a *attacker) {
		name := hash()
		a.send(ctx, "PUT", "/upload/"+name+".narinfo", strings.NewReader(narinfo(name, 50, "")))
	}},
	"signatures": {do: func(ctx context.Context, a *attacker) {
		name := hash()
		a.send(ctx, "PUT", "/upload/"+name+".narinfo", strings.NewReader(narinfo(name, 0, strings.Repeat("Sig: x:"+strings.Repeat("A", 86)+"==\n", 10_000))))
	}},
	"content addresses of large NARs": {do: func(ctx context.Context, a *attacker) {
		name, text := claim(a.target)
		a.send(ctx, "PUT", "/upload/"+name+".narinfo", strings.NewReader(text))
	}},
	"NARs that trickle in": {do: func(ctx context.Context, a *attacker) { a.hold(ctx, put(nar(), 1<<30)+skip, 4<<10, 2*time.Second) }},
	"logs that trickle in": {do: func(ctx context.Context, a *attacker) {
		a.hold(ctx, put("/upload/log/"+hash()+"-x.drv", 1<<30), 4<<10, 2*time.Second)
	}},
	"records that trickle in": {do: func(ctx context.Context, a *attacker) {
		a.hold(ctx, put("/upload/"+hash()+".narinfo", 1<<20), 100, time.Second)
	}},
	"bodies that are compressed": {do: func(ctx context.Context, a *attacker) {
		a.hold(ctx, strings.Replace(put("/upload/"+hash()+".ls", 1<<30), "\r\n", "\r\nContent-Encoding: zstd\r\n", 1)+skip, 4<<10, 2*time.Second)
	}},
	"bodies that take long to decompress": {do: func(ctx context.Context, a *attacker) {
		for _, path := range []string{"/upload/" + hash() + ".narinfo", "/upload/" + hash() + ".ls", "/upload/log/" + hash() + "-x.drv"} {
			a.send(ctx, "PUT", path, strings.NewReader(strings.Repeat(emptyFrame, 1<<15)), "Content-Encoding: zstd")
		}
	}},
	"what stands": {do: func(ctx context.Context, a *attacker) {
		for _, name := range []string{"nix-cache-info", "%6eix-cache-info", honestLog, "log/./" + honestLog[4:], strings.Replace(honestLog, "-", "%2d", 1)} {
			a.send(ctx, "PUT", "/upload/"+name, strings.NewReader("StoreDir: /nix/store\nPriority: 1\n"), "If-Match: *", "Overwrite: T")
		}
	}},
	"windows of 128 MiB": {do: func(ctx context.Context, a *attacker) { a.hold(ctx, put(nar(), 1<<20)+wide(), 0, time.Second) }},
	"NARs of a GiB in little": {do: func(ctx context.Context, a *attacker) {
		a.send(ctx, "PUT", nar(), &bomb{left: 1 << 30})
	}},
	"files that are announced": {do: func(ctx context.Context, a *attacker) {
		a.hold(ctx, put(nar(), 1<<50), 0, time.Second)
		a.hold(ctx, put(nar(), 2<<30), 4<<10, 2*time.Second)
	}},
	"clients that go while they wait": {do: func(ctx context.Context, a *attacker) {
		ctx, leave := context.WithTimeout(ctx, pause)
		defer leave()
		a.hold(ctx, put(nar(), 1<<20), 10, pause/2)
	}},
	"debug links and logs of others": {do: func(ctx context.Context, a *attacker) {
		a.send(ctx, "PUT", "/upload/debuginfo/"+madeUp("0123456789abcdef", 40)+".debug", strings.NewReader(`{"archive":"../nar/`+sum()+`.nar","member":"x"}`))
		a.send(ctx, "PUT", "/upload/log/"+hash()+"-x.drv", strings.NewReader("evil"))
	}},
	"realisations": {do: func(ctx context.Context, a *attacker) {
		id := "sha256:" + madeUp("0123456789abcdef", 64) + "!out"
		var dependents []string
		for range 1000 {
			dependents = append(dependents, fmt.Sprintf(`"sha256:%s!out":"%s-x"`, madeUp("0123456789abcdef", 64), hash()))
		}
		a.send(ctx, "PUT", "/upload/realisations/"+id+".doi", strings.NewReader(fmt.Sprintf(`{"dependentRealisations":{%s},"id":"%s","outPath":"%s-x","signatures":[]}`,
			strings.Join(dependents, ","), id, hash())))
	}},
	"pages": {do: func(ctx context.Context, a *attacker) {
		for _, name := range []string{"index.html", "favicon.svg"} {
			a.send(ctx, "PUT", "/upload/"+name, strings.NewReader("<script>alert(1)</script>"))
		}
	}},
	"notes": {do: func(ctx context.Context, a *attacker) {
		a.send(ctx, "PUT", "/upload/._"+hash(), strings.NewReader(strings.Repeat("x", 60<<10)))
	}},
	"headers that trickle in": {stranger: true, do: func(ctx context.Context, a *attacker) { a.hold(ctx, "GET / HTTP/1.1\r\nX: ", 1, time.Second) }},
	"heads of many headers": {stranger: true, copies: 5, do: func(ctx context.Context, a *attacker) {
		a.hold(ctx, "GET "+a.target+" HTTP/1.1\r\nHost: x\r\n"+strings.Repeat("a:\r\n", 6000), 1, time.Second)
	}},
	"connections": {stranger: true, copies: 500, do: func(ctx context.Context, a *attacker) { a.hold(ctx, "", 0, time.Second) }},
	"answers that are not read": {stranger: true, copies: 20, do: func(ctx context.Context, a *attacker) {
		a.hold(ctx, "GET "+a.target+" HTTP/1.1\r\nHost: x\r\n\r\n", 0, time.Second)
	}},
	"many requests at once": {stranger: true, do: func(ctx context.Context, a *attacker) {
		a.hold(ctx, strings.Repeat("GET /"+hash()+".narinfo HTTP/1.1\r\nHost: x\r\n\r\n", 200), 0, time.Second)
	}},
	"ranges": {stranger: true, do: func(ctx context.Context, a *attacker) {
		a.send(ctx, "GET", a.target, nil, "Range: bytes=0-0"+strings.Repeat(",2-2", 5000))
	}},
}

// honestLog is a build log that stands before the attackers come.
var honestLog = "log/" + strings.Repeat("0", 32) + "-honest.drv"

// emptyFrame is a frame of zstd with nothing in it, and the largest window.
const emptyFrame = "\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00"

// skip begins a frame of zstd that is skipped, and long.
const skip = "\x50\x2a\x4d\x18\x00\x00\x00\x40"

// wide begins a frame of zstd with the largest window, and fills that.
func wide() string {
	var b bytes.Buffer
	b.WriteString("\x28\xb5\x2f\xfd\x00\x88")
	b.Write(block(fileHead(1 << 30)))
	for range 1000 {
		b.Write(zeros)
	}
	return b.String()
}

// zeros is a block of 128 KiB of zeros.
var zeros = []byte("\x02\x00\x10\x00")

// fileHead begins a NAR that is one file of that size.
func fileHead(size uint64) []byte {
	var b []byte
	for _, word := range []string{"nix-archive-1", "(", "type", "regular", "contents"} {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(word)))
		b = append(b, word+strings.Repeat("\x00", -len(word)&7)...)
	}
	return binary.LittleEndian.AppendUint64(b, size)
}

// block is a block of zstd that is not compressed.
func block(b []byte) []byte {
	return append([]byte{byte(len(b) << 3), byte(len(b) >> 5), 0}, b...)
}

// A bomb is a zstd file with so many zeros in a NAR, all but without an end.
type bomb struct {
	left  int64
	begun bool
	rest  []byte
}

// Read returns the next blocks.
func (b *bomb) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		b.rest = append([]byte("\x28\xb5\x2f\xfd\x00\x58"), block(fileHead(uint64(b.left)))...)
	}
	if len(b.rest) == 0 {
		if b.left <= 0 {
			return 0, io.EOF
		}
		n := min(1000, b.left>>17)
		b.left -= n << 17
		b.rest = bytes.Repeat(zeros, int(n))
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// fileHash is the hash in the name of a file.
func fileHash(file []byte) string {
	return layout.Hash(sha256.Sum256(file)).Nix32()
}
