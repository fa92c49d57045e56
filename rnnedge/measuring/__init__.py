"""Measuring: how long a model takes on this machine, alone and beside others."""

from rnnedge.measuring.measuring import bench_shapes as bench_shapes
from rnnedge.measuring.results import Benchmark as Benchmark
from rnnedge.measuring.results import ShapeResult as ShapeResult
from rnnedge.measuring.results import StreamResult as StreamResult
from rnnedge.measuring.shapes import Shape as Shape
from rnnedge.measuring.streaming import bench_stream as bench_stream
