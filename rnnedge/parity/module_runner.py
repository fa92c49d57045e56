"""Runs cases on a whole module in PyTorch."""

from __future__ import annotations

import re
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor, fx, nn

from rnnedge.parity.cases import Case, Inputs, Outputs
from rnnedge.parity.lifted_states import LiftedStates
from rnnedge.parity.rolled_source import (
    RolledSource,
    roll_source,
    states_of_loops,
    with_weights,
)
from rnnedge.parity.rounding.dynamic_quantization import Integers
from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.layers.recurrent import Recurrent, as_arguments, flatten, join, rebuild
from rnnedge_exporters.modules.arguments import Arguments, flatten_result
from rnnedge_exporters.modules.attributes import unchanged
from rnnedge_exporters.modules.call_structure import arguments_of
from rnnedge_exporters.modules.capture import recurrent_layers
from rnnedge_exporters.modules.constant_starts import STARTED
from rnnedge_exporters.modules.forwards import exchange_forward
from rnnedge_exporters.modules.loops.rolled import RolledLoop
from rnnedge_runtime.contract import Interface, StatePair


class ModuleRunner:
    """Runs cases on a whole module in PyTorch, in one dtype.

    States that the export lifted out of the layers inside are put in and taken out at the layers.

    Args:
        module: The module; it is copied.
        interface: Gives names to arguments and answers.
        dtype: What to compute in.
        integers: Which products are made of integers; None where none are.
        rolled: What `roll_source` made of the same module with other weights, to save the time.

    Attributes:
        source: The copy that is run.
        interface: Gives names to arguments and answers.
        rolled: What `roll_source` made of it; None where it has no Python loop with a state.
    """

    def __init__(
        self,
        module: nn.Module,
        interface: Interface,
        dtype: torch.dtype,
        integers: Integers | None = None,
        rolled: fx.GraphModule | None = None,
    ) -> None:
        """Copy `module` to the CPU, in `dtype` and in eval mode."""
        self._module = self.source = private_copy(module, dtype)
        if integers:
            integers.install(self._module)
        self.interface = interface
        self._dtype = dtype
        self._given: dict[str, Tensor] = {}
        self._finals: dict[str, Tensor] = {}
        self._calls: dict[str, int] = {}
        for path, layer in recurrent_layers(self._module).items():
            exchange_forward(layer, partial(self._with_states, layer, path))
        loops = states_of_loops(self._module, interface)
        self.rolled, self._loops = rolled, None
        if loops:
            self.rolled = rolled or roll_source(module, interface, loops)
            twin = with_weights(self.rolled, self._module, dtype)
            self._loops = RolledSource(twin, loops, self._with_states, self._pairs_of)
        for path, conv in self._module.named_modules():
            if f"{path}.context_0" in {pair.input for pair in interface.states}:
                assert isinstance(conv, nn.Conv1d)  # no other has a context
                conv.forward = partial(self._with_context, path, conv)  # type: ignore[method-assign]

    def __call__(self, inputs: Inputs, case: Case) -> Outputs:
        """Run `inputs` whole; a case in chunks has the same answer."""
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        self._given = {
            name: t.to(self._dtype) if t.is_floating_point() else t for name, t in tensors.items()
        }
        self._finals, self._calls = {}, {}
        arguments = arguments_of(self._module, self.interface, self._given)
        default = torch.get_default_dtype()
        torch.set_default_dtype(self._dtype)  # what a forward makes with torch.zeros(...)
        try:
            with unchanged(self._module), torch.inference_mode():
                result, finals = self._results(arguments)
        finally:
            torch.set_default_dtype(default)
        # Lifted states come after what the module returns itself.
        own = [spec.name for spec in self.interface.outputs[: len(result)]]
        answers = dict(zip(own, result, strict=True)) | self._finals | finals
        return {name: tensor.numpy() for name, tensor in answers.items()}

    def _results(self, arguments: Arguments) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the results, and the final states of the Python loops."""
        if self._loops is None:
            return flatten_result(self._module(**arguments.values)), {}
        results, finals = self._loops.run(arguments, self._given)
        made = self._loops.outputs & self._finals.keys()  # of layers that are made of loops
        finals |= {name: self._finals[name] for name in made}
        if not self._loops.starts_elsewhere(self._given):
            self._finals, self._calls = {}, {}
            results = flatten_result(self._module(**arguments.values))
        return results, finals

    def _with_context(self, path: str, conv: nn.Conv1d, x: Tensor) -> Tensor:
        """Run a causal convolution with what came before instead of zeros."""
        before = self._given[f"{path}.context_0"]  # [batch, channels, context]
        context = before.shape[2]
        in_front = conv.padding == (0,)  # the module has padded zeros in front of x itself
        full = torch.cat([before, x[..., context:] if in_front else x], 2)
        self._finals[f"{path}.context_n"] = full[..., -context:]
        y = nn.functional.conv1d(
            full, conv.weight, conv.bias, dilation=conv.dilation, groups=conv.groups
        )
        # Else the module cuts off the end, which padding on both sides would have made.
        return y if in_front else nn.functional.pad(y, (0, context))

    def _pairs_of(self, layer: nn.Module, name: str) -> list[StatePair]:
        """Return the states that were lifted from one call of a layer."""
        letter = r"[^.]+" if isinstance(layer, Recurrent | RolledLoop) else rf"h|c|s\d+|{STARTED}"
        return [pair for pair in self.interface.states if _lifted_from(pair, name, letter)]

    def _with_states(self, layer: nn.Module, path: str, forward: Any) -> Any:
        if isinstance(layer, Recurrent):
            return self._cell_with_states(layer, path, forward)

        @wraps(forward)  # keeps the signature, by which arguments are bound
        def with_states(input: Any, hx: Any = None, *rest: Any, **more: Any) -> Any:
            number = self._calls.get(path, 0)
            self._calls[path] = number + 1
            name = f"{path}.call{number}" if number else path
            lifted = LiftedStates(self._pairs_of(layer, name), self._given)
            pairs = lifted.pairs
            if not pairs:
                return forward(input, hx, *rest, **more)
            own = [] if hx is None else list(hx) if isinstance(hx, tuple) else [hx]
            states = lifted.begun(own, [1] * len(pairs))
            unbatched = isinstance(input, Tensor) and input.dim() == 2
            if unbatched:
                states = [state.squeeze(1) for state in states]
            output, last = forward(input, join(states), *rest, **more)
            finals = last if isinstance(last, tuple) else (last,)
            finals = tuple(final.unsqueeze(1) if unbatched else final for final in finals)
            self._finals |= lifted.finals(finals)
            return output, last

        return with_states

    def _cell_with_states(self, layer: Recurrent, path: str, forward: Any) -> Any:
        @wraps(forward)
        def with_states(
            input: Tensor, state: Any = None, lengths: Tensor | None = None, **inputs: Tensor
        ) -> Any:
            number = self._calls.get(path, 0)
            self._calls[path] = number + 1
            name = f"{path}.call{number}" if number else path
            lifted = LiftedStates(self._pairs_of(layer, name), self._given)
            if not lifted.pairs:
                return forward(input, state, lengths, **inputs)
            x = input.transpose(0, 1) if layer.batch_first else input
            own, structure = layer.split(state, x, inputs)
            if layer.is_plain(input, inputs):
                states = lifted.begun(own, [1] * len(own))
            else:  # the file has no axis of directions there
                begun = lifted.begun([one.squeeze(0) for one in own], [0] * len(own))
                states = [one.unsqueeze(0) for one in begun]
            output, last = forward(input, rebuild(states, structure), lengths, **inputs)
            finals, _ = flatten(as_arguments(last))
            shaped = zip(finals, lifted.given, strict=True)
            self._finals |= lifted.finals([one.reshape(like.shape) for one, like in shaped])
            return output, last

        return with_states


def _lifted_from(pair: StatePair, layer: str, letter: str) -> bool:
    """Whether a pair is a state lifted from a layer, whose names have no other dots behind it."""
    start = f"{layer}." if layer else ""
    name = pair.input.removeprefix(start)
    return pair.input.startswith(start) and re.fullmatch(rf"({letter})_0", name) is not None
