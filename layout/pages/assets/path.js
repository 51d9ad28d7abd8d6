// The page of one store path: it reads the path's narinfo and listing, which anyone
// can read, and shows them. Nothing in them is ever taken for HTML.

import { bytes, cacheURL, copyable, element as e, here, isBase, isHash, json, pathLink, plural, storeDir, text } from "./page.js";

const digits = "0123456789abcdfghijklmnpqrsvwxyz";
const $ = (id) => document.getElementById(id);

// parseNarInfo reads a record. Fields that may be there several times are lists.
export function parseNarInfo(text) {
  const r = Object.assign(Object.create(null), { Sig: [], References: [] });
  for (const line of text.split("\n")) {
    const at = line.indexOf(":");
    if (at < 1) continue;
    const field = line.slice(0, at), value = line.slice(at + 1).trim();
    if (field === "Sig") r.Sig.push(value);
    else if (field === "References") r.References = value.split(" ").filter((v) => v);
    else r[field] ??= value;
  }
  for (const field of ["FileSize", "NarSize"]) {
    const n = /^\d+$/.test(r[field]) ? Number(r[field]) : 0;
    r[field] = Number.isSafeInteger(n) ? n : 0; // 0 is not known
  }
  const at = (r.StorePath || "").lastIndexOf("/");
  r.Base = (r.StorePath || "").slice(at + 1);
  r.Store = (r.StorePath || "").slice(0, Math.max(0, at));
  if (!isBase(r.Base) || !r.References.every(isBase) || !r.URL || !r.NarHash || r.NarSize === 0) throw new Error("the record makes no sense");
  r.Compression ||= "bzip2"; // what Nix takes it for
  return r;
}

const mostRecord = 4 << 20, mostListing = 64 << 20;
const records = new Map(), mostRecords = 10000; // a walk goes through far more, once each

function record(hash) {
  if (!records.has(hash)) {
    if (records.size >= mostRecords) records.delete(records.keys().next().value);
    records.set(hash, text(hash + ".narinfo", mostRecord).then((got) => {
      const r = got === null ? null : parseNarInfo(got);
      if (r && r.Base.slice(0, 32) !== hash) throw new Error("it is the record of " + r.Base);
      return r;
    }).catch((err) => { records.delete(hash); throw err; }));
  }
  return records.get(hash);
}

// placeOf returns where the NAR of a record is, null for a place that is not of this cache.
function placeOf(r) {
  try {
    const place = new URL(r.URL, here);
    return place.origin === here.origin && place.pathname.startsWith(here.pathname) && !place.username && !place.password ? place : null;
  } catch { return null; }
}

// narLink leads to the whole NAR.
const narLink = (r, text) => placeOf(r) ? e("a", { href: placeOf(r).href, download: true }, text) : e("span", { class: "soft" }, text + " in another place");

const nameOf = (base) => base.slice(33);

// link leads to the page of a store path.
const link = (base, text = base) => e("a", { href: pathLink(base.slice(0, 32)) }, e("bdi", null, text));

// Signatures.

const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

// nix32 writes a hash as fingerprints have it, whatever form the record has.
function nix32(hash) {
  const [algo, text] = hash.includes(":") ? hash.split(":") : [hash.split("-")[0], hash.slice(hash.indexOf("-") + 1)];
  if (hash.includes(":") && text.length === 52) return hash;
  const raw = text.length === 64 ? Uint8Array.from(text.match(/../g), (h) => parseInt(h, 16)) : fromBase64(text);
  let out = "";
  for (let n = 51; n >= 0; n--) {
    const bit = n * 5, i = bit >> 3, j = bit & 7;
    out += digits[(raw[i] >> j | (i + 1 < 32 ? raw[i + 1] << 8 - j : 0)) & 31];
  }
  return algo + ":" + out;
}

// fileHash returns the hash of the NAR's file, "" if the record does not tell.
function fileHash(r) {
  try {
    if (r.FileHash) return nix32(r.FileHash);
  } catch { /* of a form that is not known */ }
  const m = /([0-9a-df-np-sv-z]{52})\.nar[^/]*$/.exec(r.URL);
  return !r.FileHash && m ? "sha256:" + m[1] : "";
}

const fingerprint = (r) => ["1", r.StorePath, nix32(r.NarHash), r.NarSize, [...r.References].sort().map((p) => r.Store + "/" + p).join(",")].join(";");

// verdict tells whether a signature of a text is good: [text, class].
async function verdict(signed, sig, keys) {
  const name = sig.slice(0, sig.indexOf(":")), key = keys.get(name);
  if (!key) return ["by a key that this cache does not name", "soft"];
  if (!globalThis.crypto?.subtle) return ["not checked: browsers check only over https", "soft"];
  try {
    const k = await crypto.subtle.importKey("raw", fromBase64(key), "Ed25519", false, ["verify"]);
    const good = await crypto.subtle.verify("Ed25519", k, fromBase64(sig.slice(name.length + 1)), signed());
    return good ? ["good", "good"] : ["WRONG: it is not of this record", "bad"];
  } catch (err) {
    return [err.name === "NotSupportedError" ? "not checked: this browser knows no Ed25519" : "makes no sense", err.name === "NotSupportedError" ? "soft" : "bad"];
  }
}

let keysPromise;
const keys = () => keysPromise ??= (document.body.dataset.keys === undefined ? Promise.resolve(null) : text("public-keys")).then((got) => new Map((got || "").split("\n").filter((l) => l.includes(":")).map((l) => [l.slice(0, l.indexOf(":")), l.slice(l.indexOf(":") + 1).trim()])));

const mostSignatures = 64;

async function signatures(r, into) {
  if (r.Sig.length === 0) {
    into.append(r.CA ? "none; its content address proves it" : "none");
    return;
  }
  const known = await keys();
  let bytes;
  const signed = () => bytes ??= new TextEncoder().encode(fingerprint(r));
  for (const sig of r.Sig.slice(0, mostSignatures)) {
    const [text, kind] = await verdict(signed, sig, known);
    into.append(e("div", null, e("code", null, sig.slice(0, sig.indexOf(":"))), " ", e("span", { class: kind }, text)));
  }
  if (r.Sig.length > mostSignatures) into.append(e("div", { class: "soft" }, "and " + plural(r.Sig.length - mostSignatures, "more signature") + ", which are not looked at"));
}

// Closures.

const sideBySide = 8;

const mostWalked = 200000; // a cache that makes up references has no end

// closure walks all that a path refers to, and adds it up.
async function closure(r, tell, halted) {
  let failed = false;
  const stopped = () => failed || halted();
  const seen = new Set([r.Base.slice(0, 32)]), todo = [];
  const add = (bases) => {
    for (const base of bases) {
      const hash = base.slice(0, 32);
      if (seen.has(hash)) continue;
      if (seen.size >= mostWalked) { failed = true; throw new Error("there are more than " + plural(mostWalked, "path")); }
      seen.add(hash);
      todo.push(hash);
    }
  };
  add(r.References);
  const sum = { paths: 1, nar: r.NarSize, file: r.FileSize || r.NarSize, elsewhere: 0 };
  const walk = async () => {
    for (let hash; (hash = todo.pop()) && !stopped();) {
      let next;
      try { next = await record(hash); } catch (err) { failed = true; throw err; }
      if (!next) { sum.elsewhere++; continue; }
      sum.paths++;
      sum.nar += next.NarSize;
      sum.file += next.FileSize || next.NarSize;
      add(next.References);
      tell(sum, todo.length);
    }
  };
  // One that finds nothing to do may be early: others are still asking.
  while (todo.length > 0 && !stopped()) await Promise.all(Array.from({ length: sideBySide }, walk));
  return sum;
}

const words = (s) => plural(s.paths, "path") + ", " + bytes(s.file) + " to download, " + bytes(s.nar) + " in a store" + (s.elsewhere ? "; " + plural(s.elsewhere, "path") + " more in other caches" : "");

function closureButton(r, current) {
  const box = e("span");
  const button = e("button", { type: "button", onclick: async () => {
    const status = e("span", { role: "status" }), stop = e("button", { type: "button" }, "Stop");
    let stopped = false;
    stop.onclick = () => { stopped = true; };
    box.replaceChildren(status, " ", stop);
    try {
      const sum = await closure(r, (s, left) => { status.textContent = plural(s.paths, "path") + ", " + bytes(s.file) + " so far…"; }, () => stopped || !current());
      box.replaceChildren(e("span", { role: "status" }, words(sum) + (stopped ? ", as far as it was walked" : "")));
    } catch (err) {
      box.replaceChildren(e("span", { class: "bad" }, err.message));
    }
  } }, "Add it up");
  box.append(button);
  return box;
}

// Referrers, as far as pins lead to this path.

async function referrers(hash, into, current) {
  const stats = await json("stats.json", mostListing);
  const pins = (Array.isArray(stats?.pins) ? stats.pins : []).filter((p) => /^search\/pin[0-9a-z]+\.json$/.test(p?.graph));
  if (pins.length === 0) { into.append(e("p", { class: "note" }, "There are no pins, and only of those it is known.")); return; }
  let found = 0;
  for (const pin of pins) {
    if (!current()) return;
    const graph = await json(pin.graph, mostListing);
    if (graph && !(Array.isArray(graph.paths) && graph.paths.every(isBase) && Array.isArray(graph.refs) && graph.refs.every(Array.isArray))) throw new Error(pin.graph + " makes no sense");
    const me = graph ? graph.paths.findIndex((p) => p.startsWith(hash)) : -1;
    if (me < 0) continue;
    found++;
    const direct = graph.paths.filter((_, i) => graph.refs[i]?.includes(me));
    const list = e("ul", { class: "plain" });
    into.append(e("h3", null, "Pin ", e("bdi", null, pin.name)), direct.length === 0 ? e("p", { class: "note" }, "The pin names this path itself.") : list);
    more(list, direct, (p) => e("li", null, link(p)));
  }
  if (found === 0) into.append(e("p", { class: "note" }, "No pin leads to this path."));
}

// more fills a list, some hundred items at a time.
function more(list, items, make, step = 200) {
  const add = (from) => {
    list.append(...items.slice(from, from + step).map(make));
    if (from + step < items.length) {
      const item = e("li", null, e("button", { type: "button", onclick: () => { item.remove(); add(from + step); } }, plural(items.length - from - step, "more item").replace(" items", "")));
      list.append(item);
    }
  };
  add(0);
}

// Files.

const isFolder = (node) => node.type === "directory";

// entriesOf returns what is in a folder, without what is not a node.
const entriesOf = (node) => Object.entries(node.entries && typeof node.entries === "object" ? node.entries : {}).filter(([, n]) => n !== null && typeof n === "object");

const sizeOf = (node) => Number.isSafeInteger(node.size) && node.size > 0 ? node.size : 0;

function folder(node, path, open) {
  const list = e("ul");
  const entries = entriesOf(node).sort(([a, m], [b, n]) => isFolder(n) - isFolder(m) || (a < b ? -1 : 1));
  more(list, entries, ([name, n]) => entry(name, n, path + "/" + name, open), 500);
  return list;
}

function entry(name, node, path, open) {
  if (isFolder(node)) {
    const n = entriesOf(node).length;
    const details = e("details", { ontoggle: () => { if (details.open && details.children.length === 1) details.append(folder(node, path, open)); } }, e("summary", null, e("bdi", null, name), "/ ", e("small", null, plural(n, "item"))));
    return e("li", null, details);
  }
  if (node.type === "symlink") {
    const target = String(node.target), m = new RegExp("^" + storeDir.replace(/[.*+?^${}()|[\]\\]/g, "\\$&") + "/([0-9a-df-np-sv-z]{32})-[^/]*(.*)$").exec(target);
    return e("li", null, e("div", { class: "row" }, e("span", null, e("bdi", null, name), " → ", m ? e("a", { href: pathLink(m[1], fragment(m[2])) }, e("bdi", null, target)) : e("bdi", { class: "soft" }, target))));
  }
  return e("li", null, e("div", { class: "row" }, e("span", null, e("a", { href: pathLink(open.hash, fragment(path)) }, e("bdi", null, name)), node.executable ? e("span", { class: "tag" }, "executable") : null), e("small", null, bytes(sizeOf(node)))));
}

const fragment = (path) => path.split("/").map(encodeURIComponent).join("/");

// head returns the bytes that stand in a NAR right before the content of a file: its size, and
// before that as much as the listing says, with the name of its entry; "" is the root.
// See nar.Node.Head.
function head(node, name) {
  const encode = (s) => new TextEncoder().encode(s), parts = [];
  const put = (...texts) => texts.forEach((text) => {
    const b = encode(text), out = new Uint8Array(8 + Math.ceil(b.length / 8) * 8);
    new DataView(out.buffer).setUint32(0, b.length, true);
    out.set(b, 8);
    parts.push(out);
  });
  const known = !name.includes("\ufffd") && new TextDecoder().decode(encode(name)) === name; // the bytes of the name
  if (name === "") put("nix-archive-1", "(", "type");
  else put(...(known ? ["entry", "(", "name", name] : []), "node", "(", "type");
  put("regular");
  if (node.executable === true) put("executable", "");
  put("contents");
  const size = new Uint8Array(8);
  new DataView(size.buffer).setBigUint64(0, BigInt(sizeOf(node)), true);
  parts.push(size);
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  parts.reduce((at, p) => { all.set(p, at); return at + p.length; }, 0);
  return all;
}

// mostFile is how many bytes the NAR's file may have, with what a compressor adds to noise.
const mostFile = (r) => Math.max(r.FileSize, r.NarSize) * 17 / 16 + (1 << 20);

// framesOf returns the frames of the record's file, null if they are not known. What a listing
// says of another file, or what cannot be, does not count: see docs/listings.md.
function framesOf(r, listing) {
  const seek = listing.seek;
  if (r.Compression !== "zstd" || !seek || !Array.isArray(seek.frames) || seek.frames.length < 2 || seek.frames.length > 65536) return null;
  if (!seek.file || seek.file !== fileHash(r)) return null;
  let packed = 0, plain = 0;
  for (const f of seek.frames) {
    if (!Array.isArray(f) || f.length !== 2 || !f.every(Number.isSafeInteger) || f[0] < 1 || f[1] < 0) return null;
    packed += f[0];
    plain += f[1];
  }
  return plain === r.NarSize && (r.FileSize === 0 ? packed <= mostFile(r) : packed === r.FileSize) ? seek.frames : null;
}

// way finds out what has to be fetched for a file: bytes from and to of the NAR's
// file, how much of what they hold comes before the head of the file, and how it is decoded.
export function way(r, listing, node, name) {
  const size = sizeOf(node), offset = node.narOffset, before = head(node, name), begin = offset - before.length;
  if (size === 0) return { from: 0, to: 0, skip: 0, size, decode: "none" };
  if (!placeOf(r)) return { why: "the NAR is in another place" };
  if (!Number.isSafeInteger(offset)) return { why: "the listing does not tell where the file is" };
  if (begin < 0 || offset + size > r.NarSize) return { why: "the listing puts it where the NAR is not" };
  if (r.Compression === "none") return { from: begin, to: offset + size, skip: 0, size, head: before, decode: "none" };
  const all = framesOf(r, listing);
  if (all) {
    let packed = 0, plain = 0, from = 0, skip = 0, frames = [];
    for (const [p, u] of all) {
      if (plain <= begin) { from = packed; skip = begin - plain; frames = []; }
      frames.push(p);
      packed += p;
      plain += u;
      if (plain >= offset + size) return { from, to: packed, skip, size, head: before, decode: "zstd", frames };
    }
  }
  const decoders = { zstd: "zstd", gzip: "gzip" };
  if (!Object.hasOwn(decoders, r.Compression)) return { why: "a browser cannot read " + r.Compression };
  return { from: 0, to: r.FileSize, skip: begin, size, head: before, decode: decoders[r.Compression], most: true };
}

async function* read(body, count, most = Infinity) {
  const reader = body.getReader();
  let n = 0;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      count(value.length);
      if ((n += value.length) > most) throw new Error("the file is far larger than its record says");
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// through passes chunks through a decoder of the browser's own.
function through(chunks, decoder) {
  const source = new ReadableStream({
    async pull(c) {
      try {
        const { value, done } = await chunks.next();
        if (done) c.close(); else c.enqueue(value);
      } catch (err) { c.error(err); }
    },
    cancel() { chunks.return(); },
  });
  return read(source.pipeThrough(decoder), () => {});
}

// each gives every frame a decoder of its own, as not all go on behind the first.
async function* each(chunks, frames, decoder) {
  let have = new Uint8Array(0);
  for (const size of frames) {
    let left = size;
    const one = (async function* () {
      while (left > 0) {
        if (have.length === 0) {
          const { value, done } = await chunks.next();
          if (done) return;
          have = value;
        }
        const part = have.subarray(0, left);
        have = have.subarray(part.length);
        left -= part.length;
        yield part;
      }
    })();
    yield* through(one, decoder());
  }
}

const native = (name) => { try { return new DecompressionStream(name); } catch { return null; } };

// contents yields the bytes of a file, most at the utmost. What stands before the file has to
// be what the listing says. Tell is called if the server sends more than was asked for.
export async function* contents(r, w, most, count, signal, tell) {
  let left = Math.min(most, w.size), skip = w.skip, room = r.NarSize, before = w.head;
  if (left === 0) return;
  const whole = w.from === 0 && w.most;
  const headers = whole ? {} : { Range: "bytes=" + w.from + "-" + (w.to - 1) };
  const answer = await fetch(placeOf(r), { headers, signal, credentials: "same-origin" });
  if (!answer.ok) throw new Error("the server answers " + answer.status);
  // A server without ranges sends all of it.
  const part = answer.status === 206;
  if (part && Number(/^bytes (\d+)-/.exec(answer.headers.get("Content-Range") ?? "")?.[1] ?? w.from) !== w.from) throw new Error("the server sends another part than was asked for");
  if (!whole && !part) tell();
  let chunks = read(answer.body, count, part ? w.to - w.from : mostFile(r));
  if (!part && w.from > 0) chunks = drop(chunks, w.from);
  if (w.decode === "gzip") chunks = through(chunks, native("gzip"));
  if (w.decode === "zstd") {
    const frames = w.frames && native("zstd") ? w.frames : null;
    if (frames) chunks = each(chunks, frames, () => native("zstd"));
    else chunks = (await import("./zstd.js")).decompress(chunks);
  }
  for await (let chunk of chunks) {
    if ((room -= chunk.length) < 0 && w.decode !== "none") throw new Error("the NAR is longer than its record says");
    if (skip >= chunk.length) { skip -= chunk.length; continue; }
    chunk = chunk.subarray(skip);
    skip = 0;
    const n = Math.min(before.length, chunk.length);
    for (let i = 0; i < n; i++) if (chunk[i] !== before[i]) throw new Error("the listing is wrong about this file, or the NAR is damaged");
    before = before.subarray(n);
    chunk = chunk.subarray(n, n + left);
    if (chunk.length === 0) continue;
    left -= chunk.length;
    yield chunk;
    if (left === 0) return;
  }
  throw new Error("the NAR is cut off");
}

async function* drop(chunks, n) {
  for await (const chunk of chunks) {
    if (n >= chunk.length) { n -= chunk.length; continue; }
    yield n > 0 ? chunk.subarray(n) : chunk;
    n = 0;
  }
}

const previewBytes = 64 << 10, pieceBytes = 8 << 20;

function file(r, listing, node, path) {
  const box = e("section", { id: "file", "aria-label": "File" });
  const name = path.slice(path.lastIndexOf("/") + 1) || nameOf(r.Base);
  const w = way(r, listing, node, path.slice(path.lastIndexOf("/") + 1));
  box.append(e("h3", null, e("bdi", null, path.slice(1) || nameOf(r.Base))));
  const cost = !w.most ? bytes((w.to || 0) - (w.from || 0)) + " are transferred" : "up to " + (w.to ? bytes(w.to) : "all of the NAR's file, whose size is not known,") + " are transferred, as this NAR cannot be read in parts";
  const status = e("p", { class: "note", role: "status" });
  if (w.why) {
    box.append(e("p", { class: "note" }, bytes(sizeOf(node)) + ". It cannot be taken out here: " + w.why + "."), e("p", null, narLink(r, "Download the whole NAR"), r.FileSize ? " (" + bytes(r.FileSize) + ")" : ""));
    return box;
  }
  const preview = e("button", { type: "button" }, "Show text"), download = e("button", { type: "button", class: "main" }, "Download");
  const busy = async (what, most, done) => {
    const control = new AbortController(), stop = e("button", { type: "button", onclick: () => control.abort() }, "Stop"), bar = e("progress", { max: Math.min(most, w.size) || 1, value: 0, "aria-label": what });
    preview.disabled = download.disabled = true;
    status.replaceChildren(what + " ", stop, bar);
    let moved = 0, got = 0;
    const parts = []; // blobs, which a browser may keep on disk
    let gathered = [], size = 0;
    const gather = () => { parts.push(new Blob(gathered)); gathered = []; size = 0; };
    const all = () => status.append(" This server gives no parts: up to " + (r.FileSize ? bytes(r.FileSize) : "the whole NAR") + " are transferred.");
    try {
      for await (const chunk of contents(r, w, most, (n) => { moved += n; }, control.signal, all)) {
        gathered.push(chunk);
        if ((size += chunk.length) >= pieceBytes) gather();
        got += chunk.length;
        bar.value = got;
      }
      gather();
      done(parts);
      status.replaceChildren(bytes(moved) + " transferred.");
      box.dataset.moved = moved;
    } catch (err) {
      status.replaceChildren(e("span", { class: "bad" }, control.signal.aborted ? "Stopped." : "That failed: " + err.message));
    } finally {
      control.abort(); // of what was asked for, the rest is not wanted
    }
    preview.disabled = download.disabled = false;
  };
  preview.onclick = () => busy("Reading…", previewBytes, async (parts) => {
    const data = new Uint8Array(await new Blob(parts).arrayBuffer());
    box.querySelector("pre")?.remove();
    const text = textOf(data, w.size > data.length);
    box.append(e("pre", { tabindex: 0 }, e("code", { dir: "ltr" }, text === null ? "This is not text." : text === "" ? "The file is empty." : text)));
    if (text !== null && w.size > data.length) status.append(" The first " + bytes(data.length) + " are shown.");
  });
  download.onclick = () => busy("Downloading…", w.size, (parts) => {
    const url = URL.createObjectURL(new Blob(parts, { type: "application/octet-stream" }));
    const a = e("a", { href: url, download: name });
    document.body.append(a);
    a.click();
    a.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  });
  box.append(e("p", { class: "note" }, bytes(sizeOf(node)) + (node.executable ? ", executable" : "") + ". For it " + cost + "."), e("p", null, download, " ", preview), status,
    e("p", { class: "note" }, "Only the hash of the whole NAR is signed, and a browser does not compare it: ", e("code", null, "nixstatic cat --verify"), " and Nix do."));
  return box;
}

// textOf returns the text that bytes are, null if they are none. The last character
// may be cut off.
function textOf(data, cut) {
  for (let n = 0; n <= (cut ? 3 : 0); n++) {
    try {
      const text = new TextDecoder("utf-8", { fatal: true }).decode(data.subarray(0, data.length - n));
      return text.includes("\0") ? null : text;
    } catch { /* perhaps in the middle of a character */ }
  }
  return null;
}

// provenance shows what a record says of where its path comes from, which Determinate Nix
// writes as JSON. Signatures do not cover it.
function provenance(text) {
  const box = e("details", null, e("summary", null, "As the record says"));
  try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it is */ }
  box.append(e("pre", { tabindex: 0 }, e("code", { dir: "ltr" }, text)), e("p", { class: "note" }, "Nothing proves this: signatures do not cover it."));
  return box;
}

// The page.

let turn = 0;

async function show(walked) {
  const mine = ++turn, current = () => mine === turn;
  const text = location.hash.slice(1), hash = text.slice(0, 32), box = $("path"), message = $("message");
  if (!isHash(hash) || text.length > 32 && text[32] !== "/") {
    box.hidden = true;
    $("name").textContent = "Store path";
    message.hidden = false;
    message.textContent = text === "" ? "Search for a path above." : "That is not the hash of a store path.";
    return;
  }
  let path = "";
  try { path = decodeURIComponent(text.slice(32)).replace(/\/+$/, ""); } catch { /* as if there was none */ }
  if (box.dataset.hash === hash && !box.hidden) { box.open(path); return; }
  message.hidden = false;
  message.textContent = "Reading the record…";
  box.hidden = true;
  $("name").textContent = "Store path";
  let r;
  try {
    r = await record(hash);
  } catch (err) {
    if (current()) message.textContent = "The record cannot be read: " + err.message;
    return;
  }
  if (!current()) return;
  if (!r) {
    message.textContent = "This cache has no path with the hash " + hash + ". It may be in another cache, or have been removed.";
    return;
  }
  message.hidden = true;
  document.title = nameOf(r.Base);
  $("name").replaceChildren(e("bdi", null, nameOf(r.Base)));
  if (walked) { // to another path of this page, which is read from its top
    scrollTo(0, 0);
    $("name").focus({ preventScroll: true });
  }
  box.replaceChildren();
  box.dataset.hash = hash;
  box.hidden = false;
  const full = e("pre", null, e("code", null, r.StorePath));
  box.append(e("div", null, full));
  copyable(full);
  const facts = e("dl", { class: "facts" });
  const fact = (name, ...value) => { const dd = e("dd", null, ...value); facts.append(e("dt", null, name), dd); return dd; };
  fact("In a store", bytes(r.NarSize));
  fact("To download", r.FileSize ? bytes(r.FileSize) : "not known", e("span", { class: "soft" }, " as " + (r.Compression === "none" ? "it is" : r.Compression) + ", "), narLink(r, "NAR"));
  fact("With all it needs", closureButton(r, current));
  const signed = fact("Signed by");
  signatures(r, signed).catch((err) => signed.append(err.message));
  if (r.CA) fact("Content address", e("code", null, r.CA));
  if (isBase(r.Deriver || "")) {
    const log = e("button", { type: "button", onclick: async () => {
      const place = "log/" + encodeURIComponent(r.Deriver);
      let found = e("span", { class: "bad", role: "status" }, "The server does not answer.");
      try {
        const answer = await fetch(new URL(place, here), { credentials: "same-origin" });
        answer.body?.cancel();
        if (answer.ok) found = e("a", { href: place }, "Build log");
        else if (answer.status === 404 || answer.status === 403) found = e("span", { class: "soft", role: "status" }, "There is no build log here.");
      } catch { /* said above */ }
      log.replaceWith(found);
      found.focus();
    } }, "Look for its build log");
    fact("Built from", e("code", null, e("bdi", null, r.Deriver)), " ", log);
  }
  if (r.Provenance) fact("Provenance", provenance(r.Provenance));
  fact("NAR hash", e("code", null, r.NarHash));
  box.append(facts);
  const keyLine = [...(await keys().catch(() => new Map()))].map(([n, k]) => n + ":" + k).join(" ");
  if (!current()) return;
  const use = e("pre", null, e("code", null, "nix --extra-experimental-features nix-command copy --from " + cacheURL + (keyLine && r.Sig.length ? " \\\n  --option extra-trusted-public-keys \"" + keyLine + "\"" : "") + " \\\n  " + r.StorePath));
  box.append(e("h2", null, "Install"), e("div", null, use));
  copyable(use);

  const refs = r.References.filter((b) => b !== r.Base);
  box.append(e("h2", null, refs.length === 0 ? "It refers to no other path" : "Refers to " + plural(refs.length, "path")));
  const list = e("ul", { class: "plain" });
  box.append(list);
  more(list, refs, (b) => e("li", null, link(b, nameOf(b)), " ", e("code", { class: "soft" }, b.slice(0, 8) + "…")), 40);
  const needed = e("div");
  needed.append(e("button", { type: "button", onclick: () => { needed.replaceChildren(); referrers(hash, needed, current).catch((err) => needed.append(e("p", { class: "bad" }, err.message))); } }, "Look in the closures of pins"));
  box.append(e("h2", null, "Needed by"), needed);

  const files = e("div");
  box.append(e("h2", { id: "files" }, "Files"), files);
  box.open = () => {};
  files.append(e("p", { class: "note", role: "status" }, "Reading the listing…"));
  try {
    const listing = await json(hash + ".ls", mostListing);
    if (!current()) return;
    if (listing && (listing.root === null || typeof listing.root !== "object")) throw new Error("it makes no sense");
    files.replaceChildren();
    if (!listing) files.append(e("p", { class: "note" }, "There is no listing of its files here."));
    else {
      const open = { hash };
      const tree = e("ul", { class: "tree" });
      if (isFolder(listing.root)) tree.append(...folder(listing.root, "", open).childNodes);
      else if (listing.root.type === "regular") files.append(file(r, listing, listing.root, ""));
      else tree.append(entry(nameOf(r.Base), listing.root, "", open));
      files.append(tree);
      box.open = (path) => openFile(r, listing, path, files);
      box.open(path);
    }
  } catch (err) {
    if (current()) files.replaceChildren(e("p", { class: "bad" }, "The listing cannot be read: " + err.message));
  }
}

// openFile shows the file at a path, or nothing for a path that has none.
function openFile(r, listing, path, into) {
  $("file")?.remove();
  if (!path) return;
  let node = listing.root;
  for (const part of path.split("/").filter((p) => p)) node = node && isFolder(node) ? entriesOf(node).find(([name]) => name === part)?.[1] : undefined;
  if (node && node.type === "regular") into.prepend(file(r, listing, node, path));
  else into.prepend(e("section", { id: "file" }, node ? e("ul", { class: "tree" }, isFolder(node) ? entry(path.slice(1), node, path, { hash: r.Base.slice(0, 32) }) : entry(path.slice(1), node, path, {})) : e("p", { class: "note" }, "There is no such file in this path.")));
  $("file").scrollIntoView({ block: "nearest" });
}

addEventListener("hashchange", () => show(true));
show(false);
