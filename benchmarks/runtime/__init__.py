"""What the runtime costs on top of bare ONNX Runtime, and what limits it: `benchmarks.runtime`."""
