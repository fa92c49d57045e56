"""An ONNX file: how it is read, walked, built and written. Nothing here needs PyTorch."""
