/**
 * Runs models with the wasm engine, and writes their plans down: `node wasm_jobs.mjs PACKAGE FOLDER`,
 * where FOLDER/jobs.json lists them. Writes FOLDER/found.json and the outputs beside it.
 */
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [, , home, folder] = process.argv;
const load = (/** @type {string} */ name) => import(pathToFileURL(path.join(home, "src", name)).href);
const { Kernels } = await load("wasm/kernels.js");
const { WasmEngine, packerOf } = await load("wasm/engine.js");
const { Plan } = await load("plan/plan.js");
const { Tensor } = await load("tensor.js");
const { DTYPES } = await load("dtypes.js");

const bytesOf = (name) => new Uint8Array(fs.readFileSync(path.join(folder, name)));
const tensorOf = ({ dtype, shape, file }) => {
  const { buffer } = bytesOf(file);
  return new Tensor(dtype, new DTYPES[dtype].array(buffer), shape);
};
const digest = (array) => (array === undefined ? null : [array.shape, Array.from(array.data)]);

/** What packs nothing, and says what it was given. */
const PACKER = {
  layer: ({ cell, nonlinearity, ...own }) => ({
    cell,
    nonlinearity,
    ...Object.fromEntries(Object.entries(own).map(([name, array]) => [name, digest(array)])),
  }),
  matrix: (rows, bias) => ({ rows: digest(rows), bias: digest(bias) }),
};

async function run(job) {
  const content = bytesOf(job.model);
  const kernels = await Kernels.open();
  const engine = new WasmEngine(kernels, new Plan(content, "the model", packerOf(kernels)), "");
  const plan = new Plan(content, "the model", PACKER);
  return job.calls.map((call, index) => {
    const feeds = Object.fromEntries(call.inputs.map((input) => [input.name, tensorOf(input)]));
    const names = engine.outputs.map((spec) => spec.name);
    const outputs = engine.run(names, feeds).map((tensor, at) => {
      const file = `${job.model}.${index}.${at}`;
      fs.writeFileSync(path.join(folder, file), tensor.data);
      return { name: names[at], dtype: tensor.dtype, shape: tensor.shape, file };
    });
    if (!job.plans) return { outputs };
    const recipe = plan.recipe(plan.inputs.map(({ name }) => feeds[name].shape));
    const constants = recipe.constants.map(({ array, dtype }) => [dtype, ...digest(array)]);
    return { outputs, recipe: { ...recipe, constants } };
  });
}

const found = {};
for (const job of JSON.parse(fs.readFileSync(path.join(folder, "jobs.json"), "utf8"))) {
  try {
    found[job.model] = { calls: await run(job) };
  } catch (error) {
    found[job.model] = { error: error.name, message: error.message, stack: error.stack };
  }
}
const text = JSON.stringify(found, (_key, value) =>
  value === Infinity ? "inf" : value === -Infinity ? "-inf" : value,
);
fs.writeFileSync(path.join(folder, "found.json"), text);
