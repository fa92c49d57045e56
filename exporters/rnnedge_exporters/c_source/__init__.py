"""The C target: an exported model as a folder of C99, without PyTorch, allocation or libm."""
