"""What stands before, or between, recurrent layers: it keeps batch, time and features."""

from __future__ import annotations

from random_modules.draft import Draft, InputSpec, Pieces

FRONT_ENDS = Pieces()
piece = FRONT_ENDS.piece


def _activation(draft: Draft, value: str) -> str:
    name = draft.pick(
        ["torch.relu", "torch.tanh", "F.gelu", "F.silu", "F.leaky_relu", "F.elu", "F.softplus", ""]
        + ["torch.sigmoid", "F.hardtanh", "F.mish", "F.hardswish", "F.selu", "F.relu6"]
    )
    return f"{name}({value})" if name else value


@piece()
def linear(draft: Draft) -> None:
    width = draft.size()
    layer = draft.attribute("fc", f"nn.Linear({draft.features}, {width}, bias={draft.chance(0.7)})")
    draft.x(_activation(draft, f"{layer}(x)"))
    draft.features = width


@piece()
def sequential_with_dropout(draft: Draft) -> None:
    width = draft.size()
    layer = draft.attribute(
        "mlp", f"nn.Sequential(nn.Linear({draft.features}, {width}), nn.PReLU(), nn.Dropout(0.4))"
    )
    draft.x(f"{layer}(x)")
    draft.features = width


def _convolve(draft: Draft, options: str, before: str = "", after: str = "", name: str = "") -> None:
    width = draft.size()
    layer = draft.attribute(name or "conv", f"nn.Conv1d({draft.features}, {width}, {options})")
    x = draft.channels_first()
    x = f"F.pad({x}, {before})" if before else x
    draft.x(draft.channels_last(_activation(draft, f"{layer}({x}){after}")))
    draft.features = width


@piece()
def conv_same(draft: Draft) -> None:
    _convolve(draft, draft.pick(["3, padding=1", "5, padding='same'", "1", "3, padding=2, dilation=2"]))


@piece()
def conv_causal_pad(draft: Draft) -> None:
    kernel, dilation = draft.pick([2, 3, 4]), draft.pick([1, 1, 2])
    _convolve(draft, f"{kernel}, dilation={dilation}", f"({(kernel - 1) * dilation}, 0)")


@piece()
def conv_causal_cut(draft: Draft) -> None:
    kernel = draft.pick([2, 3, 4])
    cut = draft.pick(["[:, :, :-{}]", "[..., :-{}]", "[:, :, : x.size({t})]"])
    _convolve(draft, f"{kernel}, padding={kernel - 1}", "", cut.format(kernel - 1, t=draft.t))


@piece()
def conv_looks_ahead(draft: Draft) -> None:
    _convolve(draft, "3", draft.pick(["(0, 2)", "(1, 1)"]))


@piece()
def conv_other_padding(draft: Draft) -> None:
    mode = draft.pick(["replicate", "reflect", "circular"])
    _convolve(draft, f"3, padding=1, padding_mode={mode!r}")


@piece(keeps_time=False)
def conv_valid(draft: Draft) -> None:
    _convolve(draft, "3")


@piece(keeps_time=False)
def conv_strided(draft: Draft) -> None:
    _convolve(draft, draft.pick(["3, stride=2, padding=1", "4, stride=2, padding=1", "2, stride=2"]))


@piece(keeps_time=False)
def conv_transposed(draft: Draft) -> None:
    width = draft.size()
    layer = draft.attribute("up", f"nn.ConvTranspose1d({draft.features}, {width}, 2, stride=2)")
    draft.x(draft.channels_last(f"{layer}({draft.channels_first()})"))
    draft.features = width


@piece()
def conv_depthwise_residual(draft: Draft) -> None:
    width = draft.features
    layer = draft.attribute("depth", f"nn.Conv1d({width}, {width}, 3, padding=1, groups={width})")
    draft.x(f"x + {draft.channels_last(f'{layer}({draft.channels_first()})')}")


@piece()
def conv2d_over_time_and_features(draft: Draft) -> None:
    layer = draft.attribute("conv2d", "nn.Conv2d(1, 1, 3, padding=1)")
    x = "x" if draft.batch_first else "x.transpose(0, 1)"
    y = f"{layer}({x}.unsqueeze(1)).squeeze(1)"
    draft.x(y if draft.batch_first else f"{y}.transpose(0, 1)")


@piece(keeps_time=False)
def pad_in_front(draft: Draft) -> None:
    draft.x(draft.pad(str(draft.pick([1, 2])), "0", "x", *draft.pick([[], ["value=0.5"]])))


@piece(keeps_time=False)
def pad_at_the_end(draft: Draft) -> None:
    draft.x(draft.pad("0", str(draft.pick([1, 3]))))


@piece()
def shift_by_one(draft: Draft) -> None:
    way = draft.pick(["pad", "cat"])
    if way == "pad":
        draft.x(draft.pad("1", "-1"))
    else:
        first, rest = draft.along(":1"), draft.along(":-1")
        draft.x(f"torch.cat([torch.zeros_like({first}), {rest}], {draft.t})")


@piece(keeps_time=False)
def pad_to_a_multiple(draft: Draft) -> None:
    step, size = draft.pick([2, 3, 4]), f"x.shape[{draft.t}]"
    way = draft.pick(
        ["int(math.ceil({n} / {k})) * {k}", "-(-{n} // {k}) * {k}", "({n} + {k} - 1) // {k} * {k}"]
    )
    draft.line(f"padded = {way.format(n=size, k=step)}")
    draft.x(draft.pad("0", f"padded - {size}"))


@piece(keeps_time=False)
def max_pool(draft: Draft) -> None:
    pool = draft.pick(["F.max_pool1d({}, 2)", "F.max_pool1d({}, 3, 2, ceil_mode=True)"])
    draft.x(draft.channels_last(pool.format(draft.channels_first())))


@piece()
def max_pool_cut(draft: Draft) -> None:
    draft.line(f"steps = x.size({draft.t})")
    pool = draft.attribute("pool", "nn.MaxPool1d(2, 1, 1)")
    draft.x(draft.channels_last(f"{pool}({draft.channels_first()})[:, :, :steps]"))


@piece(keeps_time=False)
def average_pool(draft: Draft) -> None:
    pool = draft.pick(["F.avg_pool1d({}, 2)", "F.avg_pool1d({}, 3, 1)", "F.avg_pool1d({}, 3, 2, 1)"])
    draft.x(draft.channels_last(pool.format(draft.channels_first())))


@piece(keeps_time=False)
def slice_of_steps(draft: Draft) -> None:
    draft.x(draft.along(draft.pick(["::2", "1::2", "1:", ":-1", "2:", "-4:", ":5", "1:-1", "::3"])))


@piece(keeps_time=False)
def narrow(draft: Draft) -> None:
    draft.x(f"x.narrow({draft.t}, 1, x.size({draft.t}) - 1)")


@piece(keeps_time=False)
def bos_in_front(draft: Draft) -> None:
    way = draft.pick(["parameter", "zeros", "first"])
    if way == "parameter":
        bos = draft.attribute("bos", f"nn.Parameter(torch.randn(1, 1, {draft.features}))")
        bos = f"{bos}.expand({draft.shape(f'x.size({draft.b})', '1', '-1')})"
    elif way == "zeros":
        bos = f"x.new_zeros({draft.shape(f'x.size({draft.b})', '1', str(draft.features))})"
    else:
        bos = draft.along(":1")
    draft.x(f"torch.cat([{bos}, x], dim={draft.t})")


@piece(keeps_time=False)
def eos_behind(draft: Draft) -> None:
    eos = draft.attribute("eos", f"nn.Parameter(torch.randn({draft.features}))")
    shape = draft.shape(f"x.size({draft.b})", "1", "-1")
    draft.x(f"torch.cat([x, {eos}.view(1, 1, -1).expand({shape})], {draft.t})")


@piece(keeps_time=False)
def differences(draft: Draft) -> None:
    diff = f"{draft.along('1:')} - {draft.along(':-1')}"
    draft.x(draft.pick([diff, f"torch.diff(x, dim={draft.t})"]))


@piece(keeps_time=False)
def unfolded(draft: Draft) -> None:
    width, step = draft.pick([(2, 1), (3, 1), (2, 2)])
    draft.x(f"x.unfold({draft.t}, {width}, {step}).flatten(2)")
    draft.features *= width


@piece(keeps_time=False)
def frames_joined(draft: Draft) -> None:
    """Pairs of steps side by side, an odd one at the end left out."""
    time, batch = f"x.size({draft.t})", f"x.size({draft.b})"
    draft.line(f"pairs = {time} // 2")
    x = draft.along(": pairs * 2")
    x = x if draft.batch_first else f"{x}.transpose(0, 1)"
    joined = f"{x}.reshape({batch}, {draft.pick(['pairs', '-1'])}, {2 * draft.features})"
    draft.x(joined if draft.batch_first else f"{joined}.transpose(0, 1)")
    draft.features *= 2


@piece()
def layer_norm(draft: Draft) -> None:
    norm = draft.attribute("norm", f"nn.LayerNorm({draft.features})")
    draft.x(f"{norm}(x)")


@piece()
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


@piece()
def rms_norm(draft: Draft) -> None:
    norm = draft.attribute("rms", f"nn.RMSNorm({draft.features})")
    by_hand = "x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-8)"
    draft.x(draft.pick([f"{norm}(x)", by_hand]))


@piece()
def cumulative(draft: Draft) -> None:
    t = draft.t
    draft.x(
        draft.pick(
            [f"x.cumsum({t})", f"torch.cumsum(x, dim={t}) / 4", f"x.flip({t}).cumsum({t}).flip({t})"]
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
            ["x / x.norm()", "x / torch.linalg.vector_norm(x)", "x / x.abs().max()", "x / x.std()"]
            + ["x / x.norm(dim=-1, keepdim=True)", "F.normalize(x, dim=-1)", "x / x.pow(2).sum().sqrt()"]
            + [f"x / x.norm(dim={draft.t}, keepdim=True)", f"F.normalize(x, dim={draft.t})"]
            + ["x / torch.dist(x, torch.zeros_like(x))"]
        )
    )


@piece()
def less_a_mean(draft: Draft) -> None:
    t = draft.t
    draft.x(
        draft.pick(
            [f"x - x.mean({t}, keepdim=True)", f"x - x.mean(dim={t}, keepdim=True).detach()"]
            + ["x - x.mean()", f"(x - x.mean({t}, True)) / (x.std({t}, keepdim=True) + 1e-5)"]
            + [f"x - x.amax({t}, keepdim=True)", "x - x.mean(-1, keepdim=True)"]
            + [f"x - x.median(dim={t}, keepdim=True).values"]
        )
    )


@piece()
def sorted_steps(draft: Draft) -> None:
    draft.x(draft.pick([f"x.sort(dim={draft.t}).values", "x.sort(-1).values", f"x.sort({draft.t})[0]"]))


@piece()
def flipped(draft: Draft) -> None:
    draft.x(draft.pick([f"x.flip({draft.t})", f"torch.flip(x, [{draft.t}])", "x.flip(-1)"]))


@piece()
def rolled(draft: Draft) -> None:
    draft.x(draft.pick([f"x.roll(1, {draft.t})", f"torch.roll(x, -2, dims={draft.t})", "x.roll(1, -1)"]))


@piece()
def logarithm(draft: Draft) -> None:
    epsilon = draft.pick(["1e-10", "1e-8", "1e-6", "1e-12"])
    draft.x(
        draft.pick(
            [f"torch.log(torch.relu(x) + {epsilon})", f"torch.log({epsilon} + torch.relu(x)) / 4"]
            + [f"x.clamp(min={epsilon}).log()", f"torch.sqrt(torch.relu(x) + {epsilon})"]
            + [f"torch.maximum(x, torch.tensor({epsilon})).log10()"]
            + [f"x / (x.abs() + {epsilon})", "torch.log1p(x.abs())"]
            + [f"torch.log(torch.relu(x) * {epsilon} + {epsilon}) / 8"]
        )
    )


@piece()
def tiny_constants(draft: Draft) -> None:
    draft.x(
        draft.pick(
            ["(x * 1e-9 + 1e-9) * 1e9", "(x - 1e-9 * x.sign()) * 1.0", "x * (1 + 1e-7)"]
            + ["(x.abs() * 1e-9).clamp(max=1e-9) * 1e9", "x + 1e-9 * torch.ones_like(x)"]
            + ["F.threshold(x, 1e-9, -1.0)", "torch.pow(x.abs() + 1e-9, 0.1)"]
            + ["torch.where(x.abs() > 1e-9, 1 / (x.abs() + 1e-9), x)", "x.clamp(1e-9, 1e9).log()"]
        )
    )


@piece()
def gated(draft: Draft) -> None:
    layer = draft.attribute("gate", f"nn.Linear({draft.features}, {2 * draft.features})")
    draft.x(
        draft.pick(
            [f"F.glu({layer}(x), -1)", f"torch.mul(*{layer}(x).tanh().chunk(2, -1))"]
            + [f"x * torch.sigmoid({layer}(x)[..., : x.size(-1)])"]
        )
    )


@piece()
def features_picked(draft: Draft) -> None:
    kept = draft.random.randint(2, draft.features)
    draft.x(draft.pick([f"x[..., :{kept}]", f"x[:, :, -{kept}:]", f"x.split({kept}, -1)[0]"]))
    draft.features = kept


@piece()
def changed_in_place(draft: Draft) -> None:
    draft.line("x = x.clone()")
    draft.line(
        draft.pick(
            [f"{draft.along('0')} = 0", f"{draft.along('-1')} += 1", "x[..., 0] = 0.5", "x.mul_(2)"]
            + ["x.masked_fill_(x < 0, 0.1)", f"{draft.along('1:')} *= 0.5", f"{draft.along('::2')} = 0"]
        )
    )


@piece()
def time_as_a_number(draft: Draft) -> None:
    time = f"x.shape[{draft.t}]"
    draft.x(
        draft.pick(
            [f"x / {time}", f"x * math.sqrt(x.size({draft.t}))", f"x + float({time}) / 10"]
            + [f"x * ({time} % 3)", f"x / max({time}, 4)", f"x * int({time} * 0.5)"]
            + [f"x * torch.tensor({time})", f"x - {time} // 2", f"x + len({draft.along('0')})"]
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
        places = f"torch.arange({time}).view({shape}) % 5"
        draft.x(f"torch.cat([x, ({places}).to(x).expand({draft.shape(f'x.size({draft.b})', '-1', '1')})], -1)")
        draft.features += 1


@piece(keeps_time=False)
def repeated_steps(draft: Draft) -> None:
    up = f"F.interpolate({draft.channels_first()}, scale_factor=2.0, mode='nearest')"
    draft.x(draft.pick([f"x.repeat_interleave(2, dim={draft.t})", draft.channels_last(up)]))


@piece(keeps_time=False)
def resampled(draft: Draft) -> None:
    x = draft.channels_first()
    size = f"size=x.size({draft.t}) // 2 + 1"
    draft.x(
        draft.pick(
            [
                draft.channels_last(f"F.interpolate({x}, {size}, mode='linear')"),
                draft.channels_last(f"F.adaptive_avg_pool1d({x}, 4)"),
            ]
        )
    )


@piece()
def mixed_features(draft: Draft) -> None:
    mix = draft.attribute("mix", f"nn.Parameter(torch.randn({draft.features}, {draft.features}) / 3)")
    draft.x(draft.pick([f"torch.einsum('abi,ij->abj', x, {mix})", f"x @ {mix}", f"torch.matmul(x, {mix}.t())"]))


@piece()
def chosen_by_value(draft: Draft) -> None:
    draft.x(
        draft.pick(
            ["torch.where(x > 0, x, 0.1 * x)", "x * (x > 0.5)", "x.masked_fill(x.abs() > 1.5, 0.0)"]
            + ["torch.clamp(x, -1, 1)", "x.clip(min=-0.5)", "torch.nan_to_num(x)", "x.round()"]
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
def embedded_side_input(draft: Draft) -> None:
    """Ids beside the signal, such as speakers: one for a row, or one for a step."""
    width, name = draft.size(), draft.name("speaker")
    layer = draft.attribute("embed_side", f"nn.Embedding(20, {width})")
    if draft.keeps_time and draft.chance(0.5):
        axes: tuple[int | str, ...] = ("batch", "time") if draft.batch_first else ("time", "batch")
        side = f"{layer}({name})"
    else:
        axes = ("batch",)
        sizes = draft.shape("-1", f"x.size({draft.t})", "-1")
        side = f"{layer}({name}).unsqueeze({draft.t}).expand({sizes})"
    draft.inputs[name] = InputSpec(axes, "ids")
    draft.x(f"torch.cat([x, {side}], dim=-1)")
    draft.features += width


