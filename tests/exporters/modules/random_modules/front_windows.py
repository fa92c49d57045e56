"""What changes the steps in front of, or between, recurrent layers: convolutions, pads, slices."""

from __future__ import annotations

from random_modules.draft import Draft
from random_modules.front_ends import FRONT_ENDS, activation

piece = FRONT_ENDS.piece


def _convolve(
    draft: Draft, options: str, before: str = "", after: str = "", name: str = ""
) -> None:
    width = draft.size()
    layer = draft.attribute(name or "conv", f"nn.Conv1d({draft.features}, {width}, {options})")
    x = draft.channels_first()
    x = f"F.pad({x}, {before})" if before else x
    draft.x(draft.channels_last(activation(draft, f"{layer}({x}){after}")))
    draft.features = width


@piece()
def conv_same(draft: Draft) -> None:
    _convolve(
        draft, draft.pick(["3, padding=1", "5, padding='same'", "1", "3, padding=2, dilation=2"])
    )


@piece(streams=True)
def conv_causal_pad(draft: Draft) -> None:
    kernel, dilation = draft.pick([2, 3, 4]), draft.pick([1, 1, 2])
    _convolve(draft, f"{kernel}, dilation={dilation}", f"({(kernel - 1) * dilation}, 0)")


@piece(streams=True)
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
    _convolve(
        draft, draft.pick(["3, stride=2, padding=1", "4, stride=2, padding=1", "2, stride=2"])
    )


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
    pool = draft.pick(
        ["F.avg_pool1d({}, 2)", "F.avg_pool1d({}, 3, 1)", "F.avg_pool1d({}, 3, 2, 1)"]
    )
    draft.x(draft.channels_last(pool.format(draft.channels_first())))


@piece(keeps_time=False)
def slice_of_steps(draft: Draft) -> None:
    draft.x(
        draft.along(
            draft.pick(
                [
                    "::2",
                    "1::2",
                    "1:",
                    ":-1",
                    "2:",
                    "-4:",
                    ":5",
                    f": x.size({draft.t}) // 2",
                    f": int(x.size({draft.t}) * 0.5)",
                    "1:-1",
                    "::3",
                ]
            )
        )
    )


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
