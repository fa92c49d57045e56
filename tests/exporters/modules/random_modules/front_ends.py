"""What stands before, or between, recurrent layers: it keeps batch, time and features."""

from __future__ import annotations

from random_modules.draft import Draft, Pieces

FRONT_ENDS = Pieces()
piece = FRONT_ENDS.piece


def activation(draft: Draft, value: str) -> str:
    name = draft.pick(
        [
            "torch.relu",
            "torch.tanh",
            "F.gelu",
            "F.silu",
            "F.leaky_relu",
            "F.elu",
            "F.softplus",
            "",
            "torch.sigmoid",
            "F.hardtanh",
            "F.mish",
            "F.hardswish",
            "F.selu",
            "F.relu6",
        ]
    )
    return f"{name}({value})" if name else value


@piece(streams=True)
def linear(draft: Draft) -> None:
    width = draft.size()
    layer = draft.attribute("fc", f"nn.Linear({draft.features}, {width}, bias={draft.chance(0.7)})")
    draft.x(activation(draft, f"{layer}(x)"))
    draft.features = width


@piece(streams=True)
def sequential_with_dropout(draft: Draft) -> None:
    width = draft.size()
    layer = draft.attribute(
        "mlp", f"nn.Sequential(nn.Linear({draft.features}, {width}), nn.PReLU(), nn.Dropout(0.4))"
    )
    draft.x(f"{layer}(x)")
    draft.features = width


@piece(streams=True)
def layer_norm(draft: Draft) -> None:
    norm = draft.attribute("norm", f"nn.LayerNorm({draft.features})")
    draft.x(f"{norm}(x)")


@piece(streams=True)
def batch_norm(draft: Draft) -> None:
    norm = draft.attribute("bn", f"nn.BatchNorm1d({draft.features})")
    draft.init += [f"{norm}.running_mean.normal_()", f"{norm}.running_var.uniform_(0.5, 2)"]
    draft.x(draft.channels_last(f"{norm}({draft.channels_first()})"))


@piece()
def group_norm(draft: Draft) -> None:
    groups = draft.pick([n for n in range(1, draft.features + 1) if draft.features % n == 0])
    norm = draft.attribute("gn", f"nn.GroupNorm({groups}, {draft.features})")
    draft.x(draft.channels_last(f"{norm}({draft.channels_first()})"))


@piece()
def instance_norm(draft: Draft) -> None:
    norm = draft.attribute("inorm", f"nn.InstanceNorm1d({draft.features}, affine=True)")
    draft.x(draft.channels_last(f"{norm}({draft.channels_first()})"))


@piece(streams=True)
def rms_norm(draft: Draft) -> None:
    norm = draft.attribute("rms", f"nn.RMSNorm({draft.features})")
    by_hand = "x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-8)"
    draft.x(draft.pick([f"{norm}(x)", by_hand]))


@piece()
def cumulative(draft: Draft) -> None:
    t = draft.t
    draft.x(
        draft.pick(
            [
                f"x.cumsum({t})",
                f"torch.cumsum(x, dim={t}) / 4",
                f"x.flip({t}).cumsum({t}).flip({t})",
            ]
        )
    )


@piece()
def running_mean(draft: Draft) -> None:
    counts = f"torch.arange(1, x.size({draft.t}) + 1)"
    shape = "1, -1, 1" if draft.batch_first else "-1, 1, 1"
    draft.x(f"x.cumsum({draft.t}) / {counts}.view({shape})")


@piece()
def divided_by_a_norm(draft: Draft) -> None:
    draft.x(
        draft.pick(
            [
                "x / x.norm()",
                "x / torch.linalg.vector_norm(x)",
                "x / x.abs().max()",
                "x / x.std()",
                "x / x.norm(dim=-1, keepdim=True)",
                "F.normalize(x, dim=-1)",
                "x / x.pow(2).sum().sqrt()",
                f"x / x.norm(dim={draft.t}, keepdim=True)",
                f"F.normalize(x, dim={draft.t})",
                "x / torch.dist(x, torch.zeros_like(x))",
            ]
        )
    )


@piece()
def less_a_mean(draft: Draft) -> None:
    t = draft.t
    draft.x(
        draft.pick(
            [
                f"x - x.mean({t}, keepdim=True)",
                f"x - x.mean(dim={t}, keepdim=True).detach()",
                "x - x.mean()",
                f"(x - x.mean({t}, True)) / (x.std({t}, keepdim=True) + 1e-5)",
                f"x - x.amax({t}, keepdim=True)",
                "x - x.mean(-1, keepdim=True)",
                f"x - x.median(dim={t}, keepdim=True).values",
            ]
        )
    )


@piece()
def sorted_steps(draft: Draft) -> None:
    draft.x(
        draft.pick([f"x.sort(dim={draft.t}).values", "x.sort(-1).values", f"x.sort({draft.t})[0]"])
    )


@piece()
def flipped(draft: Draft) -> None:
    draft.x(draft.pick([f"x.flip({draft.t})", f"torch.flip(x, [{draft.t}])", "x.flip(-1)"]))


@piece()
def rolled(draft: Draft) -> None:
    draft.x(
        draft.pick([f"x.roll(1, {draft.t})", f"torch.roll(x, -2, dims={draft.t})", "x.roll(1, -1)"])
    )


@piece(streams=True)
def logarithm(draft: Draft) -> None:
    epsilon = draft.pick(["1e-10", "1e-8", "1e-6", "1e-12"])
    draft.x(
        draft.pick(
            [
                f"torch.log(torch.relu(x) + {epsilon})",
                f"torch.log({epsilon} + torch.relu(x)) / 4",
                f"x.clamp(min={epsilon}).log()",
                f"torch.sqrt(torch.relu(x) + {epsilon})",
                f"torch.maximum(x, torch.tensor({epsilon})).log10()",
                f"x / (x.abs() + {epsilon})",
                "torch.log1p(x.abs())",
                f"torch.log(torch.relu(x) * {epsilon} + {epsilon}) / 8",
            ]
        )
    )


@piece(streams=True)
def tiny_constants(draft: Draft) -> None:
    draft.x(
        draft.pick(
            [
                "(x * 1e-9 + 1e-9) * 1e9",
                "(x - 1e-9 * x.sign()) * 1.0",
                "x * (1 + 1e-7)",
                "(x.abs() * 1e-9).clamp(max=1e-9) * 1e9",
                "x + 1e-9 * torch.ones_like(x)",
                "F.threshold(x, 1e-9, -1.0)",
                "torch.pow(x.abs() + 1e-9, 0.1)",
                "torch.where(x.abs() > 1e-9, 1 / (x.abs() + 1e-9), x)",
                "x.clamp(1e-9, 1e9).log()",
            ]
        )
    )


@piece(streams=True)
def gated(draft: Draft) -> None:
    layer = draft.attribute("gate", f"nn.Linear({draft.features}, {2 * draft.features})")
    draft.x(
        draft.pick(
            [
                f"F.glu({layer}(x), -1)",
                f"torch.mul(*{layer}(x).tanh().chunk(2, -1))",
                f"x * torch.sigmoid({layer}(x)[..., : x.size(-1)])",
            ]
        )
    )


@piece(streams=True)
def features_picked(draft: Draft) -> None:
    kept = draft.random.randint(2, draft.features)
    draft.x(draft.pick([f"x[..., :{kept}]", f"x[:, :, -{kept}:]", f"x.split({kept}, -1)[0]"]))
    draft.features = kept


@piece()
def changed_in_place(draft: Draft) -> None:
    draft.line("x = x.clone()")
    draft.line(
        draft.pick(
            [
                f"{draft.along('0')} = 0",
                f"{draft.along('-1')} += 1",
                "x[..., 0] = 0.5",
                "x.mul_(2)",
                "x.masked_fill_(x < 0, 0.1)",
                f"{draft.along('1:')} *= 0.5",
                f"{draft.along('::2')} = 0",
            ]
        )
    )


@piece()
def time_as_a_number(draft: Draft) -> None:
    time = f"x.shape[{draft.t}]"
    draft.x(
        draft.pick(
            [
                f"x / {time}",
                f"x * math.sqrt(x.size({draft.t}))",
                f"x + float({time}) / 10",
                f"x * ({time} % 3)",
                f"x / max({time}, 4)",
                f"x * int({time} * 0.5)",
                f"x * torch.tensor({time})",
                f"x - {time} // 2",
                f"x + len({draft.along('0')})",
            ]
        )
    )


@piece()
def positions(draft: Draft) -> None:
    time, shape = f"x.size({draft.t})", "1, -1, 1" if draft.batch_first else "-1, 1, 1"
    way = draft.pick(["sine", "table", "embedding", "linspace", "cat"])
    if way == "sine":
        draft.x(f"x + torch.sin(torch.arange({time}) / 3.0).view({shape})")
    elif way == "table":
        draft.init.append(f"self.register_buffer('table', torch.randn(128, 1, {draft.features}))")
        table = f"self.table[:{time}]"
        draft.x(f"x + {f'{table}.transpose(0, 1)' if draft.batch_first else table}")
    elif way == "embedding":
        table = draft.attribute("place", f"nn.Embedding(128, {draft.features})")
        places = f"{table}(torch.arange({time}, device=x.device))"
        draft.x(f"x + {places if draft.batch_first else f'{places}.unsqueeze(1)'}")
    elif way == "linspace":
        draft.x(f"x * torch.linspace(0, 1, {time}).view({shape})")
    else:
        sizes = draft.shape(f"x.size({draft.b})", "-1", "1")
        places = f"(torch.arange({time}).view({shape}) % 5).to(x).expand({sizes})"
        draft.x(f"torch.cat([x, {places}], -1)")
        draft.features += 1


@piece(streams=True)
def mixed_features(draft: Draft) -> None:
    mix = draft.attribute(
        "mix", f"nn.Parameter(torch.randn({draft.features}, {draft.features}) / 3)"
    )
    draft.x(
        draft.pick(
            [f"torch.einsum('abi,ij->abj', x, {mix})", f"x @ {mix}", f"torch.matmul(x, {mix}.t())"]
        )
    )


@piece(streams=True)
def chosen_by_value(draft: Draft) -> None:
    draft.x(
        draft.pick(
            [
                "torch.where(x > 0, x, 0.1 * x)",
                "x * (x > 0.5)",
                "x.masked_fill(x.abs() > 1.5, 0.0)",
                "torch.clamp(x, -1, 1)",
                "x.clip(min=-0.5)",
                "torch.nan_to_num(x)",
                "x.round()",
            ]
        )
    )


@piece()
def attention_before(draft: Draft) -> None:
    """Self-attention over the steps, as transformer front ends have it."""
    x = "x" if draft.batch_first else "x.transpose(0, 1)"
    draft.line(f"rows = {x}")
    attend = "F.scaled_dot_product_attention(rows, rows, rows{})"
    way = attend.format(draft.pick(["", ", is_causal=True"]))
    draft.x(way if draft.batch_first else f"{way}.transpose(0, 1)")


@piece()
def functional_layer_norm(draft: Draft) -> None:
    draft.x(draft.pick(["F.layer_norm(x, x.shape[-1:])", "F.layer_norm(x, x.shape[1:])"]))


@piece(streams=True)
def exponential_softmax(draft: Draft) -> None:
    draft.x(
        draft.pick(
            [
                "x.exp() / x.exp().sum(-1, keepdim=True)",
                "x - torch.logsumexp(x, -1, keepdim=True)",
                "F.softmax(x / 0.7, dim=-1) * x.size(-1)",
                "torch.stack([x, -x], dim=-1).amax(-1)",
                "torch.lerp(x, x.tanh(), 0.3)",
                "torch.addcmul(x, x, x, value=0.1)",
                "(x > 0).float() * 2 - 1 + x",
            ]
        )
    )


@piece()
def even_and_odd_steps(draft: Draft) -> None:
    """The steps sorted by even and odd: a dilation by hand."""
    even, odd = draft.along("::2"), draft.along("1::2")
    draft.x(f"torch.cat([{even}, {odd}], {draft.t})")


@piece()
def outer_reduction(draft: Draft) -> None:
    """Numbers of the whole input, taken with no axis."""
    draft.x(
        draft.pick(
            [
                "x - x.min()",
                "x * (x.sum() > 0)",
                "x / (x.var() + 1)",
                "x + x.flatten().mean()",
                "x * torch.sigmoid(x.mean((0, 1)))",
                "x / x.reshape(-1).norm().clamp(min=1e-6)",
            ]
        )
    )


@piece()
def across_rows(draft: Draft) -> None:
    """Rows that know of each other."""
    b = draft.b
    draft.x(
        draft.pick(
            [
                f"x.flip({b})",
                f"x.roll(1, {b})",
                f"x - x.mean({b}, keepdim=True)",
                f"x.cumsum({b})",
                f"x / x.size({b})",
                f"x.sort({b}).values",
                f"x * x.softmax({b})",
                f"x - x.amax({b}, True)",
                f"x + torch.arange(x.size({b})).view({'-1, 1, 1' if b == 0 else '1, -1, 1'})",
            ]
        )
    )
