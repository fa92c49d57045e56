"""What stands behind the recurrent part: over every step, or one answer for a row."""

from __future__ import annotations

from random_modules.draft import Draft, Pieces

STEPWISE = Pieces()
"""Heads that keep the time axis."""
POOLING = Pieces()
"""Heads that leave [batch, features]."""
RESULTS = Pieces()
"""What is returned in addition to, or in place of, `x`."""


def _pooled(draft: Draft, value: str, features: int | None = None) -> None:
    draft.x(value)
    draft.timed = False
    draft.features = draft.features if features is None else features


def _mask(draft: Draft) -> str:
    """Return a mask that is true inside each row, in the layout of `x` with one feature."""
    steps = f"torch.arange(x.size({draft.t}), device=x.device)"
    if draft.batch_first:
        return f"({steps}.unsqueeze(0) < lengths.unsqueeze(1)).unsqueeze(2)"
    return f"({steps}.unsqueeze(1) < lengths.unsqueeze(0)).unsqueeze(2)"


@STEPWISE.piece(streams=True)
def head_linear(draft: Draft) -> None:
    width = draft.size()
    draft.x(f"{draft.attribute('head', f'nn.Linear({draft.features}, {width})')}(x)")
    draft.features = width


@STEPWISE.piece(streams=True)
def softmax_over_features(draft: Draft) -> None:
    draft.x(
        draft.pick(
            ["x.softmax(-1)", "F.log_softmax(x, dim=-1)", "x.softmax(2)", "torch.sigmoid(x)"]
        )
    )


@STEPWISE.piece()
def softmax_over_time(draft: Draft) -> None:
    draft.x(draft.pick([f"x.softmax({draft.t})", f"F.log_softmax(x, dim={draft.t})"]))


@STEPWISE.piece()
def multi_head_attention(draft: Draft) -> None:
    width = 4
    squeeze = draft.attribute("squeeze", f"nn.Linear({draft.features}, {width})")
    attend = draft.attribute(
        "attend", f"nn.MultiheadAttention({width}, 2, batch_first={draft.batch_first})"
    )
    draft.line(f"q = {squeeze}(x)")
    options = ""
    if draft.has_lengths and draft.chance(0.7):
        draft.tag("key_padding_mask")
        mask = f"torch.arange(x.size({draft.t})).unsqueeze(0) >= lengths.unsqueeze(1)"
        options = f", key_padding_mask={mask}"
    options += draft.pick(["", ", need_weights=False"])
    draft.line(f"x, _ = {attend}(q, q, q{options})")
    draft.features = width


@STEPWISE.piece()
def context_of_all_steps(draft: Draft) -> None:
    """Additive attention whose context is joined to each step."""
    score = draft.attribute("score", f"nn.Linear({draft.features}, 1)")
    draft.line(f"weights = torch.softmax({score}(torch.tanh(x)), dim={draft.t})")
    context = f"(weights * x).sum({draft.t}, keepdim=True)"
    draft.x(draft.pick([f"x + {context}", f"torch.cat([x, {context}.expand_as(x)], -1)"]))
    if draft.body[-1].startswith("x = torch.cat"):
        draft.features *= 2


@STEPWISE.piece()
def joined_with_the_final_state(draft: Draft) -> None:
    if not draft.final:
        return head_linear(draft)
    final = f"{draft.final}.unsqueeze({draft.t})"
    sizes = draft.shape("-1", f"x.size({draft.t})", "-1")
    times = draft.shape("1", f"x.size({draft.t})", "1")
    draft.x(
        draft.pick(
            [
                f"torch.cat([x, {final}.expand({sizes})], dim=2)",
                f"torch.cat((x, {final}.repeat({times})), -1)",
            ]
        )
    )
    draft.features += draft.final_size
    return None


@STEPWISE.piece(streams=True)
def top_features(draft: Draft) -> None:
    k = draft.pick([1, 2])
    draft.x(draft.pick([f"x.topk({k}, dim=-1).values", f"x.topk({k}, -1, sorted=True)[0]"]))
    draft.features = k


@STEPWISE.piece(streams=True)
def steps_flattened(draft: Draft) -> None:
    """Rows and steps joined for a head, and taken apart again."""
    width = draft.size()
    head = draft.attribute("head", f"nn.Linear({draft.features}, {width})")
    flat = draft.pick(
        [f"x.reshape(-1, {draft.features})", "x.flatten(0, 1)", "x.reshape((-1, x.shape[2]))"]
    )
    back = draft.pick(
        [f"x.size(0), x.size(1), {width}", f"x.size(0), -1, {width}", f"-1, x.size(1), {width}"]
    )
    draft.x(f"{head}({flat}).view({back})")
    draft.features = width


@STEPWISE.piece()
def masked_steps(draft: Draft) -> None:
    if not draft.has_lengths:
        return softmax_over_features(draft)
    mask = _mask(draft)
    draft.x(
        draft.pick([f"x * {mask}", f"x.masked_fill(~{mask}, 0.0)", f"torch.where({mask}, x, -x)"])
    )
    return None


@STEPWISE.piece()
def conv_behind(draft: Draft) -> None:
    width = draft.size()
    conv = draft.attribute("post", f"nn.Conv1d({draft.features}, {width}, 3, padding=1)")
    draft.x(draft.channels_last(f"{conv}({draft.channels_first()})"))
    draft.features = width


@STEPWISE.piece()
def transformer_layer(draft: Draft) -> None:
    width = 4
    squeeze = draft.attribute("squeeze", f"nn.Linear({draft.features}, {width})")
    layer = draft.attribute(
        "encode", f"nn.TransformerEncoderLayer({width}, 2, 8, batch_first={draft.batch_first})"
    )
    draft.x(f"{layer}({squeeze}(x))")
    draft.features = width


@POOLING.piece(streams=True)
def last_step(draft: Draft) -> None:
    _pooled(
        draft,
        draft.pick(
            [
                draft.along("-1"),
                f"x.select({draft.t}, -1)",
                f"{draft.along('-1:')}.squeeze({draft.t})",
            ]
        ),
    )


@POOLING.piece()
def step_by_position(draft: Draft) -> None:
    _pooled(
        draft,
        draft.along(
            draft.pick(["0", "1", "-2", f"x.size({draft.t}) // 2", f"x.size({draft.t}) - 1"])
        ),
    )


@POOLING.piece()
def pooled_over_time(draft: Draft) -> None:
    t = draft.t
    _pooled(
        draft,
        draft.pick(
            [
                f"x.mean({t})",
                f"x.max({t}).values",
                f"x.amax(dim={t})",
                f"x.sum({t}) / x.size({t})",
                f"torch.max(x, dim={t})[0]",
                f"x.std({t})",
                f"x.logsumexp({t})",
                f"x.min({t})[0]",
                f"x.sum({t}) / math.sqrt(x.shape[{t}])",
                f"x.norm(dim={t})",
                f"x.var({t}, correction=0)",
                f"F.adaptive_max_pool1d({draft.channels_first()}, 1).squeeze(-1)",
                f"F.max_pool1d({draft.channels_first()}, x.size({t})).squeeze(2)",
                f"x.prod({t})",
            ]
        ),
    )


@POOLING.piece()
def mean_and_max(draft: Draft) -> None:
    _pooled(
        draft, f"torch.cat([x.mean({draft.t}), x.max({draft.t}).values], 1)", 2 * draft.features
    )


@POOLING.piece()
def attention_pooling(draft: Draft) -> None:
    score, t = draft.attribute("score", f"nn.Linear({draft.features}, 1, bias=False)"), draft.t
    draft.line(f"weights = {score}(x).softmax({t})")
    if draft.chance(0.5):
        draft.results["weights"] = "weights"
    way = draft.pick(["sum", "bmm"])
    if way == "sum":
        _pooled(draft, f"(weights * x).sum(dim={t})")
    else:
        perm = "0, 2, 1" if draft.batch_first else "1, 2, 0"
        rows = "x" if draft.batch_first else "x.transpose(0, 1)"
        _pooled(draft, f"torch.bmm(weights.permute({perm}), {rows}).squeeze(1)")


@POOLING.piece()
def query_of_the_final_state(draft: Draft) -> None:
    """Attention over all steps that the final state asks for."""
    if not draft.final:
        return attention_pooling(draft)
    query = draft.attribute("query", f"nn.Linear({draft.final_size}, {draft.features})")
    rows = "x" if draft.batch_first else "x.transpose(0, 1)"
    draft.line(f"rows = {rows}", f"scores = torch.bmm(rows, {query}({draft.final}).unsqueeze(2))")
    draft.line("scores = F.softmax(scores.squeeze(2), dim=1)")
    _pooled(draft, "torch.einsum('bt,btf->bf', scores, rows)")
    return None


@POOLING.piece(streams=True)
def final_state_alone(draft: Draft) -> None:
    if draft.final:
        _pooled(draft, draft.final, draft.final_size)
    else:
        last_step(draft)


@POOLING.piece(streams=True)
def stacked_with_the_final_state(draft: Draft) -> None:
    if not draft.final:
        return mean_and_max(draft)
    if draft.final_size == draft.features and draft.chance(0.6):
        _pooled(draft, f"torch.stack([{draft.along('-1')}, {draft.final}], dim=1).mean(1)")
    else:
        both = f"torch.cat([{draft.along('-1')}, {draft.final}], -1)"
        _pooled(draft, both, draft.features + draft.final_size)
    return None


@POOLING.piece()
def strongest_steps(draft: Draft) -> None:
    _pooled(draft, f"x.topk(2, dim={draft.t}).values.mean({draft.t})")


@POOLING.piece()
def step_at_the_end_of_each_row(draft: Draft) -> None:
    if not draft.has_lengths:
        return last_step(draft)
    rows = "torch.arange(lengths.size(0), device=x.device)"
    picked = f"x[{rows}, lengths - 1]" if draft.batch_first else f"x[lengths - 1, {rows}]"
    shape = "(-1, 1, 1)" if draft.batch_first else "(1, -1, 1)"
    index = f"(lengths - 1).view{shape}"
    index += f".expand({draft.shape(f'x.size({draft.b})', '1', 'x.size(2)')})"
    gathered = f"x.gather({draft.t}, {index}).squeeze({draft.t})"
    _pooled(draft, draft.pick([picked, gathered]))
    return None


@POOLING.piece()
def mean_inside_each_row(draft: Draft) -> None:
    if not draft.has_lengths:
        return pooled_over_time(draft)
    _pooled(draft, f"(x * {_mask(draft)}).sum({draft.t}) / lengths.unsqueeze(1)")
    return None


@RESULTS.piece()
def best_label(draft: Draft) -> None:
    draft.line(f"label = x.argmax({draft.pick(['-1', 'dim=-1', '-1, keepdim=True'])})")
    draft.results["label"] = "label"


@RESULTS.piece()
def best_step(draft: Draft) -> None:
    if not draft.timed:
        return best_label(draft)
    draft.line(f"peak = x.argmax({draft.t})")
    draft.results["peak"] = "peak"
    return None


@RESULTS.piece()
def sizes_as_a_result(draft: Draft) -> None:
    """A number made of the sizes, as a tensor."""
    size = f"x.shape[{draft.t if draft.timed else 0}]"
    draft.line(
        draft.pick(
            [
                f"count = torch.full((1,), {size})",
                f"count = x.sum() / {size}",
                f"count = torch.tensor([{size}])",
                f"count = torch.arange({size})",
            ]
        )
    )
    draft.results["count"] = "count"


@RESULTS.piece()
def rollout_of_numbers(draft: Draft) -> None:
    """The answer reshaped by -1, with another axis of the module's own sizes."""
    if not draft.timed or draft.features % 2:
        return best_label(draft)
    shape = f"(-1, x.shape[{draft.b}], {draft.features // 2})"
    draft.line(f"numbers = x.reshape({shape})")
    draft.results["numbers"] = draft.pick(["numbers", "numbers.mean(0)"])
    return None


@RESULTS.piece()
def the_input_again(draft: Draft) -> None:
    name = next(iter(draft.inputs))
    draft.results["again"] = draft.pick([name, f"{name} * 1", f"{name}[:1]"])


@RESULTS.piece()
def transposed_result(draft: Draft) -> None:
    draft.results["turned"] = draft.pick(
        ["x.transpose(0, 1)", "x.unsqueeze(-1)", "x.t()" if not draft.timed else "x.mT"]
    )


def write_results(draft: Draft) -> list[str]:
    """Return the lines of the forward that give the results back."""
    named = {"out": "x", **draft.results}
    way = draft.pick(["tuple", "tuple", "tuple", "dict", "dict", "named", "nested", "list"])
    if len(named) == 1 and way not in ("dict", "named"):
        draft.tag("result_tensor")
        return ["return x"]
    way = "dataclass" if draft.chance(0.04) else way
    draft.tag(f"result_{way}")
    if way == "dict":
        return ["return {" + ", ".join(f"{key!r}: {value}" for key, value in named.items()) + "}"]
    if way in ("named", "dataclass"):
        fields = [f"    {key}: Tensor" for key in named]
        head = ["class Answer(NamedTuple):"] if way == "named" else ["@dataclass", "class Answer:"]
        draft.before.append("\n".join([*head, *fields]))
        return [
            "return Answer(" + ", ".join(f"{key}={value}" for key, value in named.items()) + ")"
        ]
    values = list(named.values())
    if way == "nested" and len(values) > 2:
        return [f"return {values[0]}, ({', '.join(values[1:])})"]
    return [f"return [{', '.join(values)}]" if way == "list" else f"return {', '.join(values)}"]
