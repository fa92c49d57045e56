"""A model laid out at fixed shapes: kernel calls over buffers, made from the `.onnx` file alone.

The native engine runs these calls, and the C target writes them as C. Nothing here needs more than
numpy.
"""
