/** Where the buffers of a plan lie, and which of its calls are needed at all. */

import { takenBy, writtenBy } from "./values.js";

/** @typedef {import("./values.js").Buffer} Buffer */
/** @typedef {import("./values.js").Call} Call */

const ALIGNMENT = 64;

/**
 * Leave out calls whose results nothing reads.
 *
 * @param {readonly Call[]} calls
 */
export function withoutUnused(calls) {
  const needed = /** @type {Set<Buffer>} */ (new Set());
  const kept = [];
  for (const call of [...calls].reverse()) {
    const written = writtenBy(call).map((buffer) => buffer.root().buffer);
    if (!written.some((buffer) => buffer.home === "output" || needed.has(buffer))) continue;
    for (const buffer of takenBy(call)) needed.add(buffer.root().buffer);
    kept.push(call);
  }
  return kept.reverse();
}

/**
 * Give each buffer of the arena a place where no other one lies while it is in use.
 *
 * @param {readonly Call[]} calls The calls in their order.
 * @returns {number} Bytes of the arena.
 */
export function placeInArena(calls) {
  const spans = usedFromTo(calls);
  const order = [...spans.keys()].sort((a, b) => {
    const [one, other] = [spanOf(spans, a), spanOf(spans, b)];
    return b.size - a.size || one.first - other.first || one.last - other.last;
  });
  const placed = /** @type {{ start: number, end: number, buffer: Buffer }[]} */ ([]);
  let whole = 0;
  for (const buffer of order) {
    const { first, last } = spanOf(spans, buffer);
    const size = Math.max(Math.ceil(buffer.size / ALIGNMENT), 1) * ALIGNMENT;
    let at = 0;
    for (const { start, end, buffer: other } of placed) {
      const own = spanOf(spans, other);
      if (own.first > last || own.last < first) continue;
      if (at + size <= start) break;
      at = Math.max(at, end);
    }
    buffer.index = at;
    placed.push({ start: at, end: at + size, buffer });
    placed.sort((a, b) => a.start - b.start || a.end - b.end);
    whole = Math.max(whole, at + size);
  }
  return whole;
}

/**
 * Return the first and the last call that each buffer of the arena is used by.
 *
 * @param {readonly Call[]} calls
 */
function usedFromTo(calls) {
  const spans = /** @type {Map<Buffer, { first: number, last: number }>} */ (new Map());
  calls.forEach((call, index) => {
    for (const place of call.places) {
      const buffer = place?.buffer.root().buffer;
      if (buffer?.home !== "arena") continue;
      spans.set(buffer, { first: spans.get(buffer)?.first ?? index, last: index });
    }
  });
  return spans;
}

/**
 * @param {Map<Buffer, { first: number, last: number }>} spans
 * @param {Buffer} buffer
 */
function spanOf(spans, buffer) {
  return spans.get(buffer) ?? { first: 0, last: 0 };
}
