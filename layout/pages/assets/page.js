// What all pages share: where the cache is, buttons that copy, and search.

export const storeDir = document.body.dataset.store || "/nix/store";
export const here = new URL(".", location.href);
export const cacheURL = document.body.dataset.url || here.href.replace(/\/$/, "");

// element makes an element. Text is text, whatever it has in it.
export function element(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return (i === 0 ? n : n.toFixed(i > 2 ? 2 : 1)) + " " + units[i];
}

export const plural = (n, noun) => n.toLocaleString("en").replaceAll(",", "\u202f") + " " + noun + (n === 1 ? "" : "s");

// text fetches a file beside the page, of at most so many bytes. It returns null for one
// that is not there.
export async function text(name, most = 1 << 20) {
  const answer = await fetch(new URL(name, here), { credentials: "same-origin" });
  if (answer.status === 404 || answer.status === 403) return null;
  if (!answer.ok) throw new Error(name + ": the server answers " + answer.status);
  const reader = answer.body.getReader(), decoder = new TextDecoder(), parts = [];
  for (let size = 0; ;) {
    const { value, done } = await reader.read();
    if (done) return parts.join("") + decoder.decode();
    if ((size += value.length) > most) {
      reader.cancel().catch(() => {});
      throw new Error(name + " has more than " + bytes(most));
    }
    parts.push(decoder.decode(value, { stream: true }));
  }
}

// json fetches an object; anything else is an error.
export async function json(name, most) {
  const got = await text(name, most);
  if (got === null) return null;
  let value;
  try { value = JSON.parse(got); } catch { /* said below */ }
  if (value === null || typeof value !== "object") throw new Error(name + " makes no sense");
  return value;
}

const hashForm = /^[0-9a-df-np-sv-z]{32}$/, baseForm = /^[0-9a-df-np-sv-z]{32}-[0-9a-zA-Z+._?=-]{1,211}$/;

export const isHash = (text) => hashForm.test(text);

// isBase tells whether a text is <hash>-<name>.
export const isBase = (text) => baseForm.test(text);

// hashIn finds the hash in a pasted store path, or what else leads to one.
export function hashIn(text) {
  const m = /(?:^|[\/#\s])([0-9a-df-np-sv-z]{32})(?:$|[-.\/\s])/.exec(text);
  return m ? m[1] : null;
}

export const pathLink = (hash, rest = "") => "path.html#" + hash + rest;

async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // only pages over https may use the clipboard of today
    const area = element("textarea", { "aria-hidden": "true", class: "skip" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = "Copied"; // which is read out
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

// copyable puts a button beside a text that is to be copied.
export function copyable(pre) {
  const box = element("div", { class: "copy" });
  pre.replaceWith(box);
  const button = element("button", { type: "button", "aria-live": "polite", onclick: () => copyText(pre.textContent, button) }, "Copy");
  box.append(pre, button);
  return box;
}

if (!document.body.dataset.url) {
  for (const code of document.querySelectorAll("pre code")) code.textContent = code.textContent.replaceAll("https://cache.example.org", cacheURL);
}
document.querySelectorAll("pre").forEach(copyable);

// Search. The index is two tables of lines in order, each a list of shards: see
// docs/page.md. A list is fetched once, and a shard or two for a query.

const lists = {}, shards = new Map();

function list(name) {
  lists[name] ??= json("search/" + name + ".json", 16 << 20).then((l) => {
    if (l === null) return [];
    if (l.version !== 1) throw new Error("the search index is of another version; reload this page");
    const all = Array.isArray(l.shards) ? l.shards : [];
    for (let i = 0; i < all.length; i++) {
      const [from, name] = Array.isArray(all[i]) ? all[i] : [];
      if (typeof from !== "string" || !/^[0-9a-z]{1,64}$/.test(name) || i > 0 && from <= all[i - 1][0]) throw new Error("the search index makes no sense");
    }
    return all;
  }).catch((e) => { delete lists[name]; throw e; });
  return lists[name];
}

async function shard(name) {
  if (!shards.has(name)) {
    const got = await text("search/" + name + ".txt");
    if (got === null) throw new Error("the search index is being renewed; try again in a moment");
    shards.set(name, got.trimEnd().split("\n"));
    if (shards.size > 64) shards.delete(shards.keys().next().value);
  }
  return shards.get(name);
}

// span returns which shards have lines that begin with a prefix.
function span(list, prefix) {
  const least = (limit) => { // the first shard that begins at limit or behind
    let a = 0, b = list.length;
    while (a < b) { const m = a + b >> 1; if (list[m][0] >= limit) b = m; else a = m + 1; }
    return a;
  };
  return [Math.max(0, least(prefix) - 1), least(prefix + "\x7f")];
}

const atOnce = 3; // shards that one step of a query reads at most
const leastHash = 8; // fewer digits are rather meant as a name

// find yields the hits of a query, step by step: lists of {name, hash}.
async function* find(query) {
  const words = query.toLowerCase().split(/\s+/).filter((w) => w);
  const seen = new Set();
  let first = atOnce;
  if (words.length === 1 && words[0].length >= leastHash && /^[0-9a-df-np-sv-z]{1,32}$/.test(words[0])) {
    const all = await list("hashes"), [from, to] = span(all, words[0]), hits = [];
    for (let i = from; i < Math.min(to, from + 2); i++) {
      for (const line of await shard(all[i][1])) {
        const [hash, name] = line.split(" ");
        if (hash.startsWith(words[0]) && isBase(hash + "-" + name) && hits.length < 50) { seen.add(hash); hits.push({ hash, name }); }
      }
    }
    if (hits.length > 0) yield { hits, more: true };
    first = 1; // the rest of what a query may cost has been spent
  }
  const all = await list("names");
  // The word that the fewest shards have leads to the lines; all words are looked
  // for in them. A word that a name has in the middle of one is found beside others.
  let best = null;
  for (const word of words) {
    const [from, to] = span(all, word);
    if (!best || to - from < best.to - best.from) best = { word, from, to };
  }
  if (!best || all.length === 0) return;
  for (let i = best.from, step = first; i < best.to; i += step, step = atOnce) {
    const hits = [];
    for (let j = i; j < Math.min(best.to, i + step); j++) {
      for (const line of await shard(all[j][1])) {
        if (!line.toLowerCase().startsWith(best.word)) continue;
        const [rest, before, hash] = line.split(" ");
        const name = before + rest, low = name.toLowerCase();
        if (!isBase(hash + "-" + name)) continue;
        if (words.every((w) => low.includes(w)) && !seen.has(hash)) { seen.add(hash); hits.push({ hash, name, at: before.length }); }
      }
    }
    // Names that begin with the word come first.
    hits.sort((a, b) => (a.at > 0) - (b.at > 0));
    yield { hits, more: i + step < best.to };
  }
}

function marked(name, words) {
  const low = name.toLowerCase(), out = element("bdi");
  for (let i = 0; i < name.length;) {
    const word = words.find((w) => low.startsWith(w, i));
    if (word) { out.append(element("mark", null, name.slice(i, i + word.length))); i += word.length; } else {
      let j = i + 1;
      while (j < name.length && !words.some((w) => low.startsWith(w, j))) j++;
      out.append(name.slice(i, j));
      i = j;
    }
  }
  return out;
}

const mostShown = 100;

function search() {
  const form = document.querySelector("form.search"), input = document.getElementById("query");
  if (!form || document.body.dataset.search === undefined) return;
  const found = document.getElementById("found"), hits = document.getElementById("hits"), more = document.getElementById("more");
  form.hidden = false;
  let turn = 0, timer = 0, steps = null, queue = [], shown = 0, query = "";
  const show = async (mine) => {
    more.hidden = true;
    found.textContent = "Searching…";
    const words = query.toLowerCase().split(/\s+/).filter((w) => w);
    let left = true;
    try {
      while (queue.length === 0 && left) {
        const { value, done } = await steps.next();
        if (mine !== turn) return;
        if (done) left = false; else { queue.push(...value.hits); left = value.more; if (left && queue.length === 0) break; }
      }
    } catch (e) {
      if (mine === turn) found.textContent = "Search failed: " + e.message;
      return;
    }
    const next = queue.splice(0, mostShown);
    shown += next.length;
    hits.append(...next.map((h) => element("li", null, element("a", { href: pathLink(h.hash) }, element("span", null, marked(h.name, words)), element("span", { class: "mono", title: h.hash }, h.hash.slice(0, 12) + "…")))));
    more.hidden = queue.length === 0 && !left;
    found.textContent = shown === 0 ? (more.hidden ? "Nothing has a word that begins so." : "Nothing yet.") : plural(shown, "path") + (more.hidden ? "" : ", and there may be more");
  };
  const start = () => {
    const mine = ++turn;
    query = input.value.trim();
    hits.replaceChildren();
    more.hidden = true;
    found.textContent = "";
    queue = [];
    shown = 0;
    const hash = hashIn(query);
    if (hash) {
      hits.append(element("li", null, element("a", { href: pathLink(hash) }, "Go to this path", element("span", { class: "mono" }, hash))));
      return;
    }
    if (query.length < 2) return;
    steps = find(query);
    show(mine);
  };
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(start, 120); });
  input.addEventListener("paste", () => setTimeout(() => {
    const hash = hashIn(input.value.trim());
    if (hash) location.href = pathLink(hash);
  }));
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    const first = hits.querySelector("a"), hash = hashIn(input.value.trim());
    if (hash) location.href = pathLink(hash); else if (first) location.href = first.href;
  });
  more.addEventListener("click", () => show(turn));
  form.addEventListener("keydown", (e) => {
    const all = [input, ...hits.querySelectorAll("a")], at = all.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 }[e.key];
    if (to !== undefined && all[to]) { e.preventDefault(); all[to].focus(); }
    if (e.key === "Escape" && input.value) { input.value = ""; input.focus(); start(); }
  });
  addEventListener("keydown", (e) => {
    if (e.key === "/" && !e.ctrlKey && !e.metaKey && !e.altKey && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) { e.preventDefault(); input.focus(); }
  });
  addEventListener("hashchange", () => { input.value = ""; start(); });
}

search();
