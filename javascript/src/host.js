/**
 * What Node has and a page has not: files and modules by name. Nothing is imported from `node:`, so
 * that bundlers for a page have nothing to leave out.
 */

/**
 * @typedef {object} NodeModules
 * @property {typeof import("node:fs/promises")} fs
 * @property {typeof import("node:path")} path
 * @property {typeof import("node:url")} url
 */
/** @typedef {{ process?: { getBuiltinModule?: (name: string) => unknown } }} MaybeNode */

/**
 * The modules of Node, or undefined in a page.
 *
 * @type {NodeModules | undefined}
 */
export const node = nodeModules();

function nodeModules() {
  const get = /** @type {MaybeNode} */ (globalThis).process?.getBuiltinModule;
  if (get === undefined) return undefined;
  const [fs, path, url] = ["node:fs/promises", "node:path", "node:url"].map((name) => get(name));
  return /** @type {NodeModules} */ ({ fs, path, url });
}
