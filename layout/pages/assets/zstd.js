// A decoder for Zstandard as RFC 8878 describes it, for browsers that have none.
// It reads frames one after the other from a stream and gives out what they hold,
// block by block, in the memory of one window. Dictionaries are not known.

// ZstdError says that bytes are not what they should be.
export class ZstdError extends Error {}

const fail = (why) => { throw new ZstdError("zstd: " + why); };

const maxBlock = 128 << 10;
const maxWindow = 128 << 20; // Nix's own limit

// decompress reads chunks of bytes, from an async iterable of Uint8Array, and
// yields chunks of decompressed bytes, which stay the caller's.
export async function* decompress(chunks) {
  const from = new Source(chunks), state = new State();
  try {
    while (await from.has(1)) {
      const magic = u32(await from.take(4), 0);
      if (magic >>> 4 === 0x184d2a5) { // a frame to be skipped
        let rest = u32(await from.take(4), 0);
        for (; rest > 0; rest -= Math.min(rest, maxBlock)) await from.take(Math.min(rest, maxBlock));
        continue;
      }
      if (magic !== 0xfd2fb528) fail("not a frame");
      yield* frame(from, state);
    }
  } finally {
    await from.end();
  }
}

async function* frame(from, state) {
  const descriptor = (await from.take(1))[0];
  if (descriptor & 8) fail("a reserved bit is set");
  const single = descriptor >> 5 & 1;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3];
  const sizeBytes = [single, 2, 4, 8][descriptor >> 6];
  let window = 0;
  if (!single) {
    const b = (await from.take(1))[0];
    const base = 2 ** (10 + (b >> 3));
    window = base + base / 8 * (b & 7);
  }
  const dictionary = await from.take(dictionaryBytes);
  if (dictionary.some((b) => b !== 0)) fail("it needs a dictionary");
  let size = -1;
  if (sizeBytes > 0) {
    size = 0;
    (await from.take(sizeBytes)).forEach((b, i) => { size += b * 2 ** (8 * i); });
    if (sizeBytes === 2) size += 256;
  }
  if (single) window = size;
  if (window > maxWindow) fail("its window of " + window + " bytes is too large");
  state.begin(Math.max(window, 1024), size);
  const sum = descriptor & 4 ? new XXH64() : null;
  for (let last = false; !last;) {
    const head = await from.take(3);
    const h = head[0] | head[1] << 8 | head[2] << 16;
    last = (h & 1) === 1;
    const n = h >> 3;
    let out;
    if (n > state.blockMost) fail("a block is too large");
    switch (h >> 1 & 3) {
      case 0: out = state.raw(await from.take(n)); break;
      case 1: out = state.repeat((await from.take(1))[0], n); break;
      case 2: out = state.block(await from.take(n)); break;
      default: fail("a block of an unknown type");
    }
    if (sum) sum.update(out);
    if (out.length > 0) yield out.slice();
  }
  if (size >= 0 && state.total !== size) fail("the frame has another size than it says");
  if (sum && sum.digest() !== u32(await from.take(4), 0)) fail("the checksum is wrong");
}

// A Source gives out a stream of chunks in pieces of any size.
class Source {
  constructor(chunks) {
    this.chunks = chunks[Symbol.asyncIterator] ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]();
    this.have = new Uint8Array(0);
    this.at = 0;
    this.done = false;
  }
  // has reports whether n more bytes are to come.
  async has(n) {
    if (this.have.length - this.at >= n) return true;
    const parts = [this.have.subarray(this.at)];
    let size = parts[0].length;
    while (size < n && !this.done) {
      const { value, done } = await this.chunks.next();
      if (done) { this.done = true; break; }
      parts.push(value);
      size += value.length;
    }
    if (parts.length > 1) {
      this.have = new Uint8Array(size);
      let at = 0;
      for (const part of parts) { this.have.set(part, at); at += part.length; }
      this.at = 0;
    }
    return size >= n;
  }
  async take(n) {
    if (!await this.has(n)) fail("it is cut off");
    this.at += n;
    return this.have.subarray(this.at - n, this.at);
  }
  async end() {
    if (!this.done && this.chunks.return) await this.chunks.return();
  }
}

const u32 = (b, i) => (b[i] | b[i + 1] << 8 | b[i + 2] << 16 | b[i + 3] << 24) >>> 0;

// Bits are read from the end of a stream to its beginning, below a final 1.
class Bits {
  constructor(data, from, to) {
    const last = to > from ? data[to - 1] : 0;
    if (last === 0) fail("a stream of bits has no end");
    this.data = data; // has zeros behind it
    this.base = from;
    this.left = (to - from) * 8 - Math.clz32(last) + 23;
  }
  // peek returns n bits, 16 at most, below a position. Those below 0 are zero.
  peek(left, n) {
    const p = left - n;
    if (p < 0) return left <= 0 ? 0 : this.peek(left, left) << -p;
    const i = this.base + (p >> 3), d = this.data;
    return (d[i] | d[i + 1] << 8 | d[i + 2] << 16) >>> (p & 7) & (1 << n) - 1;
  }
  read(n) {
    if (n > 16) {
      const high = this.read(n - 16);
      return high * 65536 + this.read(16);
    }
    const v = this.peek(this.left, n);
    this.left -= n;
    return v;
  }
}

// A table of finite state entropy: for each state the symbol, how many bits are
// read for the next state, and what is added to them.
function fseTable(counts, log) {
  const size = 1 << log;
  const symbol = new Uint8Array(size), bits = new Uint8Array(size), base = new Uint16Array(size);
  let high = size;
  const next = new Uint16Array(counts.length);
  counts.forEach((n, s) => {
    if (n === -1) { symbol[--high] = s; next[s] = 1; } else next[s] = n;
  });
  const step = (size >> 1) + (size >> 3) + 3;
  let at = 0;
  counts.forEach((n, s) => {
    for (let i = 0; i < n; i++) {
      symbol[at] = s;
      do at = at + step & size - 1; while (at >= high);
    }
  });
  if (at !== 0) fail("an entropy table is wrong");
  for (let i = 0; i < size; i++) {
    const n = next[symbol[i]]++;
    bits[i] = log - (31 - Math.clz32(n));
    base[i] = (n << bits[i]) - size;
  }
  return { log, symbol, bits, base };
}

const oneSymbol = (s) => ({ log: 0, symbol: Uint8Array.of(s), bits: Uint8Array.of(0), base: Uint16Array.of(0) });

// fseRead reads the description of a table. It returns the table and where the
// description ends.
function fseRead(data, at, end, mostLog, mostSymbol) {
  let p = at * 8;
  const get = (n) => {
    const i = p >> 3;
    if (p + n > end * 8 + 16) fail("an entropy table is cut off");
    const v = ((i < end ? data[i] : 0) | (i + 1 < end ? data[i + 1] << 8 : 0) | (i + 2 < end ? data[i + 2] << 16 : 0)) >>> (p & 7) & (1 << n) - 1;
    p += n;
    return v;
  };
  const log = get(4) + 5;
  if (log > mostLog) fail("an entropy table is too large");
  const counts = [];
  let left = (1 << log) + 1;
  while (left > 1 && counts.length <= mostSymbol) {
    const n = 32 - Math.clz32(left);
    const most = (1 << n) - 1 - left; // values below it need a bit less
    let v = get(n - 1);
    if (v >= most) {
      if (get(1)) v += (1 << n - 1) - most;
    }
    const count = v - 1;
    left -= Math.abs(count);
    if (left < 1) fail("an entropy table is wrong");
    counts.push(count);
    if (count === 0) {
      for (let more = 3; more === 3;) {
        more = get(2);
        for (let i = 0; i < more; i++) counts.push(0);
      }
    }
  }
  if (left !== 1 || counts.length > mostSymbol + 1) fail("an entropy table is wrong");
  const after = p + 7 >> 3;
  if (after > end) fail("an entropy table is cut off");
  return { table: fseTable(counts, log), at: after };
}

// huffmanRead reads a Huffman table: what each value of its bits means.
function huffmanRead(data, at, end) {
  if (at >= end) fail("a Huffman table is cut off");
  const head = data[at++];
  const weights = [];
  if (head >= 128) {
    const n = head - 127, bytes = n + 1 >> 1;
    if (at + bytes > end) fail("a Huffman table is cut off");
    for (let i = 0; i < n; i++) weights.push(i & 1 ? data[at + (i >> 1)] & 15 : data[at + (i >> 1)] >> 4);
    at += bytes;
  } else {
    const stop = at + head;
    if (stop > end) fail("a Huffman table is cut off");
    const { table, at: from } = fseRead(data, at, stop, 6, 255);
    const bits = new Bits(data, from, stop);
    // Two states take turns, until there are no more bits.
    const state = [bits.read(table.log), bits.read(table.log)];
    if (bits.left < 0) fail("a Huffman table is cut off");
    for (let i = 0; ; i = 1 - i) {
      if (weights.length > 253) fail("a Huffman table is too large");
      weights.push(table.symbol[state[i]]);
      const n = table.bits[state[i]];
      if (bits.left < n) { weights.push(table.symbol[state[1 - i]]); break; }
      state[i] = table.base[state[i]] + bits.read(n);
    }
    at = stop;
  }
  let sum = 0;
  for (const w of weights) {
    if (w > 11) fail("a Huffman table is wrong");
    if (w > 0) sum += 1 << w - 1;
  }
  if (sum === 0) fail("a Huffman table is empty");
  const log = 32 - Math.clz32(sum);
  const rest = (1 << log) - sum;
  if (log > 11 || (rest & rest - 1) !== 0) fail("a Huffman table is wrong");
  weights.push(32 - Math.clz32(rest)); // the last weight makes the sum whole
  const size = 1 << log, symbol = new Uint8Array(size), bits = new Uint8Array(size);
  let p = 0;
  for (let w = 1; w <= log; w++) {
    for (let s = 0; s < weights.length; s++) {
      if (weights[s] !== w) continue;
      const n = 1 << w - 1;
      symbol.fill(s, p, p + n);
      bits.fill(log + 1 - w, p, p + n);
      p += n;
    }
  }
  if (p !== size) fail("a Huffman table is wrong");
  return { table: { log, symbol, bits }, at };
}

function huffmanDecode(table, data, from, to, out, at, count) {
  const b = new Bits(data, from, to), { log, symbol, bits } = table;
  for (const end = at + count; at < end; at++) {
    const i = b.peek(b.left, log);
    out[at] = symbol[i];
    b.left -= bits[i];
  }
  if (b.left !== 0) fail("a stream of literals is wrong");
}

// What codes of lengths and offsets mean: a value, and more bits to be added.
const literalBase = [], literalBits = [], matchBase = [], matchBits = [];
{
  const fill = (base, bits, start, extra) => {
    let v = start;
    for (const n of extra) { base.push(v); bits.push(n); v += 2 ** n; }
  };
  fill(literalBase, literalBits, 0, [...Array(16).fill(0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
  fill(matchBase, matchBits, 3, [...Array(32).fill(0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
}

const usual = {
  literals: fseTable([4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1], 6),
  offsets: fseTable([1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1], 5),
  matches: fseTable([1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1], 6),
};

// A State is what lasts from block to block of a frame. Its memory serves all frames, as
// there may be many small ones, and grows with what they hold, whatever they announce.
class State {
  constructor() {
    this.out = new Uint8Array(2 * maxBlock);
    this.work = new Uint8Array(maxBlock + 8);
    this.literals = new Uint8Array(maxBlock);
  }
  begin(window, size) {
    this.window = window;
    this.blockMost = Math.min(maxBlock, window);
    this.most = Math.min(size >= 0 ? size : Infinity, window + Math.min(window, 8 << 20)) + maxBlock;
    this.at = 0;
    this.total = 0;
    this.offsets = [1, 4, 8];
    this.huffman = null;
    this.tables = { literals: null, offsets: null, matches: null };
  }
  // room makes place for n bytes, and forgets what is out of the window.
  room(n) {
    if (this.at + n > this.out.length && this.out.length < this.most) {
      const larger = new Uint8Array(Math.min(this.most, Math.max(2 * this.out.length, this.at + n)));
      larger.set(this.out.subarray(0, this.at));
      this.out = larger;
    }
    if (this.at + n <= this.out.length) return;
    const keep = Math.min(this.at, this.window);
    this.out.copyWithin(0, this.at - keep, this.at);
    this.at = keep;
    if (this.at + n > this.out.length) fail("the frame is larger than it says");
  }
  taken(n) {
    this.at += n;
    this.total += n;
    return this.out.subarray(this.at - n, this.at);
  }
  raw(bytes) {
    this.room(bytes.length);
    this.out.set(bytes, this.at);
    return this.taken(bytes.length);
  }
  repeat(byte, n) {
    this.room(n);
    this.out.fill(byte, this.at, this.at + n);
    return this.taken(n);
  }
  block(bytes) {
    if (bytes.length < 2) fail("a block is too short");
    const data = this.work, end = bytes.length;
    data.set(bytes);
    data.fill(0, end, end + 8);
    const { at, count } = this.readLiterals(data, end);
    return this.sequences(data, at, end, count);
  }

  // readLiterals fills this.literals. It returns where they end, and how many there are.
  readLiterals(data, end) {
    const type = data[0] & 3, format = data[0] >> 2 & 3;
    const need = (n) => { if (n > end) fail("a block is cut off"); };
    if (type < 2) {
      const head = [1, 2, 1, 3][format];
      need(head);
      let count = data[0] >> 3;
      if (format === 1) count = data[0] >> 4 | data[1] << 4;
      if (format === 3) count = data[0] >> 4 | data[1] << 4 | data[2] << 12;
      if (count > this.blockMost) fail("too many literals");
      if (type === 1) {
        need(head + 1);
        this.literals.fill(data[head], 0, count);
        return { at: head + 1, count };
      }
      need(head + count);
      this.literals.set(data.subarray(head, head + count));
      return { at: head + count, count };
    }
    const head = [3, 3, 4, 5][format], width = [10, 10, 14, 18][format];
    need(head);
    const low = u32(data, 0), high = data[4];
    const mask = (1 << width) - 1;
    const count = low >>> 4 & mask;
    const size = (width === 18 ? low >>> 22 | high << 10 : low >>> 4 + width) & mask;
    if (count > this.blockMost) fail("too many literals");
    need(head + size);
    const stop = head + size;
    let at = head;
    if (type === 2) ({ table: this.huffman, at } = huffmanRead(data, head, stop));
    else if (!this.huffman) fail("literals without a table");
    if (format === 0) {
      huffmanDecode(this.huffman, data, at, stop, this.literals, 0, count);
      return { at: stop, count };
    }
    if (at + 6 > stop) fail("literals are cut off");
    const each = count + 3 >> 2;
    if (count < 3 * each) fail("too few literals for four streams");
    const from = [at + 6];
    for (let i = 0; i < 3; i++) from.push(from[i] + (data[at + 2 * i] | data[at + 2 * i + 1] << 8));
    from.push(stop);
    if (from[3] > stop) fail("literals are cut off");
    for (let i = 0; i < 4; i++) {
      huffmanDecode(this.huffman, data, from[i], from[i + 1], this.literals, i * each, i < 3 ? each : count - 3 * each);
    }
    return { at: stop, count };
  }

  // table reads which table codes are in.
  table(mode, which, data, at, end, mostLog, mostSymbol) {
    switch (mode) {
      case 0: this.tables[which] = usual[which]; return at;
      case 1:
        if (at >= end || data[at] > mostSymbol) fail("a table of one symbol is wrong");
        this.tables[which] = oneSymbol(data[at]);
        return at + 1;
      case 2: {
        const read = fseRead(data, at, end, mostLog, mostSymbol);
        this.tables[which] = read.table;
        return read.at;
      }
    }
    if (!this.tables[which]) fail("a table is used again that was never there");
    return at;
  }

  sequences(data, at, end, literals) {
    if (at >= end) fail("a block has no sequences");
    let count = data[at++];
    if (count > 127) {
      if (count < 255) count = (count - 128 << 8) + data[at++];
      else { count = data[at] + (data[at + 1] << 8) + 0x7f00; at += 2; }
    }
    if (at > end) fail("a block is cut off");
    if (count === 0) {
      if (at !== end) fail("bytes behind a block");
      return this.raw(this.literals.subarray(0, literals));
    }
    const modes = data[at++];
    if (at > end || modes & 3) fail("the tables of a block are wrong");
    at = this.table(modes >> 6, "literals", data, at, end, 9, 35);
    at = this.table(modes >> 4 & 3, "offsets", data, at, end, 8, 31);
    at = this.table(modes >> 2 & 3, "matches", data, at, end, 9, 52);
    const bits = new Bits(data, at, end);
    const { literals: ll, offsets: of, matches: ml } = this.tables;
    let l = bits.read(ll.log), o = bits.read(of.log), m = bits.read(ml.log);
    this.room(this.blockMost);
    const out = this.out, start = this.at, most = start + this.blockMost, recent = this.offsets;
    let to = start, used = 0;
    for (let i = 0; i < count; i++) {
      const code = of.symbol[o], mcode = ml.symbol[m], lcode = ll.symbol[l];
      const value = 2 ** code + bits.read(code);
      const length = matchBase[mcode] + bits.read(matchBits[mcode]);
      const before = literalBase[lcode] + bits.read(literalBits[lcode]);
      let offset;
      if (value > 3) {
        offset = value - 3;
        recent[2] = recent[1]; recent[1] = recent[0]; recent[0] = offset;
      } else {
        const which = value - 1 + (before === 0 ? 1 : 0);
        offset = which < 3 ? recent[which] : recent[0] - 1;
        if (which > 1) recent[2] = recent[1];
        if (which > 0) { recent[1] = recent[0]; recent[0] = offset; }
      }
      if (i + 1 < count) {
        l = ll.base[l] + bits.read(ll.bits[l]);
        m = ml.base[m] + bits.read(ml.bits[m]);
        o = of.base[o] + bits.read(of.bits[o]);
      }
      if (bits.left < 0) fail("a stream of sequences is cut off");
      if (used + before > literals || to + before + length > most) fail("a block is larger than it may be");
      for (let n = 0; n < before; n++) out[to++] = this.literals[used++];
      if (offset < 1 || offset > to || offset > this.window) fail("a match reaches out of its window");
      if (offset >= length && length > 24) { out.copyWithin(to, to - offset, to - offset + length); to += length; }
      else for (let n = 0; n < length; n++, to++) out[to] = out[to - offset];
    }
    if (bits.left !== 0) fail("a stream of sequences is wrong");
    const rest = literals - used;
    if (to + rest > most) fail("a block is larger than it may be");
    out.set(this.literals.subarray(used, literals), to);
    return this.taken(to + rest - start);
  }
}

// XXH64 sums bytes, in halves of 32 bits. Format: the xxHash specification.
class XXH64 {
  constructor() {
    this.total = 0;
    this.rest = new Uint8Array(32);
    this.filled = 0;
    // The four lanes, each low and high: P1+P2, P2, 0, -P1.
    this.v = Uint32Array.of(...add64(...P1, ...P2), ...P2, 0, 0, ...add64(~P1[0] >>> 0, ~P1[1] >>> 0, 1, 0));
  }
  update(bytes) {
    this.total += bytes.length;
    let at = 0;
    if (this.filled > 0) {
      at = Math.min(32 - this.filled, bytes.length);
      this.rest.set(bytes.subarray(0, at), this.filled);
      this.filled += at;
      if (this.filled < 32) return;
      this.stripe(this.rest, 0);
      this.filled = 0;
    }
    for (; at + 32 <= bytes.length; at += 32) this.stripe(bytes, at);
    this.rest.set(bytes.subarray(at));
    this.filled = bytes.length - at;
  }
  stripe(b, at) {
    for (let i = 0; i < 8; i += 2, at += 8) {
      round(this.v[i], this.v[i + 1], u32(b, at), u32(b, at + 4));
      this.v[i] = lo; this.v[i + 1] = hi;
    }
  }
  // digest returns the low 32 bits, which frames end with.
  digest() {
    const v = this.v;
    if (this.total >= 32) {
      lo = hi = 0;
      let l = 0, h = 0;
      [1, 7, 12, 18].forEach((n, i) => {
        rotate(v[2 * i], v[2 * i + 1], n);
        [l, h] = add64(l, h, lo, hi);
      });
      for (let i = 0; i < 8; i += 2) {
        round(0, 0, v[i], v[i + 1]);
        multiply((l ^ lo) >>> 0, (h ^ hi) >>> 0, P1);
        [l, h] = add64(lo, hi, P4[0], P4[1]);
      }
      lo = l; hi = h;
    } else {
      lo = P5[0]; hi = P5[1];
    }
    let [l, h] = add64(lo, hi, this.total >>> 0, Math.floor(this.total / 2 ** 32));
    const b = this.rest;
    let at = 0;
    for (; at + 8 <= this.filled; at += 8) {
      round(0, 0, u32(b, at), u32(b, at + 4));
      rotate((l ^ lo) >>> 0, (h ^ hi) >>> 0, 27);
      multiply(lo, hi, P1);
      [l, h] = add64(lo, hi, P4[0], P4[1]);
    }
    if (at + 4 <= this.filled) {
      multiply(u32(b, at), 0, P1);
      rotate((l ^ lo) >>> 0, (h ^ hi) >>> 0, 23);
      multiply(lo, hi, P2);
      [l, h] = add64(lo, hi, P3[0], P3[1]);
      at += 4;
    }
    for (; at < this.filled; at++) {
      multiply(b[at], 0, P5);
      rotate((l ^ lo) >>> 0, (h ^ hi) >>> 0, 11);
      multiply(lo, hi, P1);
      [l, h] = [lo, hi];
    }
    l = (l ^ h >>> 1) >>> 0; // by 33 bits
    multiply(l, h, P2);
    [l, h] = [(lo ^ (lo >>> 29 | hi << 3)) >>> 0, (hi ^ hi >>> 29) >>> 0];
    multiply(l, h, P3);
    return (lo ^ hi) >>> 0;
  }
}

const P1 = [0x85ebca87, 0x9e3779b1], P2 = [0x27d4eb4f, 0xc2b2ae3d], P3 = [0x9e3779f9, 0x165667b1];
const P4 = [0xc2b2ae63, 0x85ebca77], P5 = [0x165667c5, 0x27d4eb2f];

let lo = 0, hi = 0; // the result of the functions below

const add64 = (al, ah, bl, bh) => {
  const l = al + bl;
  return [l >>> 0, ah + bh + (l > 0xffffffff ? 1 : 0) >>> 0];
};

function multiply(l, h, [pl, ph]) {
  const a = l & 0xffff, b = l >>> 16, c = pl & 0xffff, d = pl >>> 16;
  const ac = a * c, ad = a * d, bc = b * c;
  const middle = (ac >>> 16) + (ad & 0xffff) + (bc & 0xffff);
  const carry = (ad >>> 16) + (bc >>> 16) + (middle >>> 16) + b * d;
  lo = (middle << 16 | ac & 0xffff) >>> 0;
  hi = carry + Math.imul(l, ph) + Math.imul(h, pl) >>> 0;
}

function rotate(l, h, n) {
  lo = (l << n | h >>> 32 - n) >>> 0;
  hi = (h << n | l >>> 32 - n) >>> 0;
}

function round(l, h, inputLow, inputHigh) {
  multiply(inputLow, inputHigh, P2);
  const sum = add64(l, h, lo, hi);
  rotate(sum[0], sum[1], 31);
  multiply(lo, hi, P1);
}
