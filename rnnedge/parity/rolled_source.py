"""A source with Python loops over time, run from states that the export lifted out of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from rnnedge.errors import SourceError
from rnnedge.parity.lifted_states import LiftedStates
from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.arguments import Arguments
from rnnedge_exporters.modules.call_structure import arguments_of
from rnnedge_exporters.modules.capture import recurrent_layers
from rnnedge_exporters.modules.forwards import exchange_forward
from rnnedge_exporters.modules.loops.cells import CELL_WEIGHTS
from rnnedge_exporters.modules.loops.checking import in_dtype
from rnnedge_exporters.modules.loops.rolled import RolledLoop
from rnnedge_exporters.modules.loops.rolling import roll
from rnnedge_exporters.modules.quiet import quiet
from rnnedge_runtime.contract import Interface, StatePair

_EXAMPLE_SIZE = 9


def states_of_loops(module: nn.Module, interface: Interface) -> dict[str, list[StatePair]]:
    """Return the states in an interface that no layer of the module has, by the loop's name."""
    own = {spec.name for spec in interface.data_inputs}
    layers = recurrent_layers(module)
    convolutions = {path for path, inner in module.named_modules() if isinstance(inner, nn.Conv1d)}
    found: dict[str, list[StatePair]] = {}
    for pair in interface.states:
        name, _, letter = pair.input.rpartition(".")
        called = name.rpartition(".call")[0] or name
        if pair.input in own or not name or {name, called} & {*layers, *convolutions}:
            continue
        if letter != "context_0" and name.startswith("loop"):
            found.setdefault(name, []).append(pair)
    return found


def roll_source(
    module: nn.Module, interface: Interface, pairs: Mapping[str, list[StatePair]]
) -> fx.GraphModule:
    """Roll the loops of a source.

    The export proves that the module with its loops rolled computes what the module does; it is
    proved again here.

    Args:
        module: The source; it is copied.
        interface: Gives names and sizes to its arguments.
        pairs: The states of its loops, by the name of the loop.

    Raises:
        SourceError: When the source has no such loops.
    """
    copied = private_copy(module)
    axes = {
        spec.name: {
            n: a for n, a in enumerate(spec.axes) if isinstance(a, str) and a.isidentifier()
        }
        for spec in interface.data_inputs
    }
    try:
        with quiet(verbose=False):
            rolled = roll(copied, _example(copied, interface), axes)
    except ExportError as error:
        raise SourceError(f"{type(module).__name__}: {error}") from error
    loops = {} if rolled is None else recurrent_layers(rolled)
    missing = [name for name in pairs if name not in loops]
    if rolled is None or missing:
        raise SourceError(
            f"{type(module).__name__} has no Python loop over time for the state "
            f"{pairs[missing[0]][0].input}: validate against the module that was exported"
        )
    return rolled


def with_weights(rolled: fx.GraphModule, module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a rolled module with the weights of another copy of its source."""
    twin = in_dtype(rolled, dtype)
    weights = dict([*module.named_parameters(), *module.named_buffers()])
    with torch.no_grad():
        for inner in twin.modules():
            if isinstance(inner, fx.GraphModule):  # a body has the names of the source too
                for name, own in [*inner.named_parameters(), *inner.named_buffers()]:
                    if name in weights:
                        own.copy_(weights[name])
            for own_name, name in vars(inner).get(CELL_WEIGHTS, {}).items():
                getattr(inner, own_name).copy_(weights[name])
    return twin


class RolledSource:
    """Runs a module whose loops start from given states.

    Args:
        rolled: The module with its loops rolled; it is changed.
        pairs: The states of its loops, by the name of the loop.
        with_states: Wraps the forward of a recurrent layer, by its path, so that it starts from
            its own lifted states.
        pairs_of: Returns the states that were lifted from a layer, by its name.
    """

    def __init__(
        self,
        rolled: nn.Module,
        pairs: Mapping[str, list[StatePair]],
        with_states: Callable[[nn.Module, str, Any], Any],
        pairs_of: Callable[[nn.Module, str], list[StatePair]],
    ) -> None:
        """Exchange the forward of its loops."""
        self._module, self._pairs = rolled, pairs
        self._given: Mapping[str, Tensor] = {}
        self._finals: dict[str, Tensor] = {}
        for path, layer in recurrent_layers(rolled).items():
            if not isinstance(layer, RolledLoop):
                exchange_forward(layer, partial(with_states, layer, path))
                continue
            label = layer.shape.label  # of a cell, which has no loop in the source
            own = pairs.get(path, []) if label is None else pairs_of(layer, label)
            if own:
                exchange_forward(layer, partial(self._from_states, layer, own))

    @property
    def outputs(self) -> set[str]:
        """Names of the final states of the loops."""
        return {pair.output for pairs in self._pairs.values() for pair in pairs}

    def starts_elsewhere(self, given: Mapping[str, Tensor]) -> bool:
        """Whether a state of a loop is not the zeros that the module itself starts from."""
        return any(bool(given[p.input].any()) for pairs in self._pairs.values() for p in pairs)

    def run(
        self, arguments: Arguments, given: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the results, and the final states of the loops by name."""
        self._given, self._finals = given, {}
        results = self._module(**arguments.flat())
        return list(results), self._finals

    def _from_states(self, loop: RolledLoop, pairs: list[StatePair], forward: Any) -> Any:
        def run(*given: Tensor) -> Any:
            lifted, count = LiftedStates(pairs, self._given), loop.shape.states
            axes = [axis or 0 for axis in loop.shape.batch[:count]]
            results = forward(*lifted.begun(given[:count], axes), *given[count:])
            self._finals |= lifted.finals(results[:count])
            return results

        return run


def _example(module: nn.Module, interface: Interface) -> Arguments:
    random = torch.Generator().manual_seed(0)
    names = dict.fromkeys(a for s in interface.data_inputs for a in s.axes if isinstance(a, str))
    sizes = {name: _EXAMPLE_SIZE + number for number, name in enumerate(names)}
    tensors = {}
    for spec in interface.data_inputs:
        shape = [axis if isinstance(axis, int) else sizes[axis] for axis in spec.axes]
        drawn = torch.rand(shape, generator=random)
        tensors[spec.name] = drawn.to(getattr(torch, spec.dtype))
    return arguments_of(module, interface, tensors)
