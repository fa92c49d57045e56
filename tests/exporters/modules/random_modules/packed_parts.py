"""Recurrent parts that take lengths: each packs `x`, works on it, and leaves it padded."""

from __future__ import annotations

from collections.abc import Callable

from random_modules.draft import Draft, InputSpec, Pieces
from random_modules.layers import add_layer, call_layer, initial_state
from random_modules.recurrent_parts import rows_of, took

PACKED = Pieces()
piece = PACKED.piece


@piece(streams=True)
def packed_layer(draft: Draft) -> None:
    _packed(draft, lambda draft, packed, width: width)


@piece(streams=True)
def packed_data_changed(draft: Draft) -> None:
    """Work on the data of a packed sequence, before or behind the layer."""
    _packed(draft, _work_on_data)


@piece(streams=True)
def packed_layers_in_a_row(draft: Draft) -> None:
    """A second layer takes the packed sequence as the first gave it, or changed."""

    def second(draft: Draft, packed: str, width: int) -> int:
        width = _work_on_data(draft, packed, width) if draft.chance(0.5) else width
        layer = add_layer(draft, features=width)
        y, _ = call_layer(draft, layer, packed)
        draft.line(f"{packed} = {y}")
        return layer.width

    _packed(draft, second)


def _packed(draft: Draft, then: Callable[[Draft, str, int], int]) -> None:
    lengths, order = _lengths(draft)
    packed, t = draft.name("packed"), draft.t
    given = draft.pick(
        [
            lengths,
            lengths,
            lengths,
            f"{lengths}.cpu()",
            f"{lengths}.tolist()",
            f"list({lengths})",
            f"{lengths}.cpu().numpy()",
            f"{lengths}.to('cpu')",
            f"[int(n) for n in {lengths}]",
        ]
    )
    if given != lengths:
        draft.tag("lengths_as_" + given.split(".")[-1].strip("()").split("(")[0].strip("[")[:8])
    sorted_rows = bool(order) or any(s.kind == "sorted_lengths" for s in draft.inputs.values())
    options = [given, *(["batch_first=True"] if draft.batch_first else [])]
    options += [] if sorted_rows else ["enforce_sorted=False"]
    draft.line(f"{packed} = pack(x, {', '.join(options)})")
    if draft.chance(0.2):
        draft.tag("packed_data_before")
        draft.features = _work_on_data(draft, packed, draft.features)
    layer = add_layer(draft)
    state = initial_state(draft, layer, rows_of(draft), reordered=bool(order))
    y, finals = call_layer(draft, layer, packed, state)
    draft.line(f"{packed} = {y}")
    width = then(draft, packed, layer.width)
    options = [packed, *(["batch_first=True"] if draft.batch_first else [])]
    if draft.streams or draft.chance(0.6):
        options.append(f"total_length=x.size({t})")
        draft.tag("total_length")
        draft.keeps_time = True
    else:
        draft.keeps_time = False  # it ends at the longest row
    if draft.chance(0.2):
        options.append("padding_value=-1.0")
        draft.tag("padding_value")
    seen = draft.pick(["_", "_", "lengths"])
    draft.line(f"x, {seen} = unpack({', '.join(options)})")
    if order:
        back = draft.pick(
            [
                f"x.index_select({draft.b}, {order})",
                "x" + (f"[{order}]" if draft.batch_first else f"[:, {order}]"),
            ]
        )
        draft.x(back)
        draft.line(*(f"{final} = {final}.index_select(1, {order})" for final in finals))
        if seen == "lengths":
            draft.line(f"lengths = lengths[{order}]")
    took(draft, "x", layer, finals)
    draft.final_size, draft.features = layer.width, width


def _lengths(draft: Draft) -> tuple[str, str]:
    """Write where the lengths come from: their name, and that of the order to go back by."""
    way = draft.pick(["any", "any", "any", "sorted", "by_hand"])
    draft.tag(f"lengths_{way}")
    axes = ("batch", "time") if draft.batch_first else ("time", "batch")
    if "tokens" in draft.inputs and way != "sorted" and draft.chance(0.4):
        draft.tag("lengths_of_padded_ids")
        draft.inputs["tokens"] = InputSpec(axes, "padded_ids")
        draft.line(f"lengths = (tokens != 0).sum({draft.t})")
    elif way != "sorted" and draft.chance(0.15):
        draft.tag("lengths_of_a_mask")
        draft.inputs["mask"] = InputSpec(axes, "mask")
        draft.line(
            draft.pick([f"lengths = mask.sum({draft.t})", f"lengths = mask.long().sum({draft.t})"])
        )
    else:
        kind = "sorted_lengths" if way == "sorted" else "lengths"
        draft.inputs["lengths"] = InputSpec(("batch",), kind)
    draft.has_lengths = True
    if way != "by_hand":
        return "lengths", ""
    rows = draft.pick(
        [
            "lengths_sorted, order = lengths.sort(descending=True)",
            "lengths_sorted, order = torch.sort(lengths, 0, True)",
            "order = lengths.argsort(descending=True); lengths_sorted = lengths[order]",
            "lengths_sorted, order = lengths.topk(lengths.size(0))",
        ]
    )
    draft.line(*rows.split("; "))
    x = draft.pick(
        [f"x.index_select({draft.b}, order)", "x[order]" if draft.batch_first else "x[:, order]"]
    )
    draft.x(x)
    draft.line("back = order.argsort()")
    return "lengths_sorted", "back"


def _work_on_data(draft: Draft, packed: str, width: int) -> int:
    """Change the data of a packed sequence; returns its features."""
    harmless = ["elementwise", "linear", "constructor", "dropout"]
    way = draft.pick(
        harmless
        if draft.streams
        else [
            "elementwise",
            "elementwise",
            "linear",
            "linear",
            "softmax",
            "log_softmax",
            "batch_norm",
            "layer_norm",
            "mean",
            "sum_features",
            "rows",
            "cumsum",
            "picked",
            "cat",
            "returned",
            "less_its_mean",
            "constructor",
            "dropout",
            "max",
            "sort",
        ]
    )
    draft.tag(f"data_{way}")
    data, made = f"{packed}.data", ""
    if way == "elementwise":
        made = draft.pick([f"torch.tanh({data})", f"{data} * 2 + 1", f"torch.relu({data}) + 0.1"])
    elif way in ("linear", "constructor", "dropout"):
        wide = draft.size()
        layer = draft.attribute("data_fc", f"nn.Linear({width}, {wide})")
        made, width = f"{layer}({data})", wide
        made = f"F.dropout(torch.relu({made}), 0.3, self.training)" if way == "dropout" else made
    elif way in ("softmax", "log_softmax"):
        made = f"{data}.{way}({draft.pick(['-1', '1', 'dim=-1'])})"
    elif way == "batch_norm":
        norm = draft.attribute("data_bn", f"nn.BatchNorm1d({width})")
        draft.init.append(f"{norm}.running_mean.normal_()")
        made = f"{norm}({data})"
    elif way == "layer_norm":
        made = f"{draft.attribute('data_norm', f'nn.LayerNorm({width})')}({data})"
    elif way == "cumsum":
        made = f"{data}.cumsum({draft.pick(['0', '1', '-1'])})"
    elif way == "sort":
        made = f"{data}.sort({draft.pick(['0', '1', '-1'])}).values"
    elif way == "picked":
        width = width - 1
        made = draft.pick(
            [f"{data}[:, :{width}]", f"{data}[..., :{width}]", f"{data}.narrow(1, 0, {width})"]
        )
    elif way == "cat":
        made, width = f"torch.cat([{data}, {data}.abs()], {draft.pick(['1', '-1'])})", 2 * width
    elif way == "less_its_mean":
        made = f"{data} - {data}.mean({draft.pick(['0', '0, keepdim=True', '1, keepdim=True'])})"
    elif way == "sum_features":
        made, width = f"{data}.sum({draft.pick(['1', '-1'])}, keepdim=True)", 1
    elif way == "max":
        draft.results["data_max"] = draft.pick(
            [f"{data}.max(0).values", f"{data}.max()", f"{data}.amax(1)"]
        )
    elif way == "mean":
        draft.results["data_mean"] = draft.pick(
            [f"{data}.mean(0)", f"{data}.mean()", f"{data}.sum(0)"]
        )
    elif way == "rows":
        draft.results["data_rows"] = draft.pick(
            [
                f"torch.tensor({data}.shape[0])",
                f"{data}.sum() / {data}.size(0)",
                f"{data}.norm() / len({data})",
            ]
        )
    elif way == "returned":
        draft.results["data"] = data
    if made and way == "constructor":
        old = packed
        rest = f"{old}.batch_sizes, {old}.sorted_indices, {old}.unsorted_indices"
        draft.line(f"{packed} = PackedSequence({made}, {rest})")
    elif made:
        draft.line(f"{packed} = {packed}._replace(data={made})")
    for name in ("data_max", "data_mean", "data_rows", "data"):
        if not made and name in draft.results and draft.results[name] != name:
            draft.line(f"{name} = {draft.results[name]}")
            draft.results[name] = name
    return width
