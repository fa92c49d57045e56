"""Measuring: how long a model takes on this machine, alone and next to others."""
