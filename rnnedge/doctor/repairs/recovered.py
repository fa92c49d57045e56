"""`Recovered`: a PyTorch layer that was read back out of a graph, before anything is proven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from rnnedge.doctor.model_facts import Subject
from rnnedge.errors import NotMendedError
from rnnedge_runtime.contract import BATCH, TIME, TensorSpec
from rnnedge_runtime.errors import RnnEdgeError

if TYPE_CHECKING:
    from rnnedge.sources.spec import RNNSpec

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Recovered:
    """A layer's weights, and which inputs of the graph are its.

    Attributes:
        weights: float32, by PyTorch's names and in PyTorch's layout.
        nonlinearity: `tanh` or `relu`.
        input: The graph input that it reads.
        states: The graph inputs that are its initial states, in the order (h, c).
        lengths: Name of the graph input that holds the lengths, or None.
        how: Where the weights were found.
    """

    weights: Weights
    nonlinearity: Literal["tanh", "relu"]
    input: TensorSpec
    states: tuple[TensorSpec, ...]
    lengths: str | None
    how: str

    def spec(self) -> RNNSpec:
        """Return the layer's specification.

        Raises:
            NotMendedError: When the weights fit no layer, or the inputs are not those of one.
        """
        # PyTorch is behind it, which reading a file is free of.
        from rnnedge.sources.spec import RNNSpec

        x = self.input
        try:
            spec = RNNSpec.from_state_dict(
                self.weights, nonlinearity=self.nonlinearity, batch_first=x.axes[0] == BATCH
            )
        except RnnEdgeError as error:
            raise NotMendedError(f"the weights fit no layer of PyTorch: {error}") from error
        if x.dtype != "float32" or x.axes[2] not in (spec.input_size, f"{x.name}.2"):
            raise NotMendedError(
                f"the input is {x}, and the weights take {spec.input_size} features"
            )
        rows, number = spec.num_layers * spec.num_directions, 2 if spec.cell == "lstm" else 1
        if len(self.states) not in (0, number):
            raise NotMendedError(f"the initial states of {spec} come in {len(self.states)} inputs")
        for state in self.states:
            if state.axes != (rows, BATCH, spec.hidden_size) or state.dtype != "float32":
                raise NotMendedError(
                    f"the initial state is {state}, and {spec} takes float32[{rows}, batch, "
                    f"{spec.hidden_size}]"
                )
        return spec


def recovered(
    subject: Subject, weights: Weights, how: str, nonlinearity: Literal["tanh", "relu"]
) -> Recovered:
    """Put weights and inputs together.

    Args:
        subject: The model.
        weights: By PyTorch's names.
        how: Where they were found.
        nonlinearity: What shapes of weights do not determine.

    Raises:
        NotMendedError: When the inputs are not those of a layer.
    """
    data = [spec for spec in subject.roles.inputs if spec.name not in subject.roles.lengths]
    timed = [spec for spec in data if TIME in spec.axes]
    if len(timed) != 1 or len(timed[0].axes) != 3 or BATCH not in timed[0].axes:
        raise NotMendedError("the graph does not have one input of time, batch and features")
    states = tuple(spec for spec in data if spec is not timed[0])
    lengths = subject.roles.lengths
    return Recovered(weights, nonlinearity, timed[0], states, lengths[0] if lengths else None, how)
