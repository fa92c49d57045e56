"""Whether the engine of the JavaScript package knows a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.plan.known import check_operators, dtype_of
from rnnedge_runtime.plan.model_file import read_model
from rnnedge_runtime.plan.operators import FOLDS, OPERATORS
from rnnedge_runtime.plan.packing import IntegerWeights, LayerWeights
from rnnedge_runtime.plan.tracer import Kept, Tracer


def why_not_wasm(content: bytes, calls: Sequence[Mapping[str, Array]]) -> str:
    """Return why the engine that the JavaScript package carries does not run a model, or nothing.

    It makes the plan of `rnnedge_runtime.plan` and has the kernels of rnnedge-native, but those
    that multiply integers.

    Args:
        content: The bytes of the `.onnx` file.
        calls: Every input by name, of calls that the model is to take.

    Raises:
        ModelError: If the file is damaged.
    """
    try:
        graph = read_model(content, "the model").graph
        check_operators(graph)
        for feeds in calls:
            inputs = [info for info in graph.inputs if info.name in feeds]
            shapes = {info.name: (feeds[info.name].shape, dtype_of(info)) for info in inputs}
            Tracer(OPERATORS, FOLDS, _FloatPacker(), Kept()).run(graph, shapes)
    except PlanError as error:
        return str(error)
    return ""


class _FloatPacker:
    """Packs nothing, and refuses integers."""

    def layer(self, weights: LayerWeights) -> object:
        """Take a layer of float32."""
        if weights.integers_hh is not None or weights.integers_ih is not None:
            raise PlanError("a recurrent layer is computed in int8")
        return None

    def matrix(self, weights: Array, bias: Array | None) -> object:
        """Take a matrix of float32."""
        return None

    def integer_matrix(self, weights: IntegerWeights, bias: Array | None) -> object:
        """Refuse a matrix of integers."""
        raise PlanError("a product is computed in int8")
