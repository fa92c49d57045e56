/**
 * Golden vectors: inputs of a model, and the outputs of its PyTorch source for them, as
 * `rnnedge validate --golden` writes them:
 *
 *     model.onnx
 *     test_data_set_0/input_0.pb, input_1.pb, …, output_0.pb, …
 *     test_data_set_1/…
 *     golden.json                            their source, and the allowed error of each output
 */

import { GoldenError } from "../errors.js";
import { readPlace } from "../files.js";
import { node } from "../host.js";
import { pathOf } from "../model-source.js";
import { isPrintable, ascii } from "../printable.js";
import { readTensor } from "./tensor-file.js";

/** @typedef {import("../contract.js").Interface} Interface */
/** @typedef {import("../tensor.js").Tensor} Tensor */
/** @typedef {Map<string, Uint8Array>} Files */
/**
 * A folder of golden vectors: its path in Node, its URL, or its files by name, such as
 * `test_data_set_0/input_0.pb`.
 *
 * @typedef {string | URL | ReadonlyMap<string, Uint8Array> |
 *   { readonly [name: string]: Uint8Array }} GoldenFiles
 */
/**
 * One call of the model.
 *
 * @typedef {object} GoldenSet
 * @property {string} directory Name of its folder.
 * @property {string} case A description; may be empty.
 * @property {ReadonlyMap<string, Tensor>} inputs Every graph input by name; one without a name by
 *   its position, such as `#0`.
 * @property {ReadonlyMap<string, Tensor>} outputs Every expected graph output, likewise.
 * @property {ReadonlyMap<string, number> | null} allowed The absolute error allowed in each output;
 *   null if it is not known.
 */
/**
 * All vectors of one folder.
 *
 * @typedef {object} Golden
 * @property {readonly GoldenSet[]} sets One or more.
 * @property {string | null} reference The source of the expected outputs; null without a
 *   `golden.json`, like the one below.
 * @property {string | null} modelSha256 Digest of the model file that they were made with.
 */

const RECORD = "golden.json";
const SET = "test_data_set_";
const FORMAT_VERSION = 1;
const SET_NAME = /^test_data_set_[0-9]+$/u;
const FILE = /^(test_data_set_[0-9]+)\/(input|output)_([0-9]+)\.pb$/u;

/**
 * Read the vectors in a folder.
 *
 * @param {GoldenFiles} place
 * @param {Interface} face The inputs and outputs of the model, which say how many files there are
 *   behind a URL.
 * @returns {Promise<Golden>}
 * @throws {GoldenError} If there are none, a file is missing, cut off or has the wrong content, or
 *   `golden.json` has a newer format or lists other folders.
 */
export async function readGolden(place, face) {
  const [name, files] = await collectFiles(place, face);
  const names = [...files.keys()].flatMap((file) => FILE.exec(file)?.[1] ?? []);
  const sets = [...new Set(names)].sort((a, b) => numberOf(a) - numberOf(b) || (a < b ? -1 : 1));
  if (sets.length === 0) {
    throw new GoldenError(`${name}: expected a folder ${SET}0 in it, as ONNX's tests have`);
  }
  const record = files.get(RECORD);
  const about = record === undefined ? null : readRecord(record, `${name}/${RECORD}`, sets);
  return {
    reference: about?.reference ?? null,
    modelSha256: about?.sha256 ?? null,
    sets: sets.map((set) => readSet(name, files, set, about?.items.get(set))),
  };
}

/** @param {GoldenSet} set */
export function setLabel(set) {
  return set.case ? `${set.directory} (${set.case})` : set.directory;
}

/**
 * @param {GoldenFiles} place
 * @param {Interface} face
 * @returns {Promise<[string, Files]>}
 */
async function collectFiles(place, face) {
  if (typeof place !== "string" && !(place instanceof URL)) {
    const entries = place instanceof Map ? place : Object.entries(place);
    return ["the vectors", /** @type {Files} */ (new Map(entries))];
  }
  const path = pathOf(place);
  if (path !== undefined) return [path, await filesOfFolder(path)];
  const base = String(place).replace(/\/?$/u, "");
  return [base, await filesOfUrl(base, face)];
}

/** @param {string} folder */
async function filesOfFolder(folder) {
  const files = /** @type {Files} */ (new Map());
  const list = async (/** @type {string} */ path) => node?.fs.readdir(path).catch(() => undefined);
  const names = await list(folder);
  if (names === undefined) {
    throw new GoldenError(`${folder}: expected a folder with ${SET}0, found no such folder`);
  }
  const wanted = names.includes(RECORD) ? [RECORD] : [];
  for (const name of names.filter((one) => SET_NAME.test(one))) {
    const inside = (await list(`${folder}/${name}`)) ?? [];
    wanted.push(...inside.map((one) => `${name}/${one}`).filter((one) => FILE.test(one)));
  }
  for (const name of wanted) {
    const [, content] = await readPlace(`${folder}/${name}`, "the file", GoldenError);
    files.set(name, content);
  }
  return files;
}

/**
 * @param {string} base
 * @param {Interface} face
 */
async function filesOfUrl(base, face) {
  const files = /** @type {Files} */ (new Map());
  const fetchOne = async (/** @type {string} */ name) => {
    const [, content] = await readPlace(`${base}/${name}`, "the file", GoldenError);
    files.set(name, content);
    return content;
  };
  const record = parsed(await fetchOne(RECORD), `${base}/${RECORD}`);
  const wanted = setsOf(record, `${base}/${RECORD}`).flatMap(([set]) => [
    ...face.inputs.map((_, index) => `${set}/input_${index}.pb`),
    ...face.outputs.map((_, index) => `${set}/output_${index}.pb`),
  ]);
  await Promise.all(wanted.map(fetchOne));
  return files;
}

/** @typedef {{ case: string, allowed: ReadonlyMap<string, number> }} About */

/**
 * @param {Uint8Array} content
 * @param {string} path
 * @param {readonly string[]} sets The folders that there are.
 */
function readRecord(content, path, sets) {
  const record = parsed(content, path);
  const items = new Map(setsOf(record, path));
  if (items.size !== sets.length || !sets.every((set) => items.has(set))) {
    throw new GoldenError(
      `${path} lists ${[...items.keys()].join(", ") || "no sets"}, and its folder has ` +
        `${sets.join(", ")}: write or copy them again`,
    );
  }
  const reference = take(record, "reference", "string", path);
  if (!isPrintable(reference)) {
    throw new GoldenError(
      `reference: expected one line of printable text, got ${ascii(reference)}`,
    );
  }
  const sha256 = take(record, "model_sha256", "string", path);
  if (!/^[0-9a-f]{64}$/u.test(sha256)) {
    throw new GoldenError(`model_sha256: expected 64 hexadecimal digits, got ${ascii(sha256)}`);
  }
  return { reference, sha256, items };
}

/**
 * @param {Uint8Array} content
 * @param {string} path
 * @returns {unknown}
 */
function parsed(content, path) {
  let record;
  try {
    record = /** @type {unknown} */ (JSON.parse(new TextDecoder().decode(content)));
  } catch (error) {
    throw unreadable(path, error);
  }
  const version = isObject(record) ? record["format"] : undefined;
  if (version === undefined) throw unreadable(path);
  if (!Number.isInteger(version) || /** @type {number} */ (version) > FORMAT_VERSION) {
    throw new GoldenError(
      `${path} has format ${JSON.stringify(version)}, and this version reads formats up to ` +
        `${FORMAT_VERSION}: update rnnedge, or write the vectors again`,
    );
  }
  return record;
}

/**
 * @param {string} path
 * @param {unknown} [cause]
 */
function unreadable(path, cause) {
  return new GoldenError(
    `${path} is not a readable record of golden vectors: write or copy them again`,
    { cause },
  );
}

/**
 * @param {unknown} record
 * @param {string} path
 * @returns {[string, About][]}
 */
function setsOf(record, path) {
  const sets = isObject(record) ? record["sets"] : undefined;
  if (!Array.isArray(sets)) throw damaged(path, "sets: expected a list");
  return sets.map((item) => {
    const directory = take(item, "directory", "string", path);
    if (!SET_NAME.test(directory)) {
      throw damaged(path, `directory: expected ${SET}0 or another number, got ${ascii(directory)}`);
    }
    return [
      directory,
      { case: take(item, "case", "string", path), allowed: allowedOf(item, path) },
    ];
  });
}

/**
 * @param {unknown} item
 * @param {string} path
 */
function allowedOf(item, path) {
  const allowed = isObject(item) ? item["allowed"] : undefined;
  if (!isObject(allowed)) throw damaged(path, "allowed: expected an object");
  for (const [name, error] of Object.entries(allowed)) {
    if (typeof error === "number" && error >= 0 && error < Infinity) continue;
    throw damaged(path, `allowed error of ${name}: expected 0 or more, got ${String(error)}`);
  }
  return new Map(/** @type {[string, number][]} */ (Object.entries(allowed)));
}

/**
 * @param {unknown} item
 * @param {string} key
 * @param {"string"} kind
 * @param {string} path
 * @returns {string}
 */
function take(item, key, kind, path) {
  const value = isObject(item) ? item[key] : undefined;
  if (typeof value !== kind) throw damaged(path, `${key}: expected text`);
  return /** @type {string} */ (value);
}

/**
 * @param {string} path
 * @param {string} why
 */
function damaged(path, why) {
  return new GoldenError(`${path} is damaged (${why}): write or copy it again`);
}

/**
 * @param {string} name
 * @param {Files} files
 * @param {string} set
 * @param {About | undefined} about
 * @returns {GoldenSet}
 */
function readSet(name, files, set, about) {
  const made = {
    directory: set,
    case: about?.case ?? "",
    inputs: readTensors(name, files, set, "input"),
    outputs: readTensors(name, files, set, "output"),
    allowed: about?.allowed ?? null,
  };
  checkOutputs(made);
  return made;
}

/** @param {GoldenSet} set */
function checkOutputs(set) {
  const label = setLabel(set);
  const names = [...set.outputs.keys()];
  if (names.length === 0) {
    throw new GoldenError(`${label}: expected one output or more, got none`);
  }
  if (set.allowed === null) return;
  const allowed = [...set.allowed.keys()];
  if (allowed.length === names.length && names.every((name) => allowed.includes(name))) return;
  throw new GoldenError(
    `${label}: expected the allowed error of ${names.join(", ")}, ` +
      `got that of ${allowed.join(", ") || "none"}`,
  );
}

/**
 * @param {string} name
 * @param {Files} files
 * @param {string} set
 * @param {string} kind
 */
function readTensors(name, files, set, kind) {
  const found = [...files.keys()].filter((file) => {
    const parts = FILE.exec(file);
    return parts?.[1] === set && parts[2] === kind;
  });
  const tensors = /** @type {Map<string, Tensor>} */ (new Map());
  for (let index = 0; index < found.length; index++) {
    const path = `${set}/${kind}_${index}.pb`;
    const content = files.get(path);
    if (content === undefined) {
      const others = found.map((file) => file.slice(set.length + 1)).sort();
      throw new GoldenError(
        `${name}/${set}: expected ${kind}_${index}.pb next to ${others.join(", ")}`,
      );
    }
    const [given, tensor] = readTensor(content, `${name}/${path}`);
    const label = given || `#${index}`;
    if (tensors.has(label)) {
      throw new GoldenError(`${name}/${path}: expected a unique name, got ${label} a second time`);
    }
    tensors.set(label, tensor);
  }
  return tensors;
}

/** @param {string} set */
function numberOf(set) {
  return Number(set.slice(SET.length));
}

/**
 * @param {unknown} value
 * @returns {value is { [name: string]: unknown }}
 */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
