"""Opening ONNX Runtime, and what it tells of an opened model."""
