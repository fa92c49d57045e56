"""The recurrent part of a draft: layers, packed sequences, loops over steps, two time axes."""

from __future__ import annotations

from random_modules.draft import Draft, InputSpec, Pieces
from random_modules.layers import Layer, add_layer, call_layer, initial_state, last_layer

RECURRENT = Pieces()
piece = RECURRENT.piece


def took(draft: Draft, y: str, layer: Layer, finals: list[str], padded: bool = True) -> None:
    """Make an output the current value, and offer the final states."""
    if padded and y != "x":
        draft.x(y)
    draft.features = layer.width
    draft.final = last_layer(draft, layer, finals[0])
    draft.final_size = layer.width
    if draft.chance(0.4):
        draft.tag("returns_states")
        draft.results |= {f"{name}_n" if "_" not in name else name: name for name in finals}


def rows_of(draft: Draft) -> str:
    return draft.pick([f"x.size({draft.b})", f"x.shape[{draft.b}]"])


@piece(streams=True)
def one_layer(draft: Draft) -> None:
    layer = add_layer(draft)
    state = initial_state(draft, layer, rows_of(draft))
    took(draft, *_called(draft, layer, "x", state))


def _called(draft: Draft, layer: Layer, x: str, state: str = "") -> tuple[str, Layer, list[str]]:
    y, finals = call_layer(draft, layer, x, state)
    return y, layer, finals


@piece(streams=True)
def other_layout(draft: Draft) -> None:
    """A layer with the other batch_first, between two transposes."""
    layer = add_layer(draft, batch_first=not draft.batch_first)
    state = initial_state(draft, layer, rows_of(draft))
    y, finals = call_layer(draft, layer, "x.transpose(0, 1)", state)
    took(draft, f"{y}.transpose(0, 1)", layer, finals)


@piece(streams=True)
def layers_in_a_row(draft: Draft) -> None:
    first = add_layer(draft)
    y, finals = call_layer(draft, first, "x", initial_state(draft, first, rows_of(draft)))
    second = add_layer(draft, features=first.width)
    same = (second.rows, second.state_sizes) == (first.rows, first.state_sizes)
    if same and draft.chance(0.7):
        draft.tag("state_handed_on")
        state = f"({', '.join(finals)})" if len(finals) > 1 else finals[0]
    else:
        state = initial_state(draft, second, rows_of(draft))
    took(draft, *_called(draft, second, y, state))


@piece(streams=True)
def residual(draft: Draft) -> None:
    layer = add_layer(draft, bidirectional=False, hidden=draft.features)
    y, finals = call_layer(draft, layer, "x", initial_state(draft, layer, rows_of(draft)))
    took(draft, f"x + {y}", layer, finals)


@piece()
def called_twice(draft: Draft) -> None:
    """One layer over two readings of the sequence."""
    layer = add_layer(draft)
    one, finals = call_layer(draft, layer, "x")
    other = draft.pick(
        [f"x.flip({draft.t})", "-x", f"x - {draft.along(':1')}", f"x.roll(1, {draft.t})", "x * 2"]
    )
    state = draft.pick(["", f"({', '.join(finals)})" if len(finals) > 1 else finals[0]])
    two, finals = call_layer(draft, layer, other, state)
    took(draft, draft.pick([f"{one} + {two}", f"{one} * {two}", two]), layer, finals)


@piece()
def backward_reading(draft: Draft) -> None:
    """Both directions by hand: a second layer over the flipped sequence."""
    left, right = add_layer(draft, bidirectional=False), add_layer(draft, bidirectional=False)
    one, finals = call_layer(draft, left, "x")
    two, _ = call_layer(draft, right, f"x.flip({draft.t})")
    back = draft.pick([f"{two}.flip({draft.t})", two])
    took(draft, f"torch.cat([{one}, {back}], dim=-1)", left, finals)
    draft.features = left.width + right.width


@piece(streams=True)
def list_of_layers(draft: Draft) -> None:
    """`nn.ModuleList` of layers with norms, walked in a loop."""
    width, cell = draft.features, draft.pick(["RNN", "GRU"])
    options = f"{width}, {width}, batch_first={draft.batch_first}"
    rnns = draft.attribute("rnns", f"nn.ModuleList(nn.{cell}({options}) for _ in range(2))")
    norms = draft.attribute("norms", f"nn.ModuleList(nn.LayerNorm({width}) for _ in range(2))")
    draft.line(
        f"for rnn, norm in zip({rnns}, {norms}):", "    y_i, h_i = rnn(norm(x))", "    x = x + y_i"
    )
    draft.tag(f"layer_{cell.lower()}")
    draft.final, draft.final_size = "h_i[-1]", width


@piece()
def step_loop_over_slices(draft: Draft) -> None:
    """A layer that is stepped in a Python loop over slices of one step."""
    layer = add_layer(draft, bidirectional=False)
    hidden, outputs = draft.name("hidden"), draft.name("outputs")
    state = draft.pick(["None", initial_state(draft, layer, rows_of(draft)) or "None"])
    draft.line(f"{hidden} = {state}", f"{outputs} = []")
    draft.line(f"for t in range({draft.pick(['x.size({})', 'x.shape[{}]']).format(draft.t)}):")
    index = draft.pick(["t : t + 1", "[t]"])
    draft.line(f"    o, {hidden} = {layer.call}({draft.along(index)}, {hidden})")
    draft.line(f"    {outputs}.append(o)")
    finals = [f"{hidden}[0]"] if layer.cell == "LSTM" else [hidden]
    draft.x(f"torch.cat({outputs}, {draft.t})")
    draft.features = layer.width
    draft.final, draft.final_size = last_layer(draft, layer, finals[0]), layer.width


@piece()
def step_loop_unbind(draft: Draft) -> None:
    layer = add_layer(draft, bidirectional=False)
    hidden, outputs = draft.name("hidden"), draft.name("outputs")
    draft.line(f"{hidden}, {outputs} = None, []")
    steps = draft.pick([f"x.unbind({draft.t})", f"torch.unbind(x, dim={draft.t})"])
    draft.line(f"for step in {steps}:")
    draft.line(f"    o, {hidden} = {layer.call}(step.unsqueeze({draft.t}), {hidden})")
    draft.line(f"    {outputs}.append(o.squeeze({draft.t}))")
    draft.x(f"torch.stack({outputs}, dim={draft.t})")
    draft.features = layer.width


@piece()
def cell_loop(draft: Draft) -> None:
    """`nn.LSTMCell` and its siblings in a Python loop."""
    cell, width = draft.pick(["RNNCell", "LSTMCell", "GRUCell"]), draft.size()
    rnn = draft.attribute("cell", f"nn.{cell}({draft.features}, {width})")
    draft.tag(f"cell_{cell.lower()}")
    h, outputs, rows = draft.name("hx"), draft.name("outputs"), rows_of(draft)
    zeros = f"x.new_zeros({rows}, {width})"
    start = f"({zeros}, {zeros})" if cell == "LSTMCell" else zeros
    draft.line(f"{h}, {outputs} = {draft.pick([start, 'None'])}, []")
    draft.line(f"for t in range(x.size({draft.t})):")
    draft.line(f"    {h} = {rnn}({draft.along('t')}, {h})")
    out = f"{h}[0]" if cell == "LSTMCell" else h
    draft.line(f"    {outputs}.append({out})")
    draft.x(f"torch.stack({outputs}, {draft.t})")
    draft.features = width
    draft.final, draft.final_size = out, width


@piece()
def rollout(draft: Draft) -> None:
    """A fixed number of steps after the sequence, each fed with the one before."""
    layer = add_layer(draft, bidirectional=False)
    y, finals = call_layer(draft, layer, "x")
    back = draft.attribute("back", f"nn.Linear({layer.width}, {draft.features})")
    hidden = draft.name("hidden")
    draft.line(f"{hidden} = {f'({chr(44).join(finals)})' if len(finals) > 1 else finals[0]}")
    draft.line(f"steps, o = [], {draft.along('-1:', y)}")
    draft.line(f"for _ in range({draft.pick([2, 3])}):")
    draft.line(f"    o, {hidden} = {layer.call}({back}(o), {hidden})", "    steps.append(o)")
    draft.x(draft.pick([f"torch.cat(steps, {draft.t})", f"torch.cat([{y}, *steps], {draft.t})"]))
    draft.features = layer.width


@piece()
def rows_joined(draft: Draft) -> None:
    """A reshape that joins rows and steps, walked again by -1."""
    layer = add_layer(draft)
    y, finals = call_layer(draft, layer, "x")
    batch = f"{finals[0]}.shape[1]"
    shape = draft.shape(batch, "-1", str(layer.width))
    took(draft, f"{y}.reshape(({shape}))", layer, finals)


@piece()
def words_in_sentences(draft: Draft) -> None:
    """The steps of each row are read two by two, then the pairs: a batch inside a batch."""
    inner, rows = add_layer(draft, batch_first=True), rows_of(draft)
    draft.line(f"pairs = x.size({draft.t}) // 2")
    x = draft.along(": pairs * 2")
    x = x if draft.batch_first else f"{x}.transpose(0, 1)"
    draft.line(f"words = {x}.reshape({rows} * pairs, 2, {draft.features})")
    _, finals = call_layer(draft, inner, "words")
    shape = f"{rows if draft.batch_first else '-1'}, pairs, {inner.width}"
    draft.x(f"{last_layer(draft, inner, finals[0])}.view({shape})")
    outer = add_layer(draft, batch_first=True, features=inner.width)
    y, finals = call_layer(draft, outer, "x")
    took(draft, y if draft.batch_first else f"{y}.transpose(0, 1)", outer, finals)


@piece(streams=True)
def each_feature_alone(draft: Draft) -> None:
    """Every feature is a separate row: the batch is rows times features."""
    layer, rows = add_layer(draft, batch_first=True, features=1), rows_of(draft)
    width = draft.features
    x = "x" if draft.batch_first else "x.transpose(0, 1)"
    draft.line(f"lanes = {x}.transpose(1, 2).reshape({rows} * {width}, -1, 1)")
    y, _ = call_layer(draft, layer, "lanes")
    draft.line(f"y_lanes = {y}.reshape({rows}, {width}, -1, {layer.width}).mean(1)")
    draft.x("y_lanes" if draft.batch_first else "y_lanes.transpose(0, 1)")
    draft.features = layer.width


@piece()
def encoder_and_decoder(draft: Draft) -> None:
    """Two inputs with a time axis each: the decoder goes on from the encoder's state."""
    encoder = add_layer(draft, bidirectional=False, layers=draft.pick([1, 2]))
    memory, finals = call_layer(draft, encoder, "x")
    features, target = draft.size(), draft.name("target")
    time: tuple[int | str, ...] = ("batch", "time_1") if draft.batch_first else ("time_1", "batch")
    draft.inputs[target] = InputSpec((*time, features))
    decoder = add_layer(draft, bidirectional=False, features=features)
    same = (decoder.rows, decoder.state_sizes) == (encoder.rows, encoder.state_sizes)
    state = f"({', '.join(finals)})" if len(finals) > 1 else finals[0]
    y, finals = call_layer(draft, decoder, target, state if same else "")
    query = draft.attribute("query", f"nn.Linear({decoder.width}, {encoder.width})")
    one, two = (query + f"({y})", memory)
    if not draft.batch_first:
        one, two = f"{one}.transpose(0, 1)", f"{two}.transpose(0, 1)"
    draft.line(f"scores = ({one} @ {two}.transpose(1, 2)).softmax(-1)")
    context = f"scores @ {two}"
    context = context if draft.batch_first else f"({context}).transpose(0, 1)"
    took(draft, f"torch.cat([{y}, {context}], -1)", decoder, finals)
    draft.features = decoder.width + encoder.width


@piece()
def two_signals(draft: Draft) -> None:
    """Two layers over two inputs, each with its own steps, joined by their last states."""
    first = add_layer(draft)
    y, finals = call_layer(draft, first, "x")
    features, name = draft.size(), draft.name("other")
    time: tuple[int | str, ...] = ("batch", "time_1") if draft.batch_first else ("time_1", "batch")
    draft.inputs[name] = InputSpec((*time, features))
    second = add_layer(draft, features=features, batch_first=draft.batch_first)
    _, others = call_layer(draft, second, name)
    side = last_layer(draft, second, others[0])
    sizes = draft.shape("-1", f"{y}.size({draft.t})", "-1")
    took(draft, f"torch.cat([{y}, {side}.unsqueeze({draft.t}).expand({sizes})], -1)", first, finals)
    draft.features = first.width + second.width


@piece(streams=True)
def own_cell(draft: Draft) -> None:
    """`rnnedge.Recurrent` with a cell of the module's own."""
    width = draft.size()
    lines = [
        "class Cell(nn.Module):",
        "    def __init__(self, features, hidden_size):",
        "        super().__init__()",
        "        self.hidden_size = hidden_size",
        "        self.gates = nn.Linear(features + hidden_size, 2 * hidden_size)",
        "",
        "    def forward(self, x, h):",
        "        z, n = self.gates(torch.cat([x, h], 1)).chunk(2, 1)",
        "        h = h + torch.sigmoid(z) * (torch.tanh(n) - h)",
        "        return h, h",
    ]
    if "\n".join(lines) not in draft.before:
        draft.before.append("\n".join(lines))
    cell = f"Cell({draft.features}, {width})"
    rnn = draft.attribute("own", f"Recurrent({cell}, batch_first={draft.batch_first})")
    h = draft.name("h")
    draft.line(f"x, {h} = {rnn}(x)")
    draft.features = width
    draft.final, draft.final_size = f"{h}[-1]", width


@piece(streams=True)
def wrapped_in_a_sequential(draft: Draft) -> None:
    """`nn.Sequential` with a layer, and a module that picks its output."""
    lines = [
        "class Output(nn.Module):",
        "    def forward(self, result):",
        "        return result[0]",
    ]
    if "\n".join(lines) not in draft.before:
        draft.before.append("\n".join(lines))
    width, cell = draft.size(), draft.pick(["RNN", "LSTM", "GRU"])
    options = f"{draft.features}, {width}, batch_first={draft.batch_first}"
    parts = [f"nn.{cell}({options})", "Output()", f"nn.Linear({width}, {width})", "nn.ReLU()"]
    draft.tag(f"layer_{cell.lower()}")
    rnn = draft.attribute("stack", f"nn.Sequential({', '.join(parts)})")
    draft.x(f"{rnn}(x)")
    draft.features = width


@piece()
def halves_of_directions(draft: Draft) -> None:
    """A bidirectional layer whose directions are taken apart."""
    layer = add_layer(draft, bidirectional=True)
    y, finals = call_layer(draft, layer, "x")
    half = layer.width // 2
    took(
        draft,
        draft.pick(
            [
                f"{y}[..., :{half}] + {y}[..., {half}:]",
                f"{y}.view({y}.size(0), {y}.size(1), 2, {half}).sum(2)",
                f"{y}.unflatten(-1, (2, {half})).mean(2)",
                f"torch.mul(*{y}.chunk(2, -1))",
            ]
        ),
        layer,
        finals,
    )
    draft.features = half


@piece()
def image_columns(draft: Draft) -> None:
    """Text recognition: the columns of an image are the steps, next to the signal."""
    name, channels = draft.name("image"), draft.pick([2, 3])
    draft.inputs[name] = InputSpec(("batch", 1, 6, "time_1"))
    conv = draft.attribute("conv2d", f"nn.Conv2d(1, {channels}, 3, padding=1)")
    pool = draft.pick(["nn.MaxPool2d((2, 1))", "nn.MaxPool2d(2)", "nn.AvgPool2d((2, 1))"])
    see = draft.attribute("see", f"nn.Sequential({conv}, nn.ReLU(), {pool})")
    maps = draft.name("maps")
    draft.line(f"{maps} = {see}({name})")
    columns = draft.pick(
        [f"{maps}.flatten(1, 2)", f"{maps}.reshape({maps}.size(0), -1, {maps}.size(3))"]
    )
    draft.x(draft.channels_last(columns))
    draft.features = channels * 3
    one_layer(draft)


@piece()
def frames_of_a_video(draft: Draft) -> None:
    """A convolution over every frame of a clip."""
    name = draft.name("clip")
    draft.inputs[name] = InputSpec(("batch", "time_1", 2, 4, 4))
    conv = draft.attribute("look", "nn.Conv2d(2, 5, 3)")
    flat = draft.pick([f"{name}.flatten(0, 1)", f"{name}.reshape(-1, 2, 4, 4)"])
    back = draft.pick(
        [
            f"{name}.shape[0], {name}.shape[1], -1",
            f"{name}.size(0), -1, 5",
            f"-1, {name}.size(1), 5",
        ]
    )
    rows = f"{conv}({flat}).mean((2, 3)).view({back})"
    draft.x(rows if draft.batch_first else f"{rows}.transpose(0, 1)")
    draft.features = 5
    one_layer(draft)
