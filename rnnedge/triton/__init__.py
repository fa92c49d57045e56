"""Serving with Triton: a model repository whose model keeps the state of each sequence."""

from rnnedge.triton.config import ServingOptions as ServingOptions
from rnnedge.triton.repository import TritonModel as TritonModel
from rnnedge.triton.repository import write_repository as write_repository
