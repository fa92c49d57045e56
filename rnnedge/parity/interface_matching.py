"""Which inputs, outputs and axes of a file are which, decided by its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from rnnedge.errors import SourceError
from rnnedge.parity.cases import Case
from rnnedge.parity.module_runner import ModuleRunner
from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.layers.interface import layer_interface
from rnnedge_exporters.layers.weights import RecurrentLayer
from rnnedge_exporters.modules.capture import observed
from rnnedge_runtime.contract import BATCH, TIME, Interface, StatePair, TensorSpec
from rnnedge_runtime.errors import pass_on_interruption

_LONGER = (1, 4, 32)
"""How much longer an axis is made to see what it is; a stride may swallow the least."""


def fit_layer(model: str, given: Interface, origin: str, layer: RecurrentLayer) -> Interface:
    """Return the interface of a file as a bare layer has it: its names, with the layer's axes.

    A file may name its tensors as it likes, may declare sizes where the layer takes any, and may
    leave out final states; number, order, rank, dtype and the sizes of features have to be right.

    Args:
        model: What to call the file.
        given: What the file declares.
        origin: What to call the layer.
        layer: The layer.

    Raises:
        SourceError: When it is not the interface of the layer; it shows both.
    """
    lengths = next(
        (s for s in given.inputs if s.dtype.startswith("int") and len(s.axes) == 1), None
    )
    floats = [spec for spec in given.inputs if spec is not lengths]
    wanted = layer_interface(layer, lengths=lengths is not None, states=len(floats) > 1)
    expected = [spec for spec in wanted.inputs if spec.name != wanted.lengths]
    _check("inputs", model, floats, origin, expected)
    _check("outputs", model, given.outputs, origin, wanted.outputs[: len(given.outputs) or 1])
    # A state whose end the file does not give cannot be handed on: it is an input like others.
    told = len(given.outputs) >= len(floats)
    axes = {g.name: w.axes for g, w in zip(floats, expected, strict=True)}
    axes |= {g.name: w.axes for g, w in zip(given.outputs, wanted.outputs, strict=False)}
    if lengths is not None:
        axes[lengths.name] = (BATCH,)
    return Interface(
        inputs=tuple(replace(spec, axes=axes[spec.name]) for spec in given.inputs),
        outputs=tuple(replace(spec, axes=axes[spec.name]) for spec in given.outputs),
        states=tuple(
            StatePair(before.name, after.name)
            for before, after in zip(floats[1:], given.outputs[1:], strict=False)
            if told
        ),
        lengths=lengths.name if lengths else None,
    )


def frozen_axes(given: Interface, fitted: Interface) -> list[str]:
    """Return what the file declares as fixed and the layer takes in any size.

    Args:
        given: What the file declares.
        fitted: What `fit_layer` made of it.
    """
    return [
        f"{spec.name} fixes {axis} at {size}"
        for spec, free in zip(given.inputs, fitted.inputs, strict=True)
        for size, axis in zip(spec.axes, free.axes, strict=True)
        if axis in (BATCH, TIME) and isinstance(size, int)
    ]


def fit_module(given: Interface, module: nn.Module) -> Interface:
    """Return the interface of a file with the axes that its module takes in any size.

    What changes the batch or the time that a recurrent layer inside sees is called `batch` or
    `time`, whether the file declares it fixed or under another name.

    Args:
        given: What a file without a contract declares.
        module: Its source.
    """
    found: dict[tuple[str, int], str] = {}
    sizes = {BATCH: 2, TIME: 5}
    base = _seen_sizes(given, module, {}, sizes)
    if base is None:
        return given
    for spec in given.data_inputs:
        for position in range(len(spec.axes)):
            for more in _LONGER:
                wider = _seen_sizes(given, module, {(spec.name, position): more}, sizes)
                if wider is None:
                    break
                changed = [axis for axis in (BATCH, TIME) if wider[axis] != base[axis]]
                if changed:
                    found[spec.name, position] = changed[-1]
                    break
    return replace(
        given,
        inputs=tuple(
            replace(s, axes=tuple(found.get((s.name, i), axis) for i, axis in enumerate(s.axes)))
            for s in given.inputs
        ),
    )


def _seen_sizes(
    given: Interface,
    module: nn.Module,
    more: Mapping[tuple[str, int], int],
    sizes: Mapping[str, int],
) -> dict[str, int] | None:
    """Run a module, and return batch and time of its first recurrent layer; None when it refuses.

    Args:
        given: What the file declares.
        module: The source.
        more: How much longer than declared axes are, by input and position.
        sizes: Sizes of named axes.
    """
    inputs = {}
    for spec in given.inputs:
        shape = [a if isinstance(a, int) else sizes.get(a, 5) for a in spec.axes]
        for position in range(len(shape)):
            shape[position] += more.get((spec.name, position), 0)
        inputs[spec.name] = np.ones(shape, spec.dtype)
    twin = private_copy(module)
    with observed(twin) as seen:
        try:
            ModuleRunner(twin, given, torch.float32)(inputs, Case(1, 1))
        except Exception as error:  # whatever the user's forward raises at these sizes
            pass_on_interruption(error)
            return None
    if not seen.batch or not seen.time:
        return None
    return {BATCH: int(seen.batch[0]), TIME: int(seen.time[0])}


def _check(
    kind: str,
    model: str,
    given: list[TensorSpec] | tuple[TensorSpec, ...],
    origin: str,
    wanted: list[TensorSpec] | tuple[TensorSpec, ...],
) -> None:
    fits = len(given) == len(wanted) and all(
        g.dtype == w.dtype and len(g.axes) == len(w.axes) and _same_features(g, w)
        for g, w in zip(given, wanted, strict=True)
    )
    if not fits:
        raise SourceError(
            f"{model} does not fit {origin}: its {kind} are {', '.join(map(str, given)) or 'none'}"
            f"; the source's are {', '.join(map(str, wanted))} (the file of a whole module is "
            "compared with that: --against package.module:Class --weights CHECKPOINT)"
        )


def _same_features(given: TensorSpec, wanted: TensorSpec) -> bool:
    """Whether sizes agree where both are known, batch and time aside."""
    pairs = zip(given.axes, wanted.axes, strict=True)
    return all(g == w for g, w in pairs if isinstance(g, int) and isinstance(w, int))
