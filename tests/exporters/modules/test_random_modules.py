"""Random modules: what is written is right in float64, and nothing is fixed in silence.

`--random-modules 200` examines more; `random_modules/hunt.py` thousands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))  # `--import-mode=importlib` puts no folder there

from random_modules.draft import HEAD, InputSpec
from random_modules.generate import Generated, all_names, covering, generate
from random_modules.in_torch import Reference, load, make_inputs
from random_modules.onnx_file import OnnxFile
from random_modules.oracle import Verdict, examine, export_quietly, judge
from random_modules.pools import pool_faults
from random_modules.streams import stream_faults
from random_modules.workers import ExaminingProcess

from rnnedge_exporters.exporter import export

IN_CI = 30
AMONG = range(4000)
FRAMES = {"x": InputSpec(("batch", "time", 4))}
SIZES = {"batch": 2, "time": 7, "time_1": 6}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        count = metafunc.config.getoption("random_modules", default=None)
        seeds = covering(IN_CI, AMONG) if count is None else list(range(count))
        metafunc.parametrize("seed", seeds)


@pytest.fixture(scope="module")
def process() -> Iterator[ExaminingProcess]:
    """ONNX Runtime ends a process that it runs a wrong file in: not this one."""
    process = ExaminingProcess(time_limit=300)
    yield process
    process.close()


def test_what_is_written_is_right(seed: int, process: ExaminingProcess) -> None:
    verdict = process.examine(seed)
    assert verdict["outcome"] in ("right", "refused", "invalid"), "\n".join(
        [*verdict["faults"], generate(seed).source]
    )


def test_seeds_of_ci_have_every_piece_among_them() -> None:
    contained = {piece for seed in covering(IN_CI, AMONG) for piece in generate(seed).contains}
    assert all_names() <= contained


def test_a_seed_makes_the_same_module_each_time() -> None:
    assert generate(7) == generate(7)
    assert generate(7).source != generate(8).source


def written(number: int, returned: str) -> Generated:
    """A module with one GRU, numbered beyond those that are drawn."""
    lines = [
        HEAD.format(seed=number, contains="one GRU"),
        "class Net(nn.Module):",
        "    def __init__(self):",
        "        super().__init__()",
        "        self.rnn = nn.GRU(4, 5, batch_first=True)",
        "",
        "    def forward(self, x):",
        "        y, h = self.rnn(x)",
        f"        return {returned}",
    ]
    return Generated(number, "\n".join(lines) + "\n", FRAMES, SIZES, ())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    return written(10**6, "y")


def test_a_right_file_is_found_right(plain: Generated, tmp_path: Path) -> None:
    verdict = examine(plain, tmp_path)
    assert (verdict.outcome, verdict.faults) == ("right", [])
    assert len(verdict.shapes) == 5
    assert verdict.streamed == ["single steps", "random", "halves"]


def test_other_weights_are_found(plain: Generated, tmp_path: Path) -> None:
    module = load(plain, tmp_path)
    path = tmp_path / "m.onnx"
    result = export_quietly(module, path, make_inputs(FRAMES, SIZES, 0))
    with torch.no_grad():
        module.rnn.weight_hh_l0 *= 1.2
    verdict = Verdict(plain.seed, "invalid")
    judge(verdict, plain, Reference(module), path, result)
    assert len(verdict.faults) >= 5
    assert "are off by up to" in verdict.faults[0]


def test_an_axis_that_is_fixed_in_silence_is_found(plain: Generated, tmp_path: Path) -> None:
    module = load(plain, tmp_path)
    example = {"x": torch.zeros(2, 7, 4)}
    axes = {"x": {0: "batch"}}
    result = export(module, tmp_path / "m.onnx", example_inputs=example, dynamic_axes=axes)
    verdict = Verdict(plain.seed, "invalid")
    judge(verdict, plain, Reference(module), tmp_path / "m.onnx", result)
    assert "silently fixed: axis 1 (time) of x is fixed to 7" in verdict.faults


def test_chunks_that_are_not_the_whole_are_found(plain: Generated, tmp_path: Path) -> None:
    module, path = load(plain, tmp_path), tmp_path / "m.onnx"
    result = export_quietly(module, path, make_inputs(FRAMES, SIZES, 0))
    otherwise = written(10**6 + 1, "y - y[:, :1]")
    torch.manual_seed(plain.seed)
    other = load(otherwise, tmp_path)
    other.load_state_dict(module.state_dict())
    ways, faults = stream_faults(otherwise, Reference(other), OnnxFile(path), path, result)
    assert len(ways) == 3
    assert any(fault.startswith("stream in single steps: y in chunk 0") for fault in faults)


def test_a_process_that_dies_is_a_verdict(tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text("import os\ninput()\nos.abort()\n")
    process = ExaminingProcess(time_limit=60, script=script)
    for _ in range(2):
        verdict = process.examine(7)
        assert verdict["outcome"] == "wrong"
        assert verdict["faults"] == ["the process died: exit status -6"]


def test_rows_that_are_not_their_own_are_found(plain: Generated, tmp_path: Path) -> None:
    module, path = load(plain, tmp_path), tmp_path / "m.onnx"
    result = export_quietly(module, path, make_inputs(FRAMES, SIZES, 0))
    otherwise = written(10**6 + 2, "y.flip(0)")
    other = load(otherwise, tmp_path)
    other.load_state_dict(module.state_dict())
    assert not pool_faults(plain, Reference(module), path, result)
    (fault,) = pool_faults(otherwise, Reference(other), path, result)
    assert fault.startswith("pool, rows")
