/** What an application in TypeScript writes: it is compiled, and does not run. */

import * as ort from "onnxruntime-web";

import { InputError, Session, StreamError, Tensor, onnxruntime } from "../../src/index.js";
import type { Answer, CheckResult, Contract, RunResult, StreamOptions } from "../../src/index.js";

const session: Session = await Session.open(new URL("https://example.org/model.onnx"), {
  engine: onnxruntime(ort),
  device: "cpu",
});
await Session.open(new Uint8Array(4), { engine: "auto", threads: 1 });
const contract: Contract = session.contract;
const hidden: number | undefined = contract.layers[0]?.hidden_size;

const x = new Tensor("float32", new Float32Array(hidden ?? 0), [1, 1, 10]);
const result: RunResult = await session.run(x, { lengths: [3], state: null });
const next = await session.run({ input: x, ids: [[1, 2]] }, { state: result.state });
const values: Float32Array | undefined =
  next.output.data instanceof Float32Array ? next.output.data : undefined;

const options: StreamOptions = { batch: 2, constants: { sr: 16000 } };
const stream = session.stream(options);
const answer: Answer = await stream.step(values ?? [[0.5]]);
const only: Tensor | undefined = answer instanceof Tensor ? answer : answer["output"];
const state: Tensor[] = stream.state;
stream.state = state;
stream.state = { h_0: state[0] ?? x };
const bytes: Uint8Array = await stream.save();
await stream.load(bytes);

const pool = session.pool({ capacity: 4, maxDelayMs: 1 });
const outputs: Map<number, Answer> = await pool.step(new Map([[pool.open(), [0.5, 1]]]));
const findings: CheckResult[] = await session.checkGolden({ "golden.json": bytes });

// @ts-expect-error -- devices have names
await Session.open("model.onnx", { device: "gpu" });
// @ts-expect-error -- a text is no tensor
await session.run("x");
// @ts-expect-error -- a pool takes a Map
await pool.step({ 0: [0.5] });

const streams: readonly number[] = new InputError("").streams;
export { StreamError, findings, only, outputs, streams };
