"""A file compared with another ONNX file that it should compute the same as.

There is no PyTorch here: the original runs in ONNX Runtime, in a child process as the file does.
Where the file holds its weights in fewer bits, those of the original are rounded first. Products of
integers round what they multiply too, which the original does not. They are cut out of it: each is
run in numpy on what the rounded file gives it, and the rest of the original is given what the
rounded file answers there. So each layer is compared within the rounding of floats, and no error of
the graph can hide behind that of the weights.

numpy_operators     the equations of RNN, LSTM, GRU and products with activations of 8 bits
subgraph_products   the same inside a Scan, Loop or If, where nothing can be cut out
weights             the weights of the original as the rounded file holds them
reference           the original with those weights, cut where integers are multiplied
model_under_test    a file in the sandbox
interface_matching  which inputs and outputs of the two files are which
cases               what is run
comparison          one case on both
diagnosis           why they differ
validation          `validate_beside_file`
"""

from rnnedge.parity.onnx_reference.validation import validate_beside_file as validate_beside_file
