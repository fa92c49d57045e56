"""An `Engine` without ONNX Runtime: it computes a `Tiny` model by the equations, in numpy."""

import numpy as np
from tiny_models import Tiny

from rnnedge_runtime.contract import METADATA_KEY
from rnnedge_runtime.engine.options import EngineOptions


class NumpyTensor:
    """An array, which is its own handle."""

    def __init__(self, array):
        self.array = self.handle = array

    def read(self):
        return self.array.copy()

    def write(self, array):
        self.array[...] = array


class NumpyEngine:
    """The model in numpy.

    Attributes:
        calls: How many times `run` was called; a bound step is not counted.
        bound: How many times a bound step ran.
        failure: Raised instead of an answer, where a test has set it.
    """

    name, title, reason = "numpy", "The numpy engine", "a test asked for it"
    device, options, providers = "cpu", EngineOptions(), ("numpy",)
    rounds_rows = False

    def __init__(self, tiny: Tiny):
        self.tiny, self.calls, self.bound, self.failure = tiny, 0, 0, None
        self.inputs, self.outputs = tiny.interface.inputs, tiny.interface.outputs
        self.metadata = {METADATA_KEY: tiny.contract.to_json()}

    def nodes(self):
        return None

    def run(self, outputs, feeds):
        self.calls += 1
        values = self._values(feeds)
        return [values[name] for name in outputs]

    def tensor(self, array, *, on_device):
        return NumpyTensor(array)

    def bind(self, inputs, outputs):
        def step():
            self.bound += 1
            values = self._values({name: tensor.handle for name, tensor in inputs.items()})
            for name, tensor in outputs.items():
                tensor.write(values[name])

        return step

    def stepper(self, frame, output, states, finals, *, shape, tiny, flushed_every):
        return None

    def row_steps(self, pool, *, tiny, flushed_every):
        return None

    def _values(self, feeds):
        if self.failure is not None:
            raise self.failure
        state = tuple(feeds[pair.input] for pair in self.tiny.interface.states) or None
        output, finals = self.tiny.expected(feeds["input"], state, feeds.get("lengths"))
        values = dict(zip([spec.name for spec in self.outputs], [output, *finals], strict=True))
        return {name: value.astype(np.float32) for name, value in values.items()}
