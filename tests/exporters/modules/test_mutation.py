"""What a sweep does not notice of whole modules is known, and does not matter to them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from module_zoo import MODULES
from published_recurrences import RECURRENCES, LiGRU, MinLSTM
from torch import nn

from rnnedge import export, validate

ALL: dict[str, tuple[nn.Module | type[nn.Module], tuple[object, ...]]] = {
    **MODULES,
    **{kind.__name__: (kind, example) for kind, example in RECURRENCES.items()},
}
UNNOTICED = {
    "self_attention": {"attention.in_proj_bias[12]"},  # a key's bias moves all scores alike
    "attention_step": {"score.bias"},  # it moves all scores alike
    "AttentionDecoder": {"loop/Scan / loop/step/energy.bias"},  # as well
    "two_speeds": {"slow/l0/R", "slow/l0/R[:, 7, :]"},  # one slow step in the cases of `quick`
    "SLSTM": {"loop/Scan / loop/step/threshold_cast"},  # softplus is the same on both its sides
    LiGRU.__name__: {"norm_z.bias", "norm_z.bias[3]"},  # one tensor of zeros is the mean as well
}
"""What goes unnoticed, and why."""
INEXACT = {MinLSTM.__name__}
"""Where ONNX Runtime's sigmoid of large negative numbers, right to 6e-8 of 1, is divided by."""


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name in ALL if name not in INEXACT])
def test_all_is_noticed_or_known(name: str, tmp_path: Path) -> None:
    made, example = ALL[name]
    torch.manual_seed(0)
    module = (made if isinstance(made, nn.Module) else made()).eval()
    export(module, tmp_path / "m.onnx", example_inputs=example, validate=False)
    path = tmp_path / "m.onnx"
    report = validate(path, against=module, isolated=False, quick=True, mutate=True)
    assert report.mutation is not None, report
    assert set(report.mutation.unnoticed) == UNNOTICED.get(name, set())
