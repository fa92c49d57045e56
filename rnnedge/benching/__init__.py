"""Benching: how long a model takes on this machine, alone and beside others."""

from rnnedge.benching.measuring import bench_shapes as bench_shapes
from rnnedge.benching.results import Benchmark as Benchmark
from rnnedge.benching.results import ShapeResult as ShapeResult
from rnnedge.benching.results import StreamResult as StreamResult
from rnnedge.benching.shapes import Shape as Shape
from rnnedge.benching.streaming import bench_stream as bench_stream
