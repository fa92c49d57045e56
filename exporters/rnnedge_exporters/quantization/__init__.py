"""Weights in fewer bits: how they are rounded, what is refused, and what an export says of it.

gptq            weights rounded up or down by what they are multiplied with
checks          weights that cannot be rounded
layer_plan      how a recurrent layer is written, with what the data decided
other_weights   the weights around the recurrent layers of a module
report          what was done to each layer, and what it costs in error
onnx_file       the same of an `.onnx` file, of any exporter
"""
