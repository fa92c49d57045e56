"""Weights in fewer bits: how they are rounded, what is refused, and what an export says of it.

channels   int8 values and a scale for each output channel
options    the values that `quantize` and `dtype` take
checks     weights that cannot be rounded
constants  the weights around the recurrent layers of a module
report     what was done to each layer, and what it costs in error
onnx_file  the same of an `.onnx` file, of any exporter
"""
