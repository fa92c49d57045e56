"""The recurrent layers of a module, called around its loops as the module calls them."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from rnnedge_exporters.errors import MismatchError
from rnnedge_exporters.layers.recurrent import Recurrent
from rnnedge_exporters.modules.capture import LAYER, LENGTHS_GIVEN, Layer, state_sizes
from rnnedge_exporters.modules.loops.parts import Outer
from rnnedge_exporters.modules.loops.programs import Item
from rnnedge_exporters.modules.loops.rolled import RolledLoop
from rnnedge_exporters.modules.packing import DOMAIN


@dataclass(frozen=True, slots=True)
class LayerResults:
    """What a recurrent layer gives, as its opaque node does: the output, then each state."""

    nodes: list[fx.Node]


def call_layer(outer: Outer, item: Item, layers: Mapping[str, Layer]) -> LayerResults:
    """Call a recurrent layer of the module itself, in place of its opaque node.

    Args:
        outer: Writes the program.
        item: The opaque node.
        layers: The recurrent layers by path.

    Raises:
        MismatchError: When it takes lengths.
    """
    given = dict(item.kwargs)
    told = dict(zip(outer.value(given["attr_keys"]), outer.value(given["attr_ints"]), strict=True))
    if given.get("domain") != ("lit", DOMAIN) or told.get(LENGTHS_GIVEN, 1):
        raise MismatchError("lengths, or a packed sequence, in a module with a loop")
    x, *states = outer.value(item.args[0])
    path = list(layers)[told[LAYER]]
    layer = layers[path]
    if isinstance(layer, RolledLoop):  # of a cell that `Recurrent` runs
        called = outer.graph.call_module(outer.add_module("cell", layer), (x, *states))
        results = range(len(layer.shape.results))
        return LayerResults([outer.call(operator.getitem, called, number) for number in results])
    count = len(layer.state_sizes if isinstance(layer, Recurrent) else state_sizes(layer))
    hx = () if not states else (states[0] if count == 1 else tuple(states),)
    called = outer.graph.call_module(path, (x, *hx))
    finals = outer.call(operator.getitem, called, 1)
    parts = [finals] if count == 1 else [
        outer.call(operator.getitem, finals, number) for number in range(count)
    ]  # fmt: skip
    return LayerResults([outer.call(operator.getitem, called, 0), *parts])
