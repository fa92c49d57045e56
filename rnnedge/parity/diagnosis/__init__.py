"""Diagnosis: why a model does not compute what its source computes."""
