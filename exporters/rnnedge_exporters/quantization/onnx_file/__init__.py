"""Weights in fewer bits, of an `.onnx` file of any exporter.

reading    the file, and what it is refused for
folding    weights that a file computes from constants
recurrent  `RNN`, `LSTM` and `GRU` nodes as the layers that the lowerings take
rewriting  weights stored, nodes replaced by layers that compute in int8
quantize   the steps, in order
"""
