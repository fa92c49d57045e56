"""What a checkpoint leaves open, decided by the file it is compared with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from rnnedge.sources.builder import build
from rnnedge.sources.load import Source
from rnnedge.sources.spec import RNNSpec
from rnnedge.sources.weight_names import NamedWeights

if TYPE_CHECKING:
    import onnx

    from rnnedge.parity.rounding.matched_weights import Blocks

Fit = Literal["values", "shapes", ""]
"""Whether a file answers what a layer does, or in its shapes only, or neither."""

_OPEN: dict[str, tuple[Any, ...]] = {
    "batch_first": (False, True),
    "nonlinearity": ("tanh", "relu"),
}
"""What changes an answer, and its values, PyTorch's default first."""


def layer_in_file(model: str, layers: list[NamedWeights[Tensor]]) -> str | None:
    """Return the prefix of the one layer whose weights are in a file, found by value.

    Args:
        model: The file.
        layers: The layers of a checkpoint.

    Returns:
        None when the file holds the weights of none, or of several.
    """
    from rnnedge.parity.rounding.matched_weights import Blocks
    from rnnedge.parity.rounding.quantized_weights import stored_weights
    from rnnedge_exporters.onnx_model.loading import load_if_readable

    proto = load_if_readable(model)
    if proto is None:
        return None
    rounded = Blocks(list(stored_weights(proto.graph)))
    found: list[str] = []
    for either in (False, True):  # copies of a layer, as averaged weights are, may be near it
        found = found or _prefixes(proto, layers, rounded, either=either)
    return found[0] if len(found) == 1 else None


def _prefixes(
    proto: onnx.ModelProto, layers: list[NamedWeights[Tensor]], rounded: Blocks, *, either: bool
) -> list[str]:
    from rnnedge.parity.diagnosis.by_value import count_present

    found = []
    for layer in layers:
        weights = {name: weight.detach().float().numpy() for name, weight in layer.weights.items()}
        recurrent = weights.get("weight_hr_l0", weights.get("weight_hh_l0"))
        if recurrent is None or recurrent.ndim != 2:
            continue
        height = recurrent.shape[1]
        matrices = (matrix for matrix in weights.values() if matrix.ndim == 2)
        if count_present(proto, weights, height) or any(
            rounded.find(matrix, height, either=either) for matrix in matrices
        ):
            found.append(layer.prefix)
    return found


def settle(source: Source, fits: Callable[[nn.RNNBase], Fit | None]) -> tuple[Source, str | None]:
    """Try what a checkpoint does not say, and keep what the file answers.

    Args:
        source: A bare layer from a checkpoint.
        fits: How a layer fits the file; None when that is unknown for all.

    Returns:
        The source with what fits, and a note; the source as it is where nothing does.
    """
    shaped = []
    names = _open_names(source)
    for module in _alternatives(source, names):
        fit = fits(module)
        if fit is None:
            return source, None
        if fit == "values":
            return _settled(replace(source, untold=()), module, names, "answers")
        if fit == "shapes":
            shaped.append(module)
    # A file that is wrong in its numbers still shows which axis it takes for the batch.
    if "batch_first" in names and len({module.batch_first for module in shaped}) == 1:
        untold = tuple(name for name in names if name != "batch_first")
        return _settled(
            replace(source, untold=untold), shaped[0], ["batch_first"], "shapes of the answers"
        )
    return source, None


def _settled(
    source: Source, module: nn.RNNBase, names: list[str], what: str
) -> tuple[Source, str | None]:
    spec = RNNSpec.from_layer(module)
    before = str(RNNSpec.from_layer(source.module))  # type: ignore[arg-type]  # a bare layer
    settled = replace(source, module=module, origin=source.origin.replace(before, str(spec)))
    words = " and ".join(f"{name}={getattr(spec, name)!r}" for name in names)
    note = f"{words}: the checkpoint does not say, the {what} of the file do"
    return settled, note if names else None


def _open_names(source: Source) -> list[str]:
    assert isinstance(source.module, nn.RNNBase)
    names = [name for name in _OPEN if name in source.untold]
    if source.module.mode not in ("RNN_TANH", "RNN_RELU") and "nonlinearity" in names:
        names.remove("nonlinearity")
    return names


def _alternatives(source: Source, names: list[str]) -> Iterator[nn.RNNBase]:
    assert isinstance(source.module, nn.RNNBase)
    spec = RNNSpec.from_layer(source.module)
    for values in itertools.product(*(_OPEN[name] for name in names)):
        layer = build(replace(spec, **dict(zip(names, values, strict=True))), seed=0)
        layer.load_state_dict(source.module.state_dict())
        yield layer
