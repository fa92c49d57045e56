/** `node:assert/strict` as far as the tests need it in a page. */

function fail(message) {
  throw new Error(message);
}

function shown(value) {
  const spelt = (_, inner) => {
    if (typeof inner === "bigint") return `${inner}n`;
    if (inner instanceof Map) return [...inner];
    return ArrayBuffer.isView(inner) ? [...inner] : inner;
  };
  return JSON.stringify(value, spelt) ?? String(value);
}

function same(one, other) {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || !one || !other) return false;
  if (Object.getPrototypeOf(one) !== Object.getPrototypeOf(other)) return false;
  if (one instanceof Map) return same([...one], [...other]);
  const keys = Object.keys(one);
  if (keys.length !== Object.keys(other).length) return false;
  return keys.every((key) => Object.hasOwn(other, key) && same(one[key], other[key]));
}

function check(error, expected) {
  if (expected === undefined) return;
  if (expected instanceof RegExp) {
    if (!expected.test(String(error))) fail(`${String(error)} does not match ${expected}`);
  } else if (typeof expected !== "function") {
    checkFields(error, expected);
  } else if (expected.prototype instanceof Error) {
    if (!(error instanceof expected)) fail(`expected ${expected.name}, got ${String(error)}`);
  } else if (expected(error) !== true) {
    fail(`${String(error)} is not what was expected`);
  }
}

function checkFields(error, expected) {
  for (const [key, value] of Object.entries(expected)) {
    const fits = value instanceof RegExp ? value.test(error[key]) : same(error[key], value);
    if (!fits) fail(`${key}: expected ${shown(value)}, got ${error[key]}`);
  }
}

const NOTHING = Symbol("nothing was thrown");

export default {
  ok: (value, message) => value || fail(message ?? "expected something true"),
  equal: (one, other, message) =>
    Object.is(one, other) || fail(message ?? `expected ${shown(other)}, got ${shown(one)}`),
  notEqual: (one, other) => !Object.is(one, other) || fail(`did not expect ${shown(other)}`),
  deepEqual: (one, other, message) =>
    same(one, other) || fail(message ?? `expected ${shown(other)}, got ${shown(one)}`),
  match: (text, pattern) => pattern.test(text) || fail(`${text} does not match ${pattern}`),
  throws: (call, expected) => {
    let thrown = NOTHING;
    try {
      call();
    } catch (error) {
      thrown = error;
    }
    if (thrown === NOTHING) fail("expected an error");
    check(thrown, expected);
  },
  rejects: async (promise, expected) => {
    let thrown = NOTHING;
    try {
      await (typeof promise === "function" ? promise() : promise);
    } catch (error) {
      thrown = error;
    }
    if (thrown === NOTHING) fail("expected an error");
    check(thrown, expected);
  },
};
