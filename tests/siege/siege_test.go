//go:build real

// Package siege_test besieges a server: attackers that may upload, and strangers,
// do all at once what each limit is there for, beside real Nixes that push and
// read. The Nixes notice nothing but that it takes a little longer.
package siege_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

const (
	openFiles  = 256
	mostMemory = 512 << 20
)

// lasts is how long a siege takes: make siege says longer.
func lasts(t testing.TB) time.Duration {
	text := os.Getenv("SIEGE")
	if text == "" {
		return 30 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A server is a nixstatic serve that may open few files.
type server struct {
	address string
	tree    string
	key     nixtest.Key
	tokens  map[string]string // by name
	cmd     *exec.Cmd
	log     string
}

func start(t *testing.T) *server {
	t.Helper()
	p, dir := nixtest.Program{Nix: peers.Newest(t)}, t.TempDir()
	s := &server{tree: filepath.Join(dir, "cache"), key: p.NewKey(t, "siege-1"), tokens: map[string]string{}, log: filepath.Join(dir, "log")}
	file := filepath.Join(dir, "tokens")
	for _, name := range []string{"alice", "bob", "mallory", "eve"} {
		s.tokens[name] = p.Output(t, "token", "create", "--file", file, "--name", name, "--scope", "upload")
	}
	s.cmd = p.Command(t, "serve", s.tree, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "-k", s.key.File, "--tokens", file, "--min-free", "100MiB")
	s.cmd.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, openFiles)}, s.cmd.Args...)
	s.cmd.Path = "/bin/sh"
	s.cmd.Cancel = func() error { s.cmd.Process.Signal(syscall.SIGTERM); return os.ErrProcessDone }
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("serve does not start: %v\n%s", err, s.logged())
	}
	s.address = strings.TrimPrefix(strings.TrimSpace(line), "http://")
	return s
}

func (s *server) logged() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// memory is the most that the server has had in memory.
func (s *server) memory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// pushes is an honest client: paths that no cache has seen, pushed and read back,
// again and again. It returns how often.
func (s *server) pushes(t *testing.T, ctx context.Context, nix peers.Nix, who string) (n int) {
	store, rest := peers.StoreRoot(t), "http://"+s.address
	to := strings.Replace(rest, "://", "://"+who+":"+s.tokens[who]+"@", 1) + "/upload"
	for ; n == 0 || ctx.Err() == nil; n++ {
		nix.Home = t.TempDir() // remembers nothing
		dir := filepath.Join(t.TempDir(), fmt.Sprintf("honest-%d", n))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Error(err)
			return n
		}
		for i := range 3 {
			text := make([]byte, 1<<(18+i))
			for j := range text {
				text[j] = byte(rand.Uint32() % 64)
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), text, 0o644); err != nil {
				t.Error(err)
				return n
			}
		}
		path, err := run(nix.Command(t, "nix-store", "--store", store, "--add", dir))
		if err == nil {
			compression := []string{"zstd", "xz", "none"}[n%3]
			_, err = run(nix.Command(t, "nix", "copy", "--store", store, "--to", to+"?write-nar-listing=true&compression="+compression, path))
		}
		if err != nil {
			t.Errorf("Nix %s, push %d: %v", nix.Version, n, err)
			return n
		}
		if out, err := run(nix.Command(t, "nix", "path-info", "--store", rest, path)); err != nil || out != path {
			t.Errorf("Nix %s, read %d: %q, %v", nix.Version, n, out, err)
			return n
		}
	}
	return n
}

func run(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, &stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// An attacker comes from another address than the honest ones.
type attacker struct {
	*server
	from, token string
	client      *http.Client
	through     *atomic.Int64 // how often the server took notice
}

func (s *server) attacker(from, who string) *attacker {
	a := &attacker{server: s, from: from, token: s.tokens[who]}
	a.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx) }}}
	return a
}

func (a *attacker) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(a.from)}, Timeout: 5 * time.Second}
	return d.DialContext(ctx, "tcp", a.address)
}

// send sends a request, and reads some of the answer. The answer does not matter.
func (a *attacker) send(ctx context.Context, method, path string, body io.Reader, headers ...string) int {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+a.address+path, body)
	if err != nil {
		return 0
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		if dial := (*net.OpError)(nil); !errors.As(err, &dial) || dial.Op != "dial" {
			a.through.Add(1) // and was hung up on, perhaps in the middle
		}
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode != http.StatusUnauthorized {
		a.through.Add(1)
	}
	return resp.StatusCode
}

// hold opens a connection, sends some bytes, and then a few more now and then.
func (a *attacker) hold(ctx context.Context, head string, each int, every time.Duration) {
	conn, err := a.dial(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if a.token != "" {
		head = strings.Replace(head, "\r\n", "\r\nAuthorization: Bearer "+a.token+"\r\n", 1)
	}
	io.WriteString(conn, head)
	for ctx.Err() == nil {
		time.Sleep(every)
		if _, err := conn.Write(make([]byte, each)); err != nil {
			return
		}
		a.through.Add(1)
	}
}

func madeUp(alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rand.IntN(len(alphabet))]
	}
	return string(b)
}

const nix32 = "0123456789abcdfghijklmnpqrsvwxyz"

func hash() string { return madeUp(nix32, 32) }
func nar() string  { return "/upload/nar/" + madeUp(nix32[:16], 52) + ".nar.zst" }

func put(path string, size int) string {
	return fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", path, size)
}

// narinfo is a record of a path that no cache has, with references to others.
func narinfo(name string, references int, extra string) string {
	refs := make([]string, references)
	for i := range refs {
		refs[i] = hash() + "-missing"
	}
	file := madeUp(nix32[:16], 52)
	return fmt.Sprintf("StorePath: /nix/store/%s-evil\nURL: nar/%s.nar\nCompression: none\nFileHash: sha256:%s\nFileSize: 200\nNarHash: sha256:%s\nNarSize: 200\nReferences: %s\n%s",
		name, file, file, file, strings.Join(refs, " "), extra)
}

// attacks are done again and again, each by some attackers at once.
var attacks = map[string]func(ctx context.Context, a *attacker){
	"PROPFIND of names that are long": func(ctx context.Context, a *attacker) {
		body := `<D:propfind xmlns:D="DAV:" xmlns:Z="` + strings.Repeat("u", 40_000) + `"><D:prop>` + strings.Repeat("<Z:a/>", 60) + "</D:prop></D:propfind>"
		a.send(ctx, "PROPFIND", "/nar/", strings.NewReader(body), "Depth: 1")
	},
	"PROPFIND that is not read": func(ctx context.Context, a *attacker) {
		a.hold(ctx, "PROPFIND /nar/ HTTP/1.1\r\nHost: x\r\nDepth: 1\r\n\r\n", 0, time.Second)
	},
	"PROPPATCH": func(ctx context.Context, a *attacker) {
		body := `<D:propertyupdate xmlns:D="DAV:" xmlns:Z="` + strings.Repeat("u", 30_000) + `"><D:set><D:prop>` + strings.Repeat("<Z:a/>", 1000) + "</D:prop></D:set></D:propertyupdate>"
		a.send(ctx, "PROPPATCH", "/upload/nix-cache-info", strings.NewReader(body))
	},
	"LOCK": func(ctx context.Context, a *attacker) {
		body := `<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>`
		for _, path := range []string{"/upload/", "/upload/nar/", "/upload/" + hash() + ".narinfo"} {
			a.send(ctx, "LOCK", path, strings.NewReader(body), "Depth: infinity", "Timeout: Infinite")
		}
	},
	"early listings": func(ctx context.Context, a *attacker) {
		text := `{"version":1,"root":{"type":"directory","entries":{}}}` + strings.Repeat(" ", 1<<20)
		a.send(ctx, "PUT", "/upload/"+hash()+".ls", strings.NewReader(text))
	},
	"held narinfos": func(ctx context.Context, a *attacker) {
		name := hash()
		a.send(ctx, "PUT", "/upload/"+name+".narinfo", strings.NewReader(narinfo(name, 50, "")))
	},
	"signatures": func(ctx context.Context, a *attacker) {
		name := hash()
		a.send(ctx, "PUT", "/upload/"+name+".narinfo", strings.NewReader(narinfo(name, 0, strings.Repeat("Sig: x:"+strings.Repeat("A", 86)+"==\n", 10_000))))
	},
	"NARs that trickle in": func(ctx context.Context, a *attacker) { a.hold(ctx, put(nar(), 1<<30)+skip, 4<<10, 2*time.Second) },
	"logs that trickle in": func(ctx context.Context, a *attacker) {
		a.hold(ctx, put("/upload/log/"+hash()+"-x.drv", 1<<30), 4<<10, 2*time.Second)
	},
	"records that trickle in": func(ctx context.Context, a *attacker) {
		a.hold(ctx, put("/upload/"+hash()+".narinfo", 1<<20), 100, time.Second)
	},
	"bodies that are compressed": func(ctx context.Context, a *attacker) {
		a.hold(ctx, strings.Replace(put("/upload/"+hash()+".ls", 1<<30), "\r\n", "\r\nContent-Encoding: zstd\r\n", 1)+skip, 4<<10, 2*time.Second)
	},
	"windows of 128 MiB": func(ctx context.Context, a *attacker) { a.hold(ctx, put(nar(), 1<<20)+wide(), 0, time.Second) },
	"debug links and logs of others": func(ctx context.Context, a *attacker) {
		a.send(ctx, "PUT", "/upload/debuginfo/"+madeUp("0123456789abcdef", 40)+".debug", strings.NewReader(`{"archive":"../nar/`+madeUp(nix32[:16], 52)+`.nar","member":"x"}`))
		a.send(ctx, "PUT", "/upload/log/"+hash()+"-x.drv", strings.NewReader("evil"))
	},
	"pages": func(ctx context.Context, a *attacker) {
		for _, name := range []string{"index.html", "favicon.svg"} {
			a.send(ctx, "PUT", "/upload/"+name, strings.NewReader("<script>alert(1)</script>"))
		}
	},
	"headers that trickle in": func(ctx context.Context, a *attacker) { a.hold(ctx, "GET / HTTP/1.1\r\nX: ", 1, time.Second) },
	"connections":             func(ctx context.Context, a *attacker) { a.hold(ctx, "", 0, time.Second) },
	"notes": func(ctx context.Context, a *attacker) {
		a.send(ctx, "PUT", "/upload/._"+hash(), strings.NewReader(strings.Repeat("x", 60<<10)))
	},
}

// skip begins a frame of zstd that is skipped, and long.
const skip = "\x50\x2a\x4d\x18\x00\x00\x00\x40"

// wide begins a frame of zstd with the largest window, and fills that.
func wide() string {
	var b strings.Builder
	b.WriteString("\x28\xb5\x2f\xfd\x00\x88")
	head := "\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00(\x00\x00\x00\x00\x00\x00\x00" +
		"\x04\x00\x00\x00\x00\x00\x00\x00type\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00regular\x00\x08\x00\x00\x00\x00\x00\x00\x00contents\x00\x00\x00\x40\x00\x00\x00\x00"
	b.WriteString(string([]byte{byte(len(head) << 3), byte(len(head) >> 5), 0}) + head)
	for range 1000 {
		b.WriteString("\x02\x00\x10\x00") // 128 KiB of zeros
	}
	return b.String()
}

// No honest push fails and no honest reader is turned away, memory is bounded, and
// nothing is visible that was not checked.
func TestSiege(t *testing.T) {
	s := start(t)
	ctx, stop := context.WithTimeout(t.Context(), lasts(t))
	defer stop()
	var all sync.WaitGroup
	through := map[string]*atomic.Int64{}
	for name, attack := range attacks {
		through[name] = &atomic.Int64{}
		for i := range 4 {
			a := s.attacker([]string{"127.0.0.2", "127.0.0.3"}[i%2], []string{"mallory", "eve"}[i%2])
			if strings.HasPrefix(name, "PROPFIND") || strings.HasPrefix(name, "headers") || name == "connections" {
				a.token = "" // a stranger
			}
			a.through = through[name]
			copies := 1
			if name == "connections" {
				copies, a.from = 200, []string{"127.0.0.4", "127.0.0.5"}[i%2]
			}
			for range copies {
				all.Go(func() {
					for ctx.Err() == nil {
						attack(ctx, a)
						time.Sleep(10 * time.Millisecond)
					}
				})
			}
		}
	}
	time.Sleep(2 * time.Second) // the attackers were there first
	var honest sync.WaitGroup
	for i, nix := range peers.Nixes(t) {
		who := []string{"alice", "bob"}[i%2]
		honest.Go(func() { t.Logf("Nix %s, as %s: %d pushes", nix.Version, who, s.pushes(t, ctx, nix, who)) })
	}
	honest.Wait()
	stop()
	all.Wait()
	for name, n := range through {
		if t.Logf("%s: %d", name, n.Load()); n.Load() == 0 {
			t.Errorf("no attack got through: %s", name)
		}
	}
	if most := s.memory(t); most > mostMemory {
		t.Errorf("the server has had %d MiB in memory", most>>20)
	} else {
		t.Logf("%d MiB of memory at most", most>>20)
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("serve ends with %v", err)
	}
	if log := s.logged(); strings.Contains(log, "panic") || strings.Contains(log, "too many open files") {
		t.Errorf("the log:\n%.4000s", log)
	}
	for name := range strings.FieldsSeq("index.html favicon.svg") {
		if _, err := os.Stat(filepath.Join(s.tree, name)); err == nil {
			t.Errorf("there is a page %s", name)
		}
	}
	p := nixtest.Program{Nix: peers.Newest(t)}
	if r := p.Run(t, "verify", "--deep", "--quiet", "--trusted-public-key", s.key.Public, s.tree); r.Code != 0 {
		t.Errorf("the tree is not whole: code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}
