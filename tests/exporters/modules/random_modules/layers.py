"""A recurrent layer of a draft: its options, where its states come from, and what is called."""

from __future__ import annotations

from dataclasses import dataclass

from random_modules.draft import Draft, InputSpec


@dataclass
class Layer:
    """An `nn.RNN`, `nn.LSTM` or `nn.GRU` of the draft.

    Attributes:
        call: Expression for the layer, `self.rnn`.
        cell: `RNN`, `LSTM` or `GRU`.
        rows: First axis of its states.
        state_sizes: Last axis of each of its states.
        width: Features of its output.
        batch_first: As PyTorch has it.
        bidirectional: As PyTorch has it.
    """

    call: str
    cell: str
    rows: int
    state_sizes: list[int]
    width: int
    batch_first: bool
    bidirectional: bool


def add_layer(
    draft: Draft,
    *,
    batch_first: bool | None = None,
    bidirectional: bool | None = None,
    features: int | None = None,
    hidden: int | None = None,
    layers: int | None = None,
) -> Layer:
    """Add a layer to the module; what is None is drawn."""
    cell = draft.pick(["RNN", "RNN", "LSTM", "LSTM", "GRU", "GRU"])
    features = draft.features if features is None else features
    projected = cell == "LSTM" and hidden is None and draft.chance(0.2)
    hidden = draft.size() if hidden is None else hidden
    layers = draft.pick([1, 1, 1, 2]) if layers is None else layers
    batch_first = draft.batch_first if batch_first is None else batch_first
    bidirectional = (
        draft.chance(0.05 if draft.streams else 0.3) if bidirectional is None else bidirectional
    )
    options = [str(features), str(hidden)]
    if layers > 1:
        options += [f"num_layers={layers}", "dropout=0.2"]
        draft.tag("two_layers")
    if cell == "RNN" and draft.chance(0.4):
        options.append("nonlinearity='relu'")
        draft.tag("relu_rnn")
    if projected:
        options.append(f"proj_size={hidden - 1}")
        draft.tag("lstm_projected")
    if batch_first:
        options.append("batch_first=True")
    if bidirectional:
        options.append("bidirectional=True")
        draft.tag("bidirectional")
    if draft.chance(0.1):
        options.append("bias=False")
    draft.tag(f"layer_{cell.lower()}", "batch_first" if batch_first else "time_first")
    call = draft.attribute("rnn", f"nn.{cell}({', '.join(options)})")
    if draft.chance(0.06):
        draft.tag("weight_norm")
        norm = draft.pick(["weight_norm", "spectral_norm", "orthogonal"])
        draft.init.append(f"parametrizations.{norm}({call}, 'weight_hh_l0')")
    if draft.chance(0.05):
        draft.tag("flattens_parameters")
        draft.line(f"{call}.flatten_parameters()")
    directions = 2 if bidirectional else 1
    output = hidden - 1 if projected else hidden
    sizes = [output, hidden] if cell == "LSTM" else [output]
    return Layer(
        call, cell, layers * directions, sizes, directions * output, batch_first, bidirectional
    )


def call_layer(draft: Draft, layer: Layer, x: str, state: str = "") -> tuple[str, list[str]]:
    """Call the layer in the forward.

    Returns:
        The variable of its output, and those of its final states.
    """
    y, h = draft.name("y"), draft.name("h")
    given = f"{layer.call}({x}, {state})" if state else f"{layer.call}({x})"
    finals = [h, draft.name("c")] if layer.cell == "LSTM" else [h]
    target = f"({', '.join(finals)})" if len(finals) > 1 else h
    draft.line(f"{y}, {target} = {given}")
    return y, finals


def last_layer(draft: Draft, layer: Layer, final: str) -> str:
    """Return the final state of the last layer as [batch, features], both directions joined."""
    directions, width = (2, layer.width // 2) if layer.bidirectional else (1, layer.width)
    layers = layer.rows // directions
    viewed = f"{final}.view({layers}, {directions}, -1, {width})[-1]"
    if layer.bidirectional:
        return draft.pick(
            [
                f"torch.cat([{final}[-2], {final}[-1]], -1)",
                f"torch.cat(({final}[-2, :, :], {final}[-1, :, :]), dim=1)",
                f"{viewed}.transpose(0, 1).reshape(-1, {layer.width})",
                f"torch.hstack([{viewed}[0], {viewed}[1]])",
            ]
        )
    ways = [f"{final}[-1]", f"{final}[-1]", f"{viewed}.squeeze(0)"]
    ways += [f"{final}.squeeze(0)", f"{final}.permute(1, 0, 2).flatten(1)"] if layers == 1 else []
    return draft.pick(ways)


def initial_state(draft: Draft, layer: Layer, batch: str, *, reordered: bool = False) -> str:
    """Write where the states of a call come from; an empty string is nowhere.

    Args:
        draft: The draft.
        layer: The layer that is going to be called.
        batch: Expression for the number of rows.
        reordered: Whether the rows stand in another order than those of the arguments.
    """
    ways = [_none, _none, _zeros, _zeros]
    if not draft.streams:
        ways += [_learned, _buffer]
    if not draft.streams and not reordered:
        ways += [_argument, _from_the_input, _sliced]
    way = draft.pick(ways)
    draft.tag(f"state{way.__name__}")
    states = way(draft, layer, batch)
    if not states:
        return ""
    return f"({', '.join(states)})" if len(states) > 1 else states[0]


def _none(draft: Draft, layer: Layer, batch: str) -> list[str]:
    return []


def _argument(draft: Draft, layer: Layer, batch: str) -> list[str]:
    names = [draft.name(stem) for stem in ("h_0", "c_0")[: len(layer.state_sizes)]]
    found = list(names)
    if len(names) > 1 and draft.chance(0.4):
        draft.tag("state_in_a_tuple")
        group = draft.name("state")
        names, found = [f"{group}_0", f"{group}_1"], [f"{group}[0]", f"{group}[1]"]
        draft.groups[group] = names
    for name, size in zip(names, layer.state_sizes, strict=True):
        draft.inputs[name] = InputSpec((layer.rows, "batch", size))
    return found


def _zeros(draft: Draft, layer: Layer, batch: str) -> list[str]:
    way = draft.pick(
        [
            "torch.zeros({rows}, {batch}, {size})",
            "x.new_zeros({rows}, {batch}, {size})",
            "torch.zeros({rows}, {batch}, {size}, dtype=x.dtype, device=x.device)",
            "torch.zeros(({rows}, {batch}, {size})).to(x)",
            "x.new_zeros([{rows}, {batch}, {size}])",
            "torch.zeros(1, 1, {size}).expand({rows}, {batch}, {size}).contiguous()",
            "torch.zeros({batch}, {rows}, {size}).transpose(0, 1).contiguous()",
            "torch.empty({rows}, {batch}, {size}).fill_(0)",
            "0 * torch.ones({rows}, {batch}, {size})",
        ]
    )
    return [way.format(rows=layer.rows, batch=batch, size=size) for size in layer.state_sizes]


def _learned(draft: Draft, layer: Layer, batch: str) -> list[str]:
    way = draft.pick(["expand(-1, {}, -1).contiguous()", "repeat(1, {}, 1)"]).format(batch)
    return [
        draft.attribute("start", f"nn.Parameter(torch.randn({layer.rows}, 1, {size}))") + f".{way}"
        for size in layer.state_sizes
    ]


def _from_the_input(draft: Draft, layer: Layer, batch: str) -> list[str]:
    """A linear layer over the first step, the mean over the steps, or a separate input."""
    way = draft.pick(["first", "mean", "image"])
    states = []
    features = draft.features
    value = {"first": draft.along("0"), "mean": f"x.mean({draft.t})", "image": "image"}[way]
    if way == "image":
        value = draft.name("image")
        features = draft.size()
        draft.inputs[value] = InputSpec(("batch", features))
    for size in layer.state_sizes:
        start = draft.attribute("to_state", f"nn.Linear({features}, {layer.rows * size})")
        states.append(
            f"{start}({value}).view(-1, {layer.rows}, {size}).transpose(0, 1).contiguous()"
        )
    return states


def _sliced(draft: Draft, layer: Layer, batch: str) -> list[str]:
    """One argument that holds the states of the layer among others."""
    name, rows = draft.name("states"), layer.rows
    if len(set(layer.state_sizes)) > 1:
        return _argument(draft, layer, batch)
    draft.inputs[name] = InputSpec(
        (rows * len(layer.state_sizes) + 1, "batch", layer.state_sizes[0])
    )
    return [f"{name}[{n * rows} : {(n + 1) * rows}]" for n in range(len(layer.state_sizes))]


def _buffer(draft: Draft, layer: Layer, batch: str) -> list[str]:
    """Zeros that the module keeps, cut to the number of rows."""
    names = []
    for size in layer.state_sizes:
        name = draft.name("kept")
        draft.init.append(f"self.register_buffer({name!r}, torch.zeros({layer.rows}, 64, {size}))")
        names.append(f"self.{name}[:, :{batch}]" + draft.pick(["", ".contiguous()"]))
    return names
