"""Files whose weights are stored in fewer bits: what they must compute, and what the bits cost.

quantized_weights     the weights that a file holds in int8 or float16, read from its graph
matched_weights       the source with its weights as the file holds them
dynamic_quantization  activations that are rounded to 8 bits, as the file rounds them
row_quantization      the same row by row, as the native engine rounds them
cost                  how far the file is from the weights that were rounded
"""
