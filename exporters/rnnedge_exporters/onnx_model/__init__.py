"""An ONNX file and its graph, read, changed and written; the room that all others stand on.

Nothing here needs PyTorch.

file             a file read and indexed without running it
nodes            walks into inner graphs, labels, attributes
recurrent_nodes  `RNN`, `LSTM` and `GRU`: inputs, order of gates, what PyTorch does not have
movement         operators that move numbers and change none
axis_names       the axes that inputs and outputs declare
int8_grid        int8 values and a scale for each output channel
graph_builder    nodes and constants with names that a person can read
serialize        the bytes of a model
"""
