"""What the runtime costs beside bare ONNX Runtime, and what limits it: `benchmarks.runtime`."""
