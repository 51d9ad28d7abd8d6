//go:build real

package browser

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Forged answers show as text or as an error of one line; they run nothing, ask no other place,
// and end.
func TestForged(t *testing.T) {
	f := newForger(t)
	narinfo, listing := f.hash+".narinfo", f.hash+".ls"
	record, files := f.read(t, narinfo), f.read(t, listing)
	field := func(name, value string) string {
		return regexp.MustCompile(`(?m)^`+name+`: .*$`).ReplaceAllString(record, name+": "+value)
	}
	file := strings.TrimSpace(strings.SplitN(strings.SplitN(record, "URL: ", 2)[1], "\n", 2)[0])
	frames := regexp.MustCompile(`"frames":\[.*?\]\]`)
	lying := regexp.MustCompile(`("last":\{[^}]*"narOffset":)\d+`)
	if !frames.MatchString(files) || !lying.MatchString(files) {
		t.Fatalf("the listing is %s", files)
	}
	bomb := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38} // blocks of 128 KiB in four bytes each
	bomb = append(bomb, bytes.Repeat([]byte{0x02, 0x00, 0x10, 'x'}, 100_000)...)
	evil := `<img src="` + f.evil.URL + `/x"><script src="` + f.evil.URL + `/y"></script>`
	for _, test := range []struct {
		name  string
		forge map[string]string
		want  string // what the page says
		push  bool   // once Download is pressed
	}{
		{"record of another path", map[string]string{narinfo: field("StorePath", "/nix/store/"+strings.Repeat("0", 32)+"-x")}, "it is the record of " + strings.Repeat("0", 32) + "-x", false},
		{"name with markup", map[string]string{narinfo: field("StorePath", "/nix/store/"+f.hash+"-"+evil)}, "the record makes no sense", false},
		{"references with markup", map[string]string{narinfo: field("References", evil)}, "the record makes no sense", false},
		{"no size", map[string]string{narinfo: field("NarSize", "NaN")}, "the record makes no sense", false},
		{"fields with markup", map[string]string{narinfo: record + "__proto__: " + evil + "\nDeriver: " + evil + "\nCA: " + evil + "\nProvenance: " + evil + "\nSig: " + evil + "\n"}, "As the record says", false},
		{"script as the place", map[string]string{narinfo: field("URL", "javascript:alert(1)")}, "the NAR is in another place", false},
		{"NAR elsewhere", map[string]string{narinfo: field("URL", f.evil.URL+"/x.nar.zst")}, "the NAR is in another place", false},
		{"endless record", map[string]string{narinfo: record + strings.Repeat("x: y\n", 1<<20)}, "has more than", false},
		{"listing without a root", map[string]string{listing: `{"version":1}`}, "it makes no sense", false},
		{"listing of null", map[string]string{listing: `null`}, "makes no sense", false},
		{"nodes that are none", map[string]string{listing: `{"root":{"type":"directory","entries":{"z":{"type":"directory","entries":{"last":null,"x":7}}}}}`}, "no such file", false},
		{"deep listing", map[string]string{listing: strings.Repeat(`{"root":{"type":"directory","entries":{"a":`, 1) + strings.Repeat(`{"type":"directory","entries":{"a":`, 20_000) + `{}` + strings.Repeat(`}}`, 20_000) + `}}}`}, "no such file", false},
		{"size below nothing", map[string]string{listing: strings.Replace(files, `"size":14`, `"size":-14`, 1)}, "0 B", false},
		{"size beyond the NAR", map[string]string{listing: strings.Replace(files, `"size":14`, `"size":99999999`, 1)}, "puts it where the NAR is not", false},
		{"offset of text", map[string]string{listing: lying.ReplaceAllString(files, `$1"1"`)}, "does not tell where the file is", false},
		{"offset that lies", map[string]string{listing: lying.ReplaceAllString(files, `${1}9000000`)}, "the listing is wrong about this file", true},
		{"frames of text", map[string]string{listing: frames.ReplaceAllString(files, `"frames":[["1","2"],["3","4"]]`)}, "cannot be read in parts", false},
		{"frames that add up to something else", map[string]string{listing: frames.ReplaceAllString(files, `"frames":[[5,16777216],[5,16777216]]`)}, "cannot be read in parts", false},
		{"frames of below nothing", map[string]string{listing: frames.ReplaceAllString(files, `"frames":[[-5,99],[5,1e300]]`)}, "cannot be read in parts", false},
		{"a million frames", map[string]string{listing: frames.ReplaceAllString(files, `"frames":[`+strings.Repeat("[1,1],", 1_000_000)+`[1,1]]`)}, "cannot be read in parts", false},
		{"NAR cut off", map[string]string{file: f.read(t, file)[:1000], listing: frames.ReplaceAllString(files, `"frames":[]`)}, "cut off", true},
		{"NAR without an end", map[string]string{file: string(bomb), listing: frames.ReplaceAllString(files, `"frames":[]`)}, "the NAR is longer than its record says", true},
		{"NAR of something else", map[string]string{file: strings.Repeat("not zstd ", 3_000_000)}, "not a frame", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for name, text := range test.forge {
				f.forge(name, plain(text))
				defer f.forge(name, nil)
			}
			f.b.open(t, f.url+"path.html#"+f.hash+"/z/last")
			if test.push {
				f.b.button(t, "Download")
			}
			f.b.until(t, fmt.Sprintf(`document.querySelector("main").textContent.includes(%s) && !/^Reading/.test(document.querySelector("#files + div")?.textContent || "")`, jsText(test.want)))
			if n := js[int](t, f.b, `document.querySelectorAll("img, script:not([src^='path.js?v=']), iframe, object").length`); n != 0 {
				t.Errorf("%d elements of an attacker", n)
			}
			if n := js[int](t, f.b, `[...document.querySelectorAll("a[href]")].filter((a) => a.origin !== location.origin).length`); n != 0 {
				t.Errorf("%d links to other places", n)
			}
			f.b.untroubled(t)
		})
	}
	if n := f.asked.Load(); n != 0 {
		t.Errorf("another place was asked %d times", n)
	}
}

// A server that gives no parts is told of, and one that gives the wrong part is not believed.
func TestParts(t *testing.T) {
	f := newForger(t)
	file := strings.TrimSpace(strings.SplitN(strings.SplitN(f.read(t, f.hash+".narinfo"), "URL: ", 2)[1], "\n", 2)[0])
	text := []byte(f.read(t, file))
	f.forge(file, func(w http.ResponseWriter, _ *http.Request) { w.Write(text) })
	f.b.open(t, f.url+"path.html#"+f.hash+"/z/last")
	if got, moved := f.b.download(t); string(got) != "the last file\n" || moved < len(text)-1000 {
		t.Errorf("without parts: %q, %d bytes", got, moved)
	}
	f.forge(file, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(text)-1, len(text)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(text)
	})
	f.b.open(t, f.url+"path.html#"+f.hash+"/z/last")
	f.b.button(t, "Download")
	f.b.until(t, `document.querySelector("#file").textContent.includes("another part than was asked for")`)
	f.b.untroubled(t)
}

// A search index that is forged says so, or finds what it has that could be a path.
func TestForgedIndex(t *testing.T) {
	f := newForger(t)
	good := f.read(t, "search/names.json")
	shard := regexp.MustCompile(`\["","([0-9a-z]+)",\d+\]`).FindStringSubmatch(good)
	if shard == nil {
		t.Fatal(good)
	}
	for _, test := range []struct{ name, list, lines, want string }{
		{"another version", strings.Replace(good, `"version":1`, `"version":2`, 1), "", "another version; reload this page"},
		{"text", "<b>", "", "makes no sense"},
		{"shards that are none", `{"version":1,"shards":[{"a":1}]}`, "", "makes no sense"},
		{"names that lead elsewhere", `{"version":1,"shards":[["","../../x",1]]}`, "", "makes no sense"},
		{"out of order", `{"version":1,"shards":[["b","aa",1],["a","bb",1]]}`, "", "makes no sense"},
		{"a shard that is gone", `{"version":1,"shards":[["","0000000000000000",1]]}`, "", "being renewed"},
		{"endless list", strings.Repeat(" ", 17<<20), "", "has more than"},
		{"lines of nothing", good, "files\nfiles  x\nfiles <img> " + f.hash + "\n\n \n", "Nothing has a word"},
		{"no index", "", "", "Nothing has a word"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f.forge("search/names.json", plain(test.list))
			if test.list == "" {
				f.forge("search/names.json", http.NotFound)
			}
			f.forge("search/"+shard[1]+".txt", nil)
			if test.lines != "" {
				f.forge("search/"+shard[1]+".txt", plain(test.lines))
			}
			f.b.open(t, f.url+"index.html")
			f.b.until(t, `!document.querySelector("form.search").hidden`)
			f.b.query(t, "files")
			f.b.until(t, fmt.Sprintf(`document.querySelector("#found").textContent.includes(%q)`, test.want))
			if n := js[int](t, f.b, `document.querySelectorAll("img, #hits a").length`); n != 0 {
				t.Errorf("%d hits", n)
			}
			f.b.mu.Lock()
			f.b.troubles = nil // a file that is not there is told of in the console
			f.b.mu.Unlock()
		})
	}
}

// The parsers return or refuse whatever is done to a record and a listing, and never lead out
// of the NAR.
func TestMutated(t *testing.T) {
	f := newForger(t)
	record, files := f.read(t, f.hash+".narinfo"), f.read(t, f.hash+".ls")
	f.b.open(t, f.url+"path.html#"+f.hash+"/z/last")
	f.b.until(t, `document.querySelector("#file")`)
	js[bool](t, f.b, `import(document.querySelector("script[src]").src).then((m) => {
		window.outcome = (record, files) => {
			let r, listing;
			try { r = m.parseNarInfo(record); } catch (err) { return err instanceof TypeError ? "BROKEN: " + err.stack : "refused"; }
			try { listing = JSON.parse(files); } catch { return "no JSON"; }
			let n = 0;
			const walk = (node, name) => {
				if (node === null || typeof node !== "object") return;
				const w = m.way(r, listing, node, name);
				if (w.why) return;
				n++;
				for (const x of [w.from, w.to, w.skip, w.size]) if (!Number.isSafeInteger(x) || x < 0 || x > Math.max(r.NarSize, r.FileSize) * 17 / 16 + 2 ** 20) throw new Error("leads out: " + [w.from, w.to, w.skip, w.size]);
				if (node.entries) for (const [name, next] of Object.entries(node.entries)) walk(next, name);
			};
			try { walk(listing?.root, ""); } catch (err) { return "BROKEN: " + err.stack; }
			return n > 0 ? "taken" : "nothing";
		};
		return true;
	})`)
	rng := rand.New(rand.NewPCG(5, 6))
	pieces := []string{"-1", "0", "1e300", "null", "[]", "{}", `"x"`, "9007199254740993", "\u202e", "<script>", `"__proto__"`, "\n", ":", ",", "]", "\ufffd", "\\ud800"}
	mutate := func(text string) string {
		for range rng.IntN(3) {
			at := rng.IntN(len(text))
			switch rng.IntN(4) {
			case 0:
				text = text[:at] + pieces[rng.IntN(len(pieces))] + text[at:]
			case 1:
				text = text[:at] + text[min(len(text), at+rng.IntN(9)):]
			case 2: // a number becomes something else
				numbers := regexp.MustCompile(`\d+`).FindAllStringIndex(text, -1)
				n := numbers[rng.IntN(len(numbers))]
				text = text[:n[0]] + pieces[rng.IntN(len(pieces))] + text[n[1]:]
			default:
				text = text[:at] + string(rune(rng.IntN(0x3000))) + text[min(len(text), at+1):]
			}
		}
		return text
	}
	counts := map[string]int{}
	const batch = 100
	for range 10 {
		var calls []string
		var inputs [][2]string
		for range batch {
			in := [2]string{mutate(record), mutate(files)}
			inputs = append(inputs, in)
			calls = append(calls, fmt.Sprintf("outcome(%s, %s)", jsText(in[0]), jsText(in[1])))
		}
		for i, outcome := range js[[]string](t, f.b, "["+strings.Join(calls, ",")+"]") {
			if counts[outcome]++; strings.HasPrefix(outcome, "BROKEN") {
				t.Errorf("%s of %q and %q", outcome, inputs[i][0], inputs[i][1])
			}
		}
	}
	t.Log(counts)
	if counts["taken"] == 0 || counts["refused"] == 0 || counts["no JSON"] == 0 {
		t.Errorf("the changes are all of one nature: %v", counts)
	}
}

// A record leads to nothing but what is in its cache, although it is beside other things of the
// same server; and it costs a browser little, whatever it has in it.
func TestForgedRecord(t *testing.T) {
	f := newForger(t)
	narinfo := f.hash + ".narinfo"
	record := f.read(t, narinfo)
	field := func(name, value string) string {
		return regexp.MustCompile(`(?m)^`+name+`: .*$`).ReplaceAllString(record, name+": "+value)
	}
	say := func(want string) string {
		return fmt.Sprintf(`document.querySelector("main").textContent.includes(%s)`, jsText(want))
	}
	for _, place := range []string{"../logout?x.nar.zst", "/logout", "%2e%2e/logout", "nar/../../logout"} {
		f.forge(narinfo, plain(field("URL", place)))
		f.b.open(t, f.url+"folder/path.html#"+f.hash+"/z/last")
		f.b.until(t, say("the NAR is in another place")+` && document.querySelector(".tree summary")`)
		if n := js[int](t, f.b, `[...document.querySelectorAll("a[href]")].filter((a) => a.pathname === "/logout").length`); n != 0 {
			t.Errorf("%s: %d links lead out of the cache", place, n)
		}
	}
	f.forge(narinfo, nil)
	f.b.open(t, f.url+"folder/path.html#"+f.hash+"/z/last")
	if got, _ := f.b.download(t); string(got) != "the last file\n" {
		t.Errorf("in a folder: %q", got)
	}
	// Signatures without number, a place of a log that is none.
	f.forge("public-keys", plain("a:AAAA\n"))
	f.forge(narinfo, plain(record+"Deriver: ..\n"+strings.Repeat("Sig: a:AAAA\n", 20_000)))
	f.b.open(t, f.url+"path.html#"+f.hash)
	f.b.until(t, say("more signatures, which are not looked at")+` && document.querySelector(".tree summary")`)
	if n := js[int](t, f.b, `document.querySelectorAll("dl.facts dd > div").length`); n > 100 {
		t.Errorf("%d lines of signatures", n)
	}
	if js[bool](t, f.b, say("build log")) {
		t.Error("a log is looked for that no deriver has")
	}
	f.b.untroubled(t)
	// A closure of all that fits into a record: it is walked, and can be stopped.
	var many strings.Builder
	for n := range 115_000 {
		fmt.Fprintf(&many, "%032d-x ", n)
	}
	next := strings.Repeat("1", 32)
	f.forge(next+".narinfo", plain(strings.ReplaceAll(field("References", many.String()), f.hash, next)))
	f.forge(narinfo, plain(field("References", f.hash+"-files "+next+"-files")))
	f.b.open(t, f.url+"path.html#"+f.hash)
	f.b.button(t, "Add it up")
	f.b.until(t, say("2 paths, "))
	f.b.button(t, "Stop")
	f.b.until(t, say(", as far as it was walked"))
	f.b.mu.Lock()
	f.b.troubles = nil // the paths that are not there
	f.b.mu.Unlock()
}

// nativeZstd gives a page a DecompressionStream that knows zstd, as some browsers have it. Each
// reads one frame alone.
const nativeZstd = `import("./zstd.js").then((m) => {
	const Old = window.DecompressionStream;
	window.decoders = 0;
	window.DecompressionStream = function (name) {
		if (name !== "zstd") return new Old(name);
		window.decoders++;
		const { readable, writable } = new TransformStream(), reader = readable.getReader();
		const out = m.decompress((async function* () { for (let r; !(r = await reader.read()).done;) yield r.value; })());
		return { writable, readable: new ReadableStream({
			async pull(c) { try { const { value, done } = await out.next(); if (done) c.close(); else c.enqueue(value); } catch (err) { c.error(err); } },
			cancel(why) { return reader.cancel(why); },
		}) };
	};
	return true;
})`

// A browser's own zstd gives the same bytes, and a preview takes no more from the server than it
// shows.
func TestNative(t *testing.T) {
	f := newForger(t)
	file := strings.TrimSpace(strings.SplitN(strings.SplitN(f.read(t, f.hash+".narinfo"), "URL: ", 2)[1], "\n", 2)[0])
	text := f.read(t, file)
	f.b.open(t, f.url+"path.html#"+f.hash+"/a/noise")
	f.b.until(t, `document.querySelector("#file button.main")`)
	js[bool](t, f.b, nativeZstd)
	if got, _ := f.b.download(t); !bytes.Equal(got, f.noise) {
		t.Errorf("%d other bytes", len(got))
	}
	if n := js[int](t, f.b, `window.decoders`); n < 3 { // one asks whether there is any
		t.Errorf("%d decoders for all frames", n)
	}
	ended := make(chan bool, 1)
	f.forge(file, func(w http.ResponseWriter, r *http.Request) {
		var from, to int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(text)))
		w.WriteHeader(http.StatusPartialContent)
		fmt.Fprint(w, text[from:min(to, from+1<<20)])
		w.(http.Flusher).Flush()
		<-r.Context().Done() // when the browser closes the connection
		ended <- true
	})
	f.b.button(t, "Show text")
	f.b.until(t, `document.querySelector("#file pre")`)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the rest is still asked for")
	}
	f.b.untroubled(t)
}
