/** The engine of rnnedge's own kernels. */

export { wasm } from "./engine.js";
