package nixstore

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// A replay is a daemon that says what it was going to say, whatever it is asked.
type replay struct{ io.Reader }

func (replay) Write(b []byte) (int, error) { return len(b), nil }
func (replay) Close() error                { return nil }
func (replay) wait()                       {}
func (replay) lastWords() string           { return "" }

// recorded returns the bytes of a good daemon's half of a conversation.
func recorded(minor uint64, answers func(d *fakeDaemon)) []byte {
	var b bytes.Buffer
	d := &fakeDaemon{out: writer{bufio.NewWriter(&b)}, in: reader{from: bufio.NewReader(zeros{})}}
	d.greet(minor)
	answers(d)
	d.out.to.Flush()
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Each reader of a daemon comes to an end whatever it is sent, and its result is
// well-formed.
func FuzzDaemon(f *testing.F) {
	info := goodInfo
	info.deriver = "/nix/store/" + string(fakePath) + ".drv"
	info.sigs = []string{"k-1:AAAA", "a:b"}
	info.ca = "text:sha256:0"
	for _, minor := range []uint64{21, 34, 35, 38} {
		f.Add(recorded(minor, func(d *fakeDaemon) {
			for range 3 {
				d.out.num(stderrNext)
				d.out.text("hello\n")
				d.out.num(stderrLast)
				d.out.num(1)
				d.info(info)
			}
		}))
		f.Add(recorded(minor, func(d *fakeDaemon) { d.refuse("error: no", "while") }))
		f.Add(recorded(minor, func(d *fakeDaemon) {
			d.out.num(stderrLast)
			d.out.texts("/nix/store/"+string(fakePath), "/nix/store/"+string(fakePath)+".drv")
			d.out.num(stderrLast)
			d.out.texts(`{"id":"` + layout.DrvOutput{Output: "out"}.String() + `","outPath":"` + string(fakePath) + `"}`)
		}))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		ctx := context.Background()
		for _, talk := range []func(c *conn){
			func(c *conn) {
				paths := []layout.StorePath{fakePath, fakePath}
				_ = c.pipeline(ctx, paths, func(layout.StorePath) { c.request(opQueryPathInfo, "") }, func(int) error {
					unheld := c.readRoot()
					info, _, err := c.readInfo(layout.DefaultStoreDir, fakePath)
					if unheld == nil && err == nil {
						checkInfo(t, info)
					}
					return err
				})
			},
			func(c *conn) {
				if r, err := c.realisationByHash(layout.DrvOutput{Output: "out"}); err == nil && r != nil && r.OutPath == "" {
					t.Errorf("%+v", r)
				}
			},
			func(c *conn) {
				if r, err := c.realisationByPath(layout.DefaultStoreDir, fakePath, "out"); err == nil && r != nil {
					if _, err := r.Objects(); err == nil && r.OutPath == "" {
						t.Errorf("%+v", r)
					}
				}
			},
		} {
			c, err := handshake(ctx, replay{bytes.NewReader(said)})
			if err != nil {
				return
			}
			talk(c)
		}
	})
}

func checkInfo(t *testing.T, info layout.PathInfo) {
	t.Helper()
	if info.NarSize <= 0 || info.Path != fakePath {
		t.Errorf("%+v", info)
	}
	for _, p := range append(info.References, info.Path) {
		if _, err := layout.ParseStorePath(string(p)); err != nil {
			t.Error(err)
		}
	}
	for _, text := range append(info.Sigs, info.CA) {
		if !oneLine(text) {
			t.Errorf("%q", text)
		}
	}
}
