/**
 * Runs models with the wasm engine, and writes their plans down: `node wasm_jobs.mjs PACKAGE FOLDER`,
 * where FOLDER/jobs.json lists them. Writes FOLDER/found.json, and the outputs beside it.
 */

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [, , home, folder] = process.argv;
const load = (name) => import(pathToFileURL(path.join(home, "src", name)).href);
const { Kernels } = await load("wasm/kernels.js");
const { WasmEngine, packerOf } = await load("wasm/engine.js");
const { Plan } = await load("plan/plan.js");
const { Tensor } = await load("tensor.js");
const { DTYPES } = await load("dtypes.js");

const bytesOf = (name) => Uint8Array.from(fs.readFileSync(path.join(folder, name)));
const tensorOf = ({ dtype, shape, file }) =>
  new Tensor(dtype, new DTYPES[dtype].array(bytesOf(file).buffer), shape);
const listed = (array) => (array === undefined ? null : [array.shape, Array.from(array.data)]);

/** Packs nothing, and keeps what it was given. */
const PACKER = {
  layer: ({ cell, nonlinearity, weightIh, weightHh, bias, biasN, projection }) => ({
    cell,
    nonlinearity,
    weightIh: listed(weightIh),
    weightHh: listed(weightHh),
    bias: listed(bias),
    biasN: listed(biasN),
    projection: listed(projection),
  }),
  matrix: (rows, bias) => ({ rows: listed(rows), bias: listed(bias) }),
};

async function run({ model, calls }) {
  const content = bytesOf(model);
  const kernels = await Kernels.open();
  const engine = new WasmEngine(kernels, new Plan(content, model, packerOf(kernels)), "");
  const plan = new Plan(content, model, PACKER);
  const names = engine.outputs.map((spec) => spec.name);
  return calls.map((call, index) => {
    const feeds = Object.fromEntries(call.inputs.map((input) => [input.name, tensorOf(input)]));
    const outputs = engine.run(names, feeds).map(({ dtype, shape, data }, at) => {
      const file = `${model}.out${index}.${at}`;
      fs.writeFileSync(path.join(folder, file), data);
      return { name: names[at], dtype, shape, file };
    });
    const recipe = plan.recipe(plan.inputs.map(({ name }) => feeds[name].shape));
    const constants = recipe.constants.map(({ array, dtype }) => [dtype, ...listed(array)]);
    return { outputs, plan: { ...recipe, constants } };
  });
}

const found = {};
for (const job of JSON.parse(fs.readFileSync(path.join(folder, "jobs.json"), "utf8"))) {
  found[job.model] = { calls: await run(job) };
}
const spelt = (_key, value) => (Math.abs(value) === Infinity ? String(value) : value);
fs.writeFileSync(path.join(folder, "found.json"), JSON.stringify(found, spelt));
