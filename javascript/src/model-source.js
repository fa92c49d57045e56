/** `ModelSource`: where a model is read from, and its metadata, read without its weights. */

import { node } from "./host.js";
import { ModelError, oneLine } from "./errors.js";
import { readFields, varint } from "./protobuf-wire.js";
import { typeName } from "./tensor.js";

/** Bytes of the keys and sizes between the fields of a file that are read at once. */
const WINDOW = 32;
const METADATA_PROPS = 14;
const LONGEST_ENTRY = 2 ** 27;

/** @typedef {string | URL | Uint8Array | ArrayBuffer} Model */
/** @typedef {(from: number, size: number) => Uint8Array | Promise<Uint8Array>} Reader */

/**
 * A model as a caller named it.
 *
 * An engine takes `path` where it can open a file by itself, and `bytes()` elsewhere. Bytes are
 * held here once, and let go when the engine has taken them.
 */
export class ModelSource {
  /** @type {Uint8Array | undefined} */
  #bytes;

  /**
   * @param {string} name What it is called in messages.
   * @param {{ path?: string, bytes?: Uint8Array }} from
   */
  constructor(name, { path, bytes }) {
    this.name = name;
    this.path = path;
    this.#bytes = bytes;
  }

  /**
   * The bytes of the model.
   *
   * @returns {Promise<Uint8Array>}
   */
  async bytes() {
    if (this.#bytes !== undefined) return this.#bytes;
    if (node === undefined || this.path === undefined) {
      throw new ModelError(`${this.name}: its bytes were let go when it was opened`);
    }
    return new Uint8Array(await node.fs.readFile(this.path));
  }

  /** Let the bytes go. */
  release() {
    this.#bytes = undefined;
  }

  /**
   * Return the entries of `metadata_props`. Of a file, its weights are not read.
   *
   * @returns {Promise<Map<string, string>>}
   * @throws {ModelError} If the file is not an ONNX model, or is cut off.
   */
  async metadata() {
    try {
      const bytes = this.#bytes;
      if (bytes !== undefined) {
        return await readMetadata((from, size) => bytes.subarray(from, from + size), bytes.length);
      }
      return await this.#metadataOfFile();
    } catch (error) {
      if (!(error instanceof RangeError) && !(error instanceof TypeError)) throw error;
      throw new ModelError(`${this.name} cannot be read as an ONNX model: ${oneLine(error)}`, {
        cause: error,
      });
    }
  }

  async #metadataOfFile() {
    if (node === undefined || this.path === undefined) return new Map();
    const file = await node.fs.open(this.path);
    try {
      const { size } = await file.stat();
      return await readMetadata(async (from, wanted) => {
        const place = new Uint8Array(Math.min(wanted, Math.max(size - from, 0)));
        const { bytesRead } = await file.read(place, 0, place.length, from);
        return place.subarray(0, bytesRead);
      }, size);
    } finally {
      await file.close();
    }
  }
}

/**
 * Find a model.
 *
 * @param {Model} model Bytes; a URL, which is fetched; or in Node the path of a file.
 * @returns {Promise<ModelSource>}
 * @throws {ModelError} If there is none.
 */
export async function openSource(model) {
  if (model instanceof ArrayBuffer) model = new Uint8Array(model);
  if (model instanceof Uint8Array) return new ModelSource("the model", { bytes: model });
  if (typeof model !== "string" && !(model instanceof URL)) {
    throw new ModelError(
      `model: expected bytes, a URL or the path of an .onnx file, got ${typeName(model)}`,
    );
  }
  const path = pathOf(model);
  if (path === undefined) {
    return new ModelSource(String(model), { bytes: await fetched(String(model)) });
  }
  const found = await node?.fs.stat(path).catch(() => undefined);
  if (found?.isFile() !== true) {
    throw new ModelError(`${path}: expected an ONNX file, found no such file`);
  }
  return new ModelSource(path, { path });
}

/**
 * Return the path that a text or URL names in Node; undefined for what is fetched.
 *
 * @param {string | URL} place
 * @returns {string | undefined}
 */
export function pathOf(place) {
  if (node === undefined) return undefined;
  const text = String(place);
  if (/^file:/iu.test(text)) return node.url.fileURLToPath(text);
  return /^(?:https?|data|blob):/iu.test(text) ? undefined : text;
}

/**
 * Fetch a file.
 *
 * @param {string} url
 * @param {new (message: string, options?: ErrorOptions) => Error} [ErrorType]
 * @returns {Promise<Uint8Array>}
 */
export async function fetched(url, ErrorType = ModelError) {
  let answer;
  try {
    answer = await fetch(url);
    if (answer.ok) return new Uint8Array(await answer.arrayBuffer());
  } catch (error) {
    throw new ErrorType(`${url}: cannot be fetched: ${oneLine(error)}`, { cause: error });
  }
  throw new ErrorType(`${url}: cannot be fetched: the server answered ${answer.status}`);
}

/**
 * Return the entries of `metadata_props`, stepping over every other field of the model.
 *
 * @param {Reader} read Returns up to `size` bytes from a position on.
 * @param {number} end How many bytes there are.
 * @returns {Promise<Map<string, string>>}
 */
async function readMetadata(read, end) {
  const found = /** @type {Map<string, string>} */ (new Map());
  let at = 0;
  while (at < end) {
    const head = await read(at, WINDOW);
    const [key, start] = varint(head, 0);
    const [number, wire] = [Number(key >> 3n), Number(key & 7n)];
    if (number === 0 || ![0, 1, 2, 5].includes(wire)) {
      throw new RangeError(`field ${number} at byte ${at} has an encoding that ONNX does not use`);
    }
    const [from, size] = payload(head, start, wire);
    if (at + from + size > end) {
      throw new RangeError(
        `the data is cut off in field ${number}, which ends at byte ${at + from + size}`,
      );
    }
    if (number === METADATA_PROPS && wire === 2) {
      if (size > LONGEST_ENTRY) throw new RangeError(`an entry of its metadata has ${size} bytes`);
      const [name, value] = entry(await read(at + from, size));
      found.set(name, value);
    }
    at += from + size;
  }
  return found;
}

/**
 * Return where the payload of a field begins, and its size.
 *
 * @param {Uint8Array} head
 * @param {number} start
 * @param {number} wire
 * @returns {[number, number]}
 */
function payload(head, start, wire) {
  if (wire === 0) return [start, varint(head, start)[1] - start];
  if (wire !== 2) return [start, wire === 1 ? 8 : 4];
  const [size, from] = varint(head, start);
  return [from, Number(size)];
}

/**
 * @param {Uint8Array} content A serialized StringStringEntryProto.
 * @returns {[string, string]}
 */
function entry(content) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const fields = new Map(readFields(content));
  const [key, value] = [1, 2].map((number) => {
    const text = fields.get(number);
    return text === undefined ? "" : decoder.decode(text);
  });
  return [key ?? "", value ?? ""];
}
