"""A file with rounded weights beside the ONNX file that it was made from.

There is no PyTorch here: the original runs in ONNX Runtime, with its weights rounded. Products of
integers round what they multiply too, which the original does not. They are cut out of it: each is
run in numpy on what the rounded file gives it, and the rest of the original is given what the
rounded file answers there. So each layer is held to the rounding of floats, and no error of the
graph can hide behind that of the weights.

cells        the equations of RNN, LSTM, GRU and products with activations of 8 bits
activations  the same inside a Scan, Loop or If, where nothing can be cut out
weights      the weights of the original as the rounded file holds them
reference    the original with those weights, cut where integers are multiplied
cases        what is run
validation   `validate_quantized`
report       what it found
"""

from rnnedge.parity.files.report import FileReport as FileReport
from rnnedge.parity.files.validation import validate_quantized as validate_quantized
