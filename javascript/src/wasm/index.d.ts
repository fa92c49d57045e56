import type { EngineFactory } from "../engine/engine.js";

/** Opens models with the native kernels in WebAssembly. */
export declare const wasm: EngineFactory;
