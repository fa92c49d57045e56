"""A recurrent layer of PyTorch: its weights in numpy, and the ONNX graph that is made of it."""
