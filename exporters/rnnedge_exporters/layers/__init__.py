"""A recurrent layer of PyTorch: its weights in numpy, what it takes and gives, and `Recurrent`."""
