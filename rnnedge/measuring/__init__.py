"""Measuring: how long a model takes on this machine, alone and beside others."""
