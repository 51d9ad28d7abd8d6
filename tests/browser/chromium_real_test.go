//go:build real

package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// TestMain runs in the root of the checkout, where nixtest finds what it builds.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	nixtest.Main(m)
}

// patience is how long one step may take on a busy machine.
const patience = 2 * time.Minute

// A tab is a tab of a Chromium of its own. It notes what goes wrong in its pages.
type tab struct {
	context.Context

	mu       sync.Mutex
	troubles []string
	moved    float64 // bytes that came over the network
	statuses map[string]int64
}

func openTab(t *testing.T) *tab {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("no Chromium: %v: run `make test`, which installs it", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WindowSize(1100, 900), chromedp.WSURLReadTimeout(patience))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() { cancel(); stop() })
	b := &tab{Context: ctx, statuses: map[string]int64{}}
	chromedp.ListenTarget(ctx, b.hear)
	b.run(t, log.Enable(), network.Enable(), runtime.Enable())
	return b
}

// hear takes what Chromium tells.
func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.troubles = append(b.troubles, "exception: "+e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		b.troubles = append(b.troubles, fmt.Sprintf("console.%s: %v", e.Type, e.Args))
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
			b.troubles = append(b.troubles, fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *network.EventResponseReceived:
		b.statuses[e.Response.URL] = e.Response.Status
	case *network.EventLoadingFinished:
		b.moved += e.EncodedDataLength
	case *network.EventDataReceived:
	}
}

// untroubled checks that nothing was told as an error since the last call.
func (b *tab) untroubled(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.troubles) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(b.troubles, "\n"))
	}
	b.troubles = nil
}

// expectTrouble forgets errors with a text, of which there has to be one.
func (b *tab) expectTrouble(t *testing.T, text string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.troubles)
	kept := b.troubles[:0]
	for _, trouble := range b.troubles {
		if !strings.Contains(trouble, text) {
			kept = append(kept, trouble)
		}
	}
	if b.troubles = kept; len(kept) == n {
		t.Errorf("the browser does not complain of %q", text)
	}
}

// bytesMoved returns how many bytes came since the last call.
func (b *tab) bytesMoved() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := int(b.moved)
	b.moved = 0
	return n
}

func (b *tab) run(t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	// The context that starts a browser ends it, so that only the waiting ends.
	done := make(chan error, 1)
	go func() { done <- chromedp.Run(b.Context, actions...) }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		var html string
		go chromedp.Run(b.Context, chromedp.OuterHTML("html", &html))
		t.Fatalf("the page does not get there; the browser says %q", b.troubles)
	}
}

// js evaluates an expression, or waits for the promise that it is.
func js[T any](t *testing.T, b *tab, expression string) (value T) {
	t.Helper()
	b.run(t, chromedp.Evaluate(expression, &value, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return value
}

// until waits for an expression to become true. It may fail meanwhile, as it does
// while the browser goes from one page to the next.
func (b *tab) until(t *testing.T, expression string) {
	t.Helper()
	b.again(t, expression, func() (there bool, err error) {
		err = chromedp.Run(b.Context, chromedp.Evaluate("!!("+expression+")", &there))
		return there, err
	})
}

// again tries something until it is done.
func (b *tab) again(t *testing.T, what string, try func() (done bool, err error)) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		done, err := try()
		if done && err == nil {
			return
		}
		if time.Now().After(end) {
			b.mu.Lock()
			defer b.mu.Unlock()
			t.Fatalf("the page does not get to %s: %v; the browser says %q", what, err, b.troubles)
		}
	}
}

// open goes to a page, afresh even if only the fragment is another one.
func (b *tab) open(t *testing.T, url string) {
	t.Helper()
	b.run(t, chromedp.Navigate("about:blank"), chromedp.Navigate(url))
}
