/** Files: read anywhere, written in Node alone. */

import { WriteError } from "./errors.js";
import { node } from "./host.js";
import { fetched, pathOf } from "./model-source.js";
import { typeName } from "./tensor.js";

/** @typedef {import("./host.js").NodeModules} NodeModules */
/** @typedef {import("./tensor.js").ErrorClass} ErrorClass */

/**
 * Read a file.
 *
 * @param {string | URL | Uint8Array | ArrayBuffer} place Its path in Node, its URL, or its bytes.
 * @param {string} what What it is, for messages.
 * @param {ErrorClass} ErrorType The class to raise when it cannot be read.
 * @returns {Promise<[string, Uint8Array]>} What it is called, and its content.
 */
export async function readPlace(place, what, ErrorType) {
  if (place instanceof ArrayBuffer) return [what, new Uint8Array(place)];
  if (place instanceof Uint8Array) return [what, place];
  if (typeof place !== "string" && !(place instanceof URL)) {
    throw new ErrorType(`${what}: expected bytes, a URL or a path, got ${typeName(place)}`);
  }
  const path = pathOf(place);
  if (path === undefined || node === undefined) {
    return [String(place), await fetched(String(place), ErrorType)];
  }
  try {
    return [path, new Uint8Array(await node.fs.readFile(path))];
  } catch (error) {
    throw new ErrorType(`${path}: ${what} cannot be read: ${systemWords(error)}`, { cause: error });
  }
}

/**
 * Check that a file may be written.
 *
 * @param {string} path
 * @param {object} options
 * @param {string} options.suffix How its name ends.
 * @param {(content: Uint8Array) => boolean} options.isOne Whether an existing file has the content
 *   that the suffix promises.
 * @param {string | undefined} options.source The file that is read here.
 * @param {boolean} options.force Whether a file of another kind may be replaced.
 * @throws {WriteError} If it must not be written; the message says why.
 */
export async function checkTarget(path, { suffix, isOne, source, force }) {
  if (node === undefined) {
    throw new WriteError(`${path}: a page has no files: use the bytes that are returned`);
  }
  await checkFolder(node, path);
  const found = await checkOther(node, path, source);
  const { fs, path: paths } = node;
  if (!path.toLowerCase().endsWith(suffix)) {
    const such = paths.join(paths.dirname(path), paths.parse(path).name + suffix);
    throw new WriteError(`${path}: expected a name that ends in ${suffix}, such as ${such}`);
  }
  if (found === undefined || found.size === 0 || force) return;
  if (isOne(new Uint8Array(await fs.readFile(path)))) return;
  throw new WriteError(
    `${path}: the file there does not hold what a ${suffix} file holds: choose another name, or ` +
      "replace it with { force: true }",
  );
}

/**
 * @param {NodeModules} modules
 * @param {string} path
 */
async function checkFolder({ fs, path: paths }, path) {
  const name = paths.dirname(path);
  const folder = await fs.stat(name).catch(() => undefined);
  if (folder?.isDirectory() === true) return;
  throw new WriteError(`${path}: expected an existing folder, found no folder ${name}: create it`);
}

/**
 * Check that what exists is a file, and not the one that is read.
 *
 * @param {NodeModules} modules
 * @param {string} path
 * @param {string | undefined} source
 */
async function checkOther({ fs }, path, source) {
  const found = await fs.stat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  if (!found.isFile()) {
    const kind = found.isDirectory() ? "a folder" : "something else";
    throw new WriteError(`${path}: expected the name of a file to write, found ${kind}`);
  }
  const read = source === undefined ? undefined : await fs.stat(source).catch(() => undefined);
  if (read?.ino === found.ino && read.dev === found.dev) {
    throw new WriteError(
      `${path}: is the same file as ${source}, which is read or written here too: choose ` +
        "another name",
    );
  }
  return found;
}

/**
 * Write a file whole or not at all.
 *
 * @param {string} path
 * @param {Uint8Array} content
 * @throws {WriteError} If the system refuses.
 */
export async function writeWhole(path, content) {
  if (node === undefined) return;
  const { fs } = node;
  const random = crypto.getRandomValues(new Uint32Array(2)).join("");
  const temporary = `${path}.${random}.tmp`;
  try {
    const file = await fs.open(temporary, "wx");
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await fs.rename(temporary, path);
  } catch (error) {
    await fs.rm(temporary, { force: true }).catch(() => undefined);
    throw new WriteError(`${path}: cannot be written: ${systemWords(error)}`, { cause: error });
  }
}

const WORDS = new Map([
  ["ENOENT", "No such file or directory"],
  ["EACCES", "Permission denied"],
  ["EPERM", "Operation not permitted"],
  ["EISDIR", "Is a directory"],
  ["ENOTDIR", "Not a directory"],
  ["ENOSPC", "No space left on device"],
  ["EROFS", "Read-only file system"],
]);

/**
 * Return what the system said, in the words that Python has for it.
 *
 * @param {unknown} error
 */
function systemWords(error) {
  const { code = "", message = "" } = /** @type {{ code?: string, message?: string }} */ (error);
  return WORDS.get(code) ?? message;
}
