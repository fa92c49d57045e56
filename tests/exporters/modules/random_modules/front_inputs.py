"""What else a forward takes besides its signal: ids, a second signal, arguments with a default."""

from __future__ import annotations

from random_modules.draft import Draft, InputSpec
from random_modules.front_ends import FRONT_ENDS, layer_norm, rms_norm

piece = FRONT_ENDS.piece


@piece(streams=True)
def embedded_side_input(draft: Draft) -> None:
    """Ids next to the signal, such as speakers: one for a row, or one for a step."""
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


@piece(streams=True)
def second_signal(draft: Draft) -> None:
    """A second input of the same steps."""
    if not draft.keeps_time and len(draft.body) > 1:  # it may be of another length now
        return layer_norm(draft)
    width, name = draft.size(), draft.name("extra")
    axes: tuple[int | str, ...] = ("batch", "time") if draft.batch_first else ("time", "batch")
    draft.inputs[name] = InputSpec((*axes, width))
    draft.x(f"torch.cat([x, {name}], dim={draft.pick(['-1', '2'])})")
    draft.features += width
    return None


@piece(streams=True)
def baked_argument(draft: Draft) -> None:
    name = draft.name("scale")
    draft.baked[name] = draft.pick(["0.5", "2", "None", "True"])
    draft.line(f"if {name} is not None:", f"    x = x * {name}")


@piece(streams=True)
def checks_of_shapes(draft: Draft) -> None:
    sizes = draft.shape("B", "T", "C")
    draft.line(
        *draft.pick(
            [
                ("assert x.dim() == 3", f"{sizes} = x.shape", "x = x.reshape(x.shape[0], -1, C)"),
                (f"{sizes} = x.size()", "if x.ndim == 2:", "    x = x.unsqueeze(0)"),
                ("if not torch.is_tensor(x):", "    raise TypeError(type(x))"),
                ("with torch.no_grad():", "    x = x.contiguous().float() if False else x.clone()"),
                (f"assert x.shape[-1] == {draft.features}, f'got {{tuple(x.shape)}}'",),
                (f"if x.size({draft.t}) < 1:", "    raise ValueError('empty')"),
                (f"torch._check(x.size({draft.t}) > 0)",),
            ]
        )
    )


@piece(streams=True)
def one_hot(draft: Draft) -> None:
    """Ids next to the signal, as one-hot rows."""
    if not draft.keeps_time and len(draft.body) > 1:
        return rms_norm(draft)
    name = draft.name("marks")
    axes: tuple[int | str, ...] = ("batch", "time") if draft.batch_first else ("time", "batch")
    draft.inputs[name] = InputSpec(axes, "ids", 4)
    draft.x(f"torch.cat([x, F.one_hot({name}, 4).float()], -1)")
    draft.features += 4
    return None
