"""What is reported for int8 on a processor without the instructions for it."""

import pytest
from tiny_models import Tiny

from rnnedge_runtime import Session, machine
from rnnedge_runtime.engine import info
from rnnedge_runtime.engine.integer_cost import integer_cost
from rnnedge_runtime.machine import cpu_features, cpu_name

OLD, NEW = frozenset({"sse2", "avx"}), frozenset({"sse2", "avx", "avx2"})
ROWS, BLOCKS = {"Scan", "MatMulInteger"}, {"Scan", "MatMulNBits"}
X86 = """processor\t: 0
model name\t: Some Processor
flags\t\t: fpu sse2 avx
"""
ARM = """processor\t: 0
Features\t: fp asimd
Model\t\t: Raspberry Pi 4 Model B Rev 1.1
"""


@pytest.mark.parametrize(
    ("operators", "features", "words"),
    [
        (ROWS, OLD, "no AVX2, so layers computed in int8 take 1.3 to 3 times as long"),
        ({"DynamicQuantizeLSTM"}, OLD, "no AVX2, so layers computed in int8 take 1.3 to 3"),
        (BLOCKS, OLD, "no AVX2, so layers computed in int8 take 8 to 16 times as long"),
        (ROWS, frozenset({"asimd"}), r"no integer dot product \(asimddp\), .* not measured"),
    ],
)
def test_it_says_what_it_costs(operators, features, words):
    said = integer_cost(operators, features)
    assert said is not None
    assert "\n" not in said
    with pytest.raises(ValueError, match=words):
        raise ValueError(said)


@pytest.mark.parametrize(
    ("operators", "features"),
    [
        (ROWS, NEW),
        (BLOCKS, NEW),
        (ROWS, frozenset({"asimd", "asimddp"})),
        (ROWS, None),
        ({"LSTM", "MatMul"}, OLD),
        ((), OLD),
    ],
)
def test_it_says_nothing_where_there_is_nothing_to_say(operators, features):
    assert integer_cost(operators, features) is None


@pytest.mark.parametrize(
    ("text", "name", "features"),
    [
        (X86, "Some Processor", {"fpu", "sse2", "avx"}),
        (ARM, "Raspberry Pi 4 Model B Rev 1.1", {"fp", "asimd"}),
    ],
    ids=["x86", "arm"],
)
def test_what_linux_tells(monkeypatch, tmp_path, text, name, features):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "cpuinfo")
    assert (cpu_name(), cpu_features()) == (name, features)


def test_a_system_that_tells_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "none")
    assert cpu_features() is None
    assert cpu_name()


def test_a_model_without_integers_has_no_remark(monkeypatch):
    monkeypatch.setattr(info, "cpu_features", lambda: OLD)
    assert Session(Tiny("lstm").content).info.remarks == ()
