"""An ONNX file: how its graph is built and its bytes are written. Nothing here needs PyTorch."""
