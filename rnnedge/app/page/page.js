/** Opens the model, proves it with its vectors, and runs it live. */

import { Session, onnxruntime } from "./rnnedge/index.js";
import { readGolden } from "./rnnedge/proof/golden.js";
import { Live } from "./live.js";

/**
 * What `rnnedge app` says of the page.
 *
 * @typedef {object} About
 * @property {string} title
 * @property {string} model The name of the model file.
 * @property {string} vectors The folder of the vectors.
 * @property {"wasm" | "onnxruntime"} engine
 * @property {string} why Why that engine.
 * @property {number} bytes Of the model file.
 */

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * @param {"wait" | "pass" | "fail"} kind
 * @param {string} word
 * @param {string} sentence
 */
function say(kind, word, sentence) {
  element("verdict").className = `verdict ${kind}`;
  element("word").textContent = word;
  element("sentence").textContent = sentence;
}

/**
 * Import the engine that the page was made with.
 *
 * @param {About["engine"]} name
 */
async function engineOf(name) {
  if (name === "wasm") return "wasm";
  const library = await import("./onnxruntime-web/ort.wasm.min.mjs");
  return onnxruntime(library, "onnxruntime-web");
}

/**
 * Check the vectors, and show what came of it.
 *
 * @param {Session} session
 * @param {About} about
 * @param {import("./rnnedge/proof/golden.js").Golden} golden
 */
async function prove(session, about, golden) {
  const address = new URL(about.vectors, location.href);
  const model = new URL(about.model, location.href);
  const findings = await session.checkGolden(address, { model });
  element("reference").textContent =
    `${golden.sets.length} calls of the model, whose answers are those of ` +
    `${golden.reference ?? "an unknown source"}. Each output is compared within the error that the ` +
    "vectors allow.";
  const rows = findings.map(({ name, passed, detail }) => {
    const row = document.createElement("tr");
    const [word, kind] = { true: ["passed", "pass"], false: ["failed", "fail"] }[
      String(passed)
    ] ?? ["not known", ""];
    for (const [text, cell] of [
      [name, ""],
      [word, kind],
      [detail, ""],
    ]) {
      const made = document.createElement("td");
      made.textContent = text;
      made.className = cell;
      row.append(made);
    }
    return row;
  });
  element("findings").replaceChildren(...rows);
  element("proof").hidden = false;
  const failed = findings.filter(({ passed }) => passed === false);
  if (failed.length) {
    say("fail", "FAIL", `${failed.length} of ${findings.length} checks failed in this browser.`);
  } else {
    const outputs = session.interface.outputs.length;
    say(
      "pass",
      "PASS",
      `This browser gives what ${golden.reference ?? "the reference"} gives: ` +
        `${golden.sets.length} calls, ${outputs} ${outputs === 1 ? "output" : "outputs"} each.`,
    );
  }
}

/**
 * @param {Session} session
 * @param {About} about
 */
function describe(session, about) {
  const { interface: face, engine, contract } = session;
  const facts = [
    ["engine", `${engine.name}: ${about.why}`],
    ["inputs", face.inputs.join("; ")],
    ["outputs", face.outputs.join("; ")],
    ["states", face.states.map(({ input, output }) => `${output} → ${input}`).join("; ") || "none"],
    ["model file", `${about.bytes.toLocaleString("en")} bytes`],
    ["weights", contract.weightsDigest ?? "not known"],
  ];
  element("facts").replaceChildren(
    ...facts.map(([name, value]) => {
      const row = document.createElement("div");
      const [term, text] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      text.textContent = value;
      row.append(term, text);
      return row;
    }),
  );
  element("model").hidden = false;
}

/** @param {import("./rnnedge/proof/golden.js").GoldenSet} set */
function numbersOf(set) {
  return [...set.inputs.values()].reduce((all, tensor) => all + tensor.size, 0);
}

async function main() {
  say("wait", "opening", "The model is opened.");
  const about = /** @type {About} */ (await (await fetch("about.json")).json());
  document.title = about.title;
  element("title").textContent = about.title;
  const engine = await engineOf(about.engine);
  const session = await Session.open(new URL(about.model, location.href), { engine });
  describe(session, about);
  say("wait", "checking", "The vectors are run in this browser.");
  const golden = await readGolden(new URL(about.vectors, location.href), session.interface);
  await prove(session, about, golden);
  const longest = golden.sets.reduce((a, b) => (numbersOf(b) > numbersOf(a) ? b : a));
  await new Live(session, longest.inputs).start();
}

main().catch((error) => say("fail", "FAIL", String(error?.message ?? error)));
