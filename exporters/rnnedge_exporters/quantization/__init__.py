"""Weights in fewer bits: how they are rounded, what is refused, and what an export says of it.

channels   int8 values and a scale for each output channel
options    the values that `quantize` and `dtype` take
feedback   weights rounded up or down by what they are multiplied with
narrow     layers that are too narrow for int8 alone
checks     weights that cannot be rounded
written    how a recurrent layer is written, with what the data decided
constants  the weights around the recurrent layers of a module
report     what was done to each layer, and what it costs in error
onnx_file  the same of an `.onnx` file, of any exporter
"""
