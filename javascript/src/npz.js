/**
 * Reads and writes numpy's `.npz` files: a zip archive, without compression, of `.npy` files. What
 * is written has the very bytes that `numpy.savez` writes for the same arrays.
 *
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 * https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
 */

import { DTYPES, dtypeOf } from "./dtypes.js";
import { Tensor, product } from "./tensor.js";

const [LOCAL, CENTRAL, END] = [0x04034b50, 0x02014b50, 0x06054b50];
const [LOCAL_SIZE, CENTRAL_SIZE, END_SIZE, EXTRA_SIZE] = [30, 46, 22, 20];
/** The version of the format that 64-bit sizes need. */
const VERSION = 45;
/** The first of January 1980, the date that numpy gives every file. */
const DATE = 33;
const IN_EXTRA = 0xffffffff;
const UTF8 = 0x800;
/** Read and write for the owner, as Python's `zipfile` says it. */
const MODE = 0o600 * 0x10000;
const MAGIC = "\x93NUMPY";
/** Digits that numpy leaves place for, so that the first axis of an array may grow. */
const GROWTH_DIGITS = 21;

/** A tensor, or text as an array of no axes. @typedef {Tensor | string} Entry */

/**
 * Write arrays by name.
 *
 * @param {Iterable<readonly [string, Entry]>} entries
 * @returns {Uint8Array}
 */
export function writeNpz(entries) {
  const parts = /** @type {Uint8Array[]} */ ([]);
  const directory = /** @type {Uint8Array[]} */ ([]);
  let at = 0;
  for (const [name, entry] of entries) {
    const path = new TextEncoder().encode(`${name}.npy`);
    const content = npy(entry);
    const about = { path, crc: crc32(content), size: content.length, at };
    const header = localHeader(about);
    parts.push(header, content);
    directory.push(centralHeader(about));
    at += header.length + content.length;
  }
  const size = directory.reduce((total, part) => total + part.length, 0);
  return joined([...parts, ...directory, endOfArchive(directory.length, size, at)]);
}

/**
 * Read all arrays of an archive.
 *
 * @param {Uint8Array} content
 * @returns {Map<string, Entry>}
 * @throws {RangeError} If it is damaged, or holds what is not read here.
 */
export function readNpz(content) {
  const view = viewOf(content);
  const [count, start] = findDirectory(view);
  const entries = /** @type {Map<string, Entry>} */ (new Map());
  let at = start;
  for (let index = 0; index < count; index++) {
    if (view.getUint32(at, true) !== CENTRAL) throw new RangeError("its list of files is damaged");
    if (view.getUint16(at + 10, true) !== 0) throw new RangeError("its files are compressed");
    const [crc, size] = [view.getUint32(at + 16, true), view.getUint32(at + 24, true)];
    const lengths = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
    const [nameLength = 0] = lengths;
    const name = decoded(content.subarray(at + CENTRAL_SIZE, at + CENTRAL_SIZE + nameLength));
    const file = fileAt(content, view.getUint32(at + 42, true), size);
    if (crc32(file) !== crc) throw new RangeError(`${name}: its bytes were changed`);
    entries.set(name.replace(/\.npy$/u, ""), readNpy(file));
    at += CENTRAL_SIZE + lengths.reduce((total, length) => total + length, 0);
  }
  return entries;
}

/**
 * Write one array.
 *
 * @param {Entry} entry
 * @returns {Uint8Array}
 */
export function npy(entry) {
  const [descr, shape, values] = stored(entry);
  const axes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  let header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${axes}), }`;
  if (shape.length) header += " ".repeat(GROWTH_DIGITS - String(shape[0]).length);
  const used = MAGIC.length + 4 + header.length + 1;
  header += `${" ".repeat(64 - (used % 64))}\n`;
  const head = new Uint8Array(MAGIC.length + 4 + header.length);
  for (let index = 0; index < MAGIC.length; index++) head[index] = MAGIC.charCodeAt(index);
  head.set([1, 0, header.length & 0xff, header.length >> 8], MAGIC.length);
  head.set(new TextEncoder().encode(header), MAGIC.length + 4);
  return joined([head, values]);
}

/**
 * Read one array.
 *
 * @param {Uint8Array} content
 * @returns {Entry}
 * @throws {RangeError} If it is damaged, or of a dtype or an order that is not read here.
 */
export function readNpy(content) {
  const view = viewOf(content);
  const magic = String.fromCharCode(...content.subarray(0, MAGIC.length));
  if (magic !== MAGIC) throw new RangeError("expected an array of numpy");
  const wide = view.getUint8(6) > 1;
  const start = MAGIC.length + (wide ? 6 : 4);
  const end = start + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = decoded(content.subarray(start, end));
  const found =
    /^\{'descr': '([^']+)', 'fortran_order': False, 'shape': \(([\d, ]*)\), \}\s*$/u.exec(header);
  if (found === null) throw new RangeError("expected an array in the order of C");
  const [, descr = "", axes = ""] = found;
  const shape = axes.split(",").filter((axis) => axis.trim() !== "");
  return loaded(descr, shape.map(Number), Uint8Array.from(content.subarray(end)));
}

/**
 * @param {Entry} entry
 * @returns {[string, readonly number[], Uint8Array]} numpy's name of the dtype, the shape, and the
 *   bytes of the values.
 */
function stored(entry) {
  if (typeof entry === "string") {
    const characters = [...entry].map((character) => character.codePointAt(0) ?? 0);
    const values = new Uint32Array(characters);
    return [`<U${Math.max(characters.length, 1)}`, [], new Uint8Array(values.buffer)];
  }
  const { buffer, byteOffset, byteLength } = entry.data;
  const values = new Uint8Array(buffer, byteOffset, byteLength);
  return [dtypeOf(entry.dtype)?.npy ?? "", entry.shape, values];
}

/**
 * @param {string} descr
 * @param {readonly number[]} shape
 * @param {Uint8Array} bytes A copy, which begins at the first byte of its buffer.
 * @returns {Entry}
 */
function loaded(descr, shape, bytes) {
  const text = /^<U(\d+)$/u.exec(descr);
  if (text !== null && shape.length === 0 && bytes.length === 4 * Number(text[1])) {
    const characters = [...new Uint32Array(bytes.buffer)].filter((code) => code !== 0);
    return String.fromCodePoint(...characters);
  }
  const [dtype, about] = Object.entries(DTYPES).find(([, one]) => one.npy === descr) ?? [];
  if (dtype === undefined || about === undefined) throw new RangeError(`${descr} is not read here`);
  const values = new about.array(bytes.buffer);
  if (values.length !== product(shape)) throw new RangeError("it is cut off");
  return new Tensor(dtype, values, shape);
}

/** @typedef {{ path: Uint8Array, crc: number, size: number, at: number }} About */

/** @param {About} about */
function localHeader({ path, crc, size }) {
  const header = new DataView(new ArrayBuffer(LOCAL_SIZE));
  header.setUint32(0, LOCAL, true);
  [VERSION, flagsOf(path), 0, 0, DATE].forEach((value, index) => {
    header.setUint16(4 + 2 * index, value, true);
  });
  [crc, IN_EXTRA, IN_EXTRA].forEach((value, index) => {
    header.setUint32(14 + 4 * index, value, true);
  });
  header.setUint16(26, path.length, true);
  header.setUint16(28, EXTRA_SIZE, true);
  const extra = new DataView(new ArrayBuffer(EXTRA_SIZE));
  extra.setUint16(0, 1, true);
  extra.setUint16(2, EXTRA_SIZE - 4, true);
  extra.setBigUint64(4, BigInt(size), true);
  extra.setBigUint64(12, BigInt(size), true);
  return joined([new Uint8Array(header.buffer), path, new Uint8Array(extra.buffer)]);
}

/** @param {About} about */
function centralHeader({ path, crc, size, at }) {
  const header = new DataView(new ArrayBuffer(CENTRAL_SIZE));
  header.setUint32(0, CENTRAL, true);
  header.setUint8(4, VERSION);
  header.setUint8(5, 3); // written on Unix
  [VERSION, flagsOf(path), 0, 0, DATE].forEach((value, index) => {
    header.setUint16(6 + 2 * index, value, true);
  });
  [crc, size, size].forEach((value, index) => header.setUint32(16 + 4 * index, value, true));
  header.setUint16(28, path.length, true);
  header.setUint32(38, MODE, true);
  header.setUint32(42, at, true);
  return joined([new Uint8Array(header.buffer), path]);
}

/**
 * @param {number} count
 * @param {number} size
 * @param {number} at
 */
function endOfArchive(count, size, at) {
  const end = new DataView(new ArrayBuffer(END_SIZE));
  end.setUint32(0, END, true);
  end.setUint16(8, count, true);
  end.setUint16(10, count, true);
  end.setUint32(12, size, true);
  end.setUint32(16, at, true);
  return new Uint8Array(end.buffer);
}

/**
 * @param {DataView} view
 * @returns {[number, number]} How many files there are, and where their list begins.
 */
function findDirectory(view) {
  const last = view.byteLength - END_SIZE; // an archive of numpy ends without a comment
  if (last < 0 || view.getUint32(last, true) !== END) throw new RangeError("expected an archive");
  return [view.getUint16(last + 10, true), view.getUint32(last + 16, true)];
}

/**
 * @param {Uint8Array} content
 * @param {number} at
 * @param {number} size
 */
function fileAt(content, at, size) {
  const view = viewOf(content);
  if (view.getUint32(at, true) !== LOCAL) throw new RangeError("its list of files is damaged");
  const start = at + LOCAL_SIZE + view.getUint16(at + 26, true) + view.getUint16(at + 28, true);
  if (start + size > content.length) throw new RangeError("it is cut off");
  return content.subarray(start, start + size);
}

/** @param {Uint8Array} path */
function flagsOf(path) {
  return path.some((byte) => byte > 0x7f) ? UTF8 : 0;
}

/** @param {Uint8Array} bytes */
function decoded(bytes) {
  return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
}

/** @param {Uint8Array} content */
function viewOf(content) {
  return new DataView(content.buffer, content.byteOffset, content.byteLength);
}

/** @param {readonly Uint8Array[]} parts */
function joined(parts) {
  const made = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    made.set(part, at);
    at += part.length;
  }
  return made;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** @param {Uint8Array} content */
function crc32(content) {
  let crc = 0xffffffff;
  for (const byte of content)
    crc = (crc >>> 8) ^ /** @type {number} */ (TABLE[(crc ^ byte) & 0xff]);
  return ~crc >>> 0;
}
