/** `node:test` as far as the tests need it in a page: tests are collected, then run in order. */

const collected = [];

export function test(name, run) {
  collected.push([name, run]);
}

export async function runAll() {
  const failures = [];
  for (const [name, run] of collected) {
    try {
      await run();
    } catch (error) {
      failures.push(`${name}: ${error?.stack ?? error}`);
    }
  }
  return { passed: collected.length - failures.length, failures };
}
