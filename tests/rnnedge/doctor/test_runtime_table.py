"""The table of runtimes: whole, as the page shows it, and as the engines here still answer."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from torch import nn

import rnnedge
from benchmarks.runtimes import all_forms, differences, make_table
from benchmarks.runtimes_page import BEGIN, END, page_lines
from rnnedge.cli import commands
from rnnedge.doctor import examine
from rnnedge.doctor.checks.intended import known_runtimes
from rnnedge.doctor.runtime_table import Form, Result, RuntimeTable, load_table
from rnnedge_runtime.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
CHEAP = [Form("gru", "operator", lengths=True)]


def test_it_has_every_form_and_nine_runtimes() -> None:
    table = load_table()
    assert list(table.results) == list(all_forms())
    assert len(table.versions) >= 9
    assert {tuple(results) for results in table.results.values()} == {tuple(table.versions)}


def test_the_page_shows_it() -> None:
    text = (ROOT / "docs" / "runtimes.md").read_text(encoding="utf-8")
    shown = text.partition(f"{BEGIN}\n")[2].partition(f"\n{END}")[0]
    assert shown == "\n".join(page_lines(load_table()))


@pytest.mark.parametrize("forms", [CHEAP, pytest.param(list(all_forms()), marks=pytest.mark.full)])
def test_engines_answer_as_it_says(forms: list[Form]) -> None:
    made = make_table(forms)
    assert {"onnxruntime", "onnx.reference"} <= set(made.versions)
    assert not differences(made, load_table())


def test_a_changed_answer_shows(tmp_path: Path) -> None:
    form = Form("gru", "operator")
    before = RuntimeTable("", {"x": "1"}, {form: {"x": Result("right", 0.0, "", form)}})
    after = RuntimeTable("", {"x": "1"}, {form: {"x": Result("wrong", 0.5, "", form)}})
    assert differences(before, before) == []
    assert len(differences(after, before)) == 1


GRU = Form("gru", "operator")
LENGTHS, HALF = GRU._replace(lengths=True), GRU._replace(precision="float16")
BOTH = LENGTHS._replace(precision="float16")


def _table(**status: str) -> RuntimeTable:
    forms = {"plain": GRU, "lengths": LENGTHS, "half": HALF}
    results = {
        forms[name]: {"x": Result(what, 0.0, "", forms[name])} for name, what in status.items()
    }
    return RuntimeTable("", {"x": "1"}, results)


@pytest.mark.parametrize(
    ("status", "forms", "expected"),
    [
        ({"plain": "right"}, [GRU], "right"),
        ({"plain": "right"}, [LENGTHS], None),
        ({"lengths": "right", "half": "right"}, [BOTH], "right"),
        ({"lengths": "wrong", "half": "right"}, [BOTH], "wrong"),
        ({"lengths": "right"}, [BOTH], None),
        ({"lengths": "wrong"}, [BOTH], "wrong"),
        ({"plain": "right", "half": "refused"}, [GRU, HALF], "refused"),
        ({"plain": "right"}, [GRU, Form("recurrence", "Loop")], None),
        ({"plain": "right"}, [], None),
    ],
)
def test_the_worst_of_what_is_known(
    status: dict[str, str], forms: list[Form], expected: str | None
) -> None:
    result = _table(**status).expect("x", forms)
    assert (result and result.status) == expected


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ours as a plain operator, as the portable target has it, and both without their contract."""
    folder = tmp_path_factory.mktemp("models")
    relu = nn.RNN(3, 4, nonlinearity="relu")
    for name, layer, options in [
        ("relu", relu, {"lowering": "operator"}),
        ("portable", relu, {"target": "portable"}),
        ("gru", nn.GRU(3, 4), {"lowering": "operator", "lengths": True}),
    ]:
        path = folder / f"{name}.onnx"
        rnnedge.export(layer, path, validate=False, **options)
        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.save(model, folder / f"{name}_theirs.onnx")
    return folder


@pytest.mark.parametrize(
    ("model", "runtime", "severity", "words"),
    [
        ("relu", "tract", "error", "silently wrong, off by"),
        ("relu_theirs", "tract", "error", "silently wrong, off by"),
        ("portable", "tract", "error", "refused"),
        ("portable_theirs", "tract", "note", "unknown"),
        ("gru", "openvino", "error", "silently wrong, off by"),
        ("gru_theirs", "onnx.reference", "error", "silently wrong, off by"),
        ("gru", "onnxruntime-web", "note", "right, within"),
        ("gru", "rnnedge-native", "note", "right, within"),
        ("portable", "webgpu", "error", "no Scan or Loop"),
        ("gru", "emx-onnx-cgen", "note", "unknown"),
    ],
)
def test_what_will_happen_there(
    model: str, runtime: str, severity: str, words: str, folder: Path
) -> None:
    (finding,) = (f for f in examine(folder / f"{model}.onnx", intended=[runtime]).runtimes)
    assert finding.where == runtime
    assert finding.severity == severity
    assert words in finding.problem
    assert finding.basis in ("runs of like files", "documented only", "unknown")


def test_the_command(folder: Path) -> None:
    done = CliRunner().invoke(commands, ["doctor", str(folder / "gru.onnx"), "--for", "openvino"])
    assert "silently wrong" in " ".join(done.output.split())
    assert "runs of like" in done.output


@pytest.mark.parametrize("option", [["--for", "nothing"], ["--for", "tract", "--fix", "x.onnx"]])
def test_refused_options(option: list[str], folder: Path) -> None:
    done = CliRunner().invoke(commands, ["doctor", str(folder / "gru.onnx"), *option])
    assert done.exit_code == 2
    assert "--for" in done.output


def test_an_unknown_runtime_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"^intended: expected some of onnxruntime, "):
        examine(folder / "gru.onnx", intended=["nothing"])


def test_every_runtime_that_can_be_run_is_known() -> None:
    assert {"onnxruntime", "rnnedge-c", "mnn", "cuda", "webgpu", "ncnn"} <= set(known_runtimes())
