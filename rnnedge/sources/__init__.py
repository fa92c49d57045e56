"""What the user brings (options, a specification, a checkpoint, Python code) as a live module."""
