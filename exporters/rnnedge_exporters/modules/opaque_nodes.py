"""Each recurrent layer becomes one opaque node while `torch.export` runs.

PyTorch would unroll an `nn.RNN` at the example's length, and lose the axes of the others. Here a
layer's forward emits a single node `rnnedge::Recurrent` with the right symbolic shapes, which
`expansion` turns into a lowering. All of this happens on a private copy of the user's module.

Packed sequences are carried as what they came from, the padded tensor and its lengths (`packing`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.layers.recurrent import CellStep, Recurrent, join
from rnnedge_exporters.modules.capture import (
    LAYER,
    LENGTHS_GIVEN,
    RECURRENT,
    Capture,
    Layer,
    exchanged,
    recurrent_layers,
    state_sizes,
)
from rnnedge_exporters.modules.forwards import Forward
from rnnedge_exporters.modules.loops.rolled import LoopShape, RolledLoop
from rnnedge_exporters.modules.packed_functions import packing_traced
from rnnedge_exporters.modules.packing import DOMAIN, assume, count_steps


@contextmanager
def captured(module: nn.Module, opaque: Callable[[], bool] = lambda: True) -> Iterator[Capture]:
    """Let the recurrent layers of `module`, a private copy, emit opaque nodes.

    The functions of torch that packed sequences go through are replaced inside the block, and put
    back after it, also when it fails.

    Args:
        module: The private copy.
        opaque: Whether a layer that is being called emits one; it runs as it is otherwise.
    """
    capture = Capture(recurrent_layers(module))

    def emitting(layer: Layer, path: str, forward: Forward) -> Forward:
        emit = partial(_emitter(layer), capture, layer, path)
        return lambda *args, **kwargs: (emit if opaque() else forward)(*args, **kwargs)

    with exchanged(module, capture, emitting), packing_traced(capture.packed):
        yield capture


def _emitter(layer: Layer) -> Forward:
    if isinstance(layer, RolledLoop):
        return _emit_loop
    return _emit_own_cell if isinstance(layer, Recurrent) else _emit_layer


def _emit_layer(capture: Capture, layer: nn.RNNBase, path: str, input: Any, hx: Any = None) -> Any:
    x = input
    states = [] if hx is None else list(hx) if isinstance(hx, tuple | list) else [hx]
    if isinstance(x, PackedSequence):
        x = capture.packed.taken(x)
        lengths, indices = x.packing.lengths, x.indices
        states = [x.packing.into_rows(state, indices) for state in states]
        # The padded tensor has time in front, whatever batch_first says.
        output, finals = _emit_rnn(
            capture, layer, path, x.padded, states, lengths, batch_first=False
        )
        finals = [x.packing.out_of_rows(state, indices) for state in finals]
        return x.replaced(output, clean=True), join(finals)
    if x.dim() == 2:  # one sequence without a batch axis
        axis = 0 if layer.batch_first else 1
        states = [state.unsqueeze(1) for state in states]
        output, finals = _emit_rnn(
            capture, layer, path, x.unsqueeze(axis), states, None, batch_first=layer.batch_first
        )
        return output.squeeze(axis), join([state.squeeze(1) for state in finals])
    output, finals = _emit_rnn(capture, layer, path, x, states, None, batch_first=layer.batch_first)
    return output, join(finals)


def _emit_own_cell(
    capture: Capture,
    layer: Recurrent,
    path: str,
    input: Tensor,
    state: Any = None,
    lengths: Tensor | None = None,
    **inputs: Tensor,
) -> Any:
    if not layer.is_plain(input, inputs):
        return _emit_structured_cell(capture, layer, path, input, state, lengths, inputs)
    states = [] if state is None else [state] if isinstance(state, Tensor) else list(state)
    batch, features = input.shape[0 if layer.batch_first else 1], int(input.shape[2])
    example = [input.new_zeros(batch, size) for size in (features, *layer.state_sizes)]
    width = sum(int(cell(*example)[0].shape[1]) for cell in layer.cells)
    shapes = [(len(layer.cells), size) for size in layer.state_sizes]
    output, finals = _emit(
        capture, path, input, states, shapes, width, lengths, batch_first=layer.batch_first
    )
    return output, join(finals)


def _emit_structured_cell(
    capture: Capture,
    layer: Recurrent,
    path: str,
    input: Tensor,
    state: Any,
    lengths: Tensor | None,
    inputs: Mapping[str, Tensor],
) -> Any:
    """Add the nodes of a cell whose states have any structure: a loop for each direction."""
    for name, given in inputs.items():
        if not isinstance(given, Tensor):
            raise ExportError(f"{path}: {name}: expected a tensor, got {type(given).__name__}")
    earlier = capture.calls.count(path)
    label = f"{path}.call{earlier}" if earlier else path
    capture.note_call(path)
    axis = 1 if layer.batch_first else 0
    capture.time.append(input.shape[axis])
    capture.batch.append(input.shape[1 - axis])

    def walk(
        step: CellStep,
        x: Tensor,
        states: list[Tensor],
        lengths: Tensor | None,
        inputs: Mapping[str, Tensor],
        *,
        backwards: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        scanned, others = [x], list(inputs.values())
        if lengths is not None:
            scanned, others = [x, count_steps(x)], [lengths, *others]
        with disable_proxy_modes_tracing():  # lets torch know which axes are one
            made = step(*states, *(one[0] for one in scanned), *others)
        rows = str(x.shape[1])
        way = -1 if backwards else 1
        shape = LoopShape(
            states=len(states),
            directions=(way,) * len(scanned),
            batch=(
                *[0] * len(states),
                0,
                *[None] * (len(scanned) - 1),
                *(0 if one.dim() and str(one.shape[0]) == rows else None for one in others),
            ),
            results=(0,) * len(made),
            may_be_empty=False,
            site=_site(type(step.cell)),
            names=_state_names(step),
            cell=type(step.cell).__name__,
            label=label,
        )
        loop = RolledLoop(step, shape)
        key = f"{label}/{'reverse_cell' if backwards else 'cell'}"
        capture.layers[key] = loop
        given = 0 if lengths is None else len(states) + len(scanned)
        *finals, output = _add_loop(
            capture, loop, key, (*states, *scanned, *others), lengths_given=given
        )
        return output.flip(0) if backwards else output, finals

    return layer.walked(walk, input, state, lengths, inputs)


def _state_names(step: CellStep) -> tuple[str, ...]:
    """Return the keys of the states of a cell whose state is one dict of tensors, else nothing."""
    example = pytree.tree_unflatten(range(step.structure.num_leaves), step.structure)
    keys = list(example[0]) if len(example) == 1 and isinstance(example[0], dict) else []
    return tuple(map(str, keys)) if len(keys) == step.structure.num_leaves else ()


def _site(cell: type) -> tuple[str, int]:
    try:
        return inspect.getsourcefile(cell) or "", inspect.getsourcelines(cell)[1]
    except (OSError, TypeError):
        return "", 0


def _emit_loop(capture: Capture, loop: RolledLoop, path: str, *given: Tensor) -> tuple[Tensor, ...]:
    _, scanned, _ = loop.split(given)
    capture.note_call(path)
    capture.time.append(scanned[0].shape[0])
    capture.batch += loop.rows(given)
    return _add_loop(capture, loop, path, given)


def _add_loop(
    capture: Capture,
    loop: RolledLoop,
    path: str,
    given: Sequence[Tensor],
    *,
    lengths_given: int = 0,
) -> tuple[Tensor, ...]:
    """Add the node of a rolled loop; each turn gives what the first one would."""
    states, scanned, others = loop.split(given)
    with disable_proxy_modes_tracing():  # the body is translated apart
        news, made = loop.step(states, [x[0] for x in scanned], others)
    for before, after in zip(states, news, strict=True):
        if before.dtype != after.dtype or before.dim() != after.dim():
            raise ExportError(
                f"{path}: a state starts as {before.dtype} {list(before.shape)}, and becomes "
                f"{after.dtype} {list(after.shape)}"
            )
    made_by_node: list[Tensor] = list(
        torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{RECURRENT}",
            list(given),
            {LAYER: list(capture.layers).index(path), LENGTHS_GIVEN: lengths_given},
            dtypes=[one.dtype for one in (*states, *made)],
            shapes=[
                *(list(state.shape) for state in states),
                *([scanned[0].shape[0], *one.shape] for one in made),
            ],
            version=1,
        )
    )
    return tuple(made_by_node)


def _emit_rnn(
    capture: Capture,
    layer: nn.RNNBase,
    path: str,
    x: Tensor,
    states: list[Tensor],
    lengths: Tensor | None,
    *,
    batch_first: bool,
) -> tuple[Tensor, list[Tensor]]:
    if x.shape[2] != layer.input_size:
        raise ExportError(f"{path}: expected {layer.input_size} features, got {x.shape[2]}")
    directions = 2 if layer.bidirectional else 1
    sizes = state_sizes(layer)
    shapes = [(layer.num_layers * directions, size) for size in sizes]
    return _emit(
        capture, path, x, states, shapes, directions * sizes[0], lengths, batch_first=batch_first
    )


def _emit(
    capture: Capture,
    path: str,
    x: Tensor,
    states: list[Tensor],
    state_sizes: list[tuple[int, int]],
    width: int,
    lengths: Tensor | None,
    *,
    batch_first: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Add the node; its shapes are those of the layer's forward, symbolic where `x` is."""
    axis = 1 if batch_first else 0
    time, batch = x.shape[axis], x.shape[1 - axis]
    shapes = [[rows, batch, size] for rows, size in state_sizes]
    for state, shape in zip(states, shapes[: len(states)], strict=True):
        assume(state.shape[1] == batch)  # lets torch know that the two axes are one
        if state.shape[0] != shape[0] or state.shape[2] != shape[2]:
            raise ExportError(f"{path}: expected a state of {shape}, got {list(state.shape)}")
    capture.note_call(path)
    capture.time.append(time)
    capture.batch.append(batch)
    output, *finals = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{RECURRENT}",
        [x, *([lengths] if lengths is not None else []), *states],
        {
            LAYER: list(capture.layers).index(path),
            LENGTHS_GIVEN: int(lengths is not None),
            "batch_first": int(batch_first),
            "features": int(x.shape[2]),
        },
        dtypes=[torch.float32] * (1 + len(shapes)),
        shapes=[[*x.shape[:2], width], *shapes],
        version=1,
    )
    return output, finals
