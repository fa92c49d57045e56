"""What a reviewer signs: date, digests, command, what was not run, and two verdicts."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

import rnnedge
from rnnedge.cli import main
from rnnedge.parity.evidence import module_digest
from rnnedge.parity.mutation.found import Mutation
from rnnedge.reports.html import html_text

FORMS = ("html", "json", "xml")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def words_of(page: str) -> str:
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", text)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a command line has proven a file, with a report of each form."""
    folder = tmp_path_factory.mktemp("signed")
    torch.manual_seed(0)
    layer = nn.GRU(3, 4)
    torch.save(layer.state_dict(), folder / "weights.pt")
    rnnedge.export(layer, folder / "model.onnx")
    reports = [word for form in FORMS for word in ("--report", str(folder / f"r.{form}"))]
    arguments = ["validate", str(folder / "model.onnx"), "--against", str(folder / "weights.pt")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.argv", ["rnnedge", *arguments, "--quick", *reports])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert not stopped.value.code
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_every_report_has_the_evidence(form: str, signed: Path) -> None:
    text = (signed / f"r.{form}").read_text()
    for word in (
        sha256(signed / "model.onnx"),
        sha256(signed / "weights.pt"),
        f"rnnedge validate {signed / 'model.onnx'} --against {signed / 'weights.pt'} --quick",
        torch.__version__,
        "ragged lengths: the file takes none",
        "disturbed weights: --mutate",
    ):
        assert word in text


def test_the_date_is_that_of_the_run(signed: Path) -> None:
    values = json.loads((signed / "r.json").read_text())
    date = datetime.fromisoformat(values["evidence"]["date"])
    assert date.tzinfo == timezone.utc
    assert date.timestamp() <= (signed / "r.json").stat().st_mtime
    assert values["evidence"]["date"] in (signed / "r.html").read_text()


def test_the_processor_is_named(signed: Path) -> None:
    machine = json.loads((signed / "r.json").read_text())["machine"]
    assert machine["processor"]
    assert int(machine["cores"]) >= 1


def test_the_weights_of_a_live_module_are_digested(passing: rnnedge.Report) -> None:
    assert passing.evidence is not None
    (name,) = passing.evidence.source_sha256
    assert name == "parameters and buffers"


def test_a_digest_tells_weights_names_and_shapes_apart() -> None:
    torch.manual_seed(0)
    layer = nn.GRU(3, 4)
    same = nn.GRU(3, 4)
    same.load_state_dict(layer.state_dict())
    assert module_digest(layer) == module_digest(same)
    with torch.no_grad():
        same.bias_hh_l0[0] += 1e-7
    others = (same, nn.Sequential(layer), nn.GRU(4, 3))
    assert len({module_digest(module) for module in (layer, *others)}) == 4


def test_a_file_as_the_source_is_digested(signed: Path) -> None:
    report = rnnedge.validate(signed / "model.onnx", against=signed / "model.onnx", quick=True)
    assert report.evidence is not None
    assert set(report.evidence.source_sha256.values()) == {sha256(signed / "model.onnx")}


def test_the_text_has_the_evidence(passing: rnnedge.Report) -> None:
    assert passing.evidence is not None
    lines = str(passing).splitlines()
    for line in (
        f"date: {passing.evidence.date}",
        f"sha256 of the model: {passing.evidence.model_sha256}",
        f"command: {passing.evidence.command}",
        f"torch: {torch.__version__}",
        "not run: disturbed weights: --mutate",
    ):
        assert line in lines
    assert lines[-1] == passing.verdict


def test_the_page_says_how_to_check_and_repeat(signed: Path) -> None:
    page = (signed / "r.html").read_text()
    digest = sha256(signed / "model.onnx")
    assert f"echo '{digest}  {signed / 'model.onnx'}' | sha256sum --check" in page
    steps = page[page.index("How to reproduce") :]
    assert [words in steps for words in ("pip install ", "sha256sum", "rnnedge validate ")] == [
        True
    ] * 3


def test_mutation_is_on_the_page_and_in_junit(passing: rnnedge.Report, tmp_path: Path) -> None:
    attacked = replace(passing, mutation=Mutation(3, 6, ("bias_l0",)))
    page = words_of(html_text(attacked, command=""))
    assert "5 of 6 changes of 3 weight tensors were noticed" in page
    assert "not noticed: bias_l0" in page
    assert "disturbed weights: --mutate" not in page
    attacked.save(tmp_path / "r.xml")
    root = ElementTree.parse(tmp_path / "r.xml").getroot()
    values = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert values["mutation"] == "5 of 6 changes of 3 weight tensors were noticed"


def test_a_report_without_mutation_has_no_such_section(passing: rnnedge.Report) -> None:
    assert "Does the proof notice changes?" not in html_text(passing, command="")


@pytest.fixture(scope="module")
def rounded(tmp_path_factory: pytest.TempPathFactory) -> rnnedge.Report:
    torch.manual_seed(0)
    layer, path = nn.LSTM(8, 16), tmp_path_factory.mktemp("rounded") / "small.onnx"
    rnnedge.export(layer, path, quantize="int8")
    return rnnedge.validate(path, against=layer, quick=True)


def test_a_rounded_file_has_two_verdicts(rounded: rnnedge.Report) -> None:
    page = html_text(rounded, command="")
    words = words_of(page)
    assert "Is the file faithful to its rounded weights? ✓ yes : compared with PyTorch" in words
    assert re.search(r"What does the rounding cost\? \w+ is off by up to \d\.\de-\d\d", words)
    assert "Cost of rounding" in words
    assert 'id="rounding-table"' in page
    assert page.count("<svg") > html_text(replace(rounded, rounding=None), command="").count("<svg")


def test_a_failing_rounded_file_says_so_in_its_first_verdict(rounded: rnnedge.Report) -> None:
    first, *others = rounded.outputs
    wrong = replace(rounded, outputs=(replace(first, failed=1), *others))
    assert "rounded weights? ✕ no : compared" in words_of(html_text(wrong, command=""))


def test_a_file_in_float32_has_one(passing: rnnedge.Report) -> None:
    page = html_text(passing, command="")
    assert "Cost of rounding" not in page
    assert "faithful to its rounded weights" not in page


def test_ratios_have_one_style(passing: rnnedge.Report) -> None:
    words = words_of(html_text(passing, command=""))
    assert re.search(r"Nearest to its tolerance \w+, \d\.\de-\d\d: [\d.]+× what is allowed", words)
    assert "% of what is allowed" not in words


def test_tables_show_that_they_scroll(passing: rnnedge.Report) -> None:
    page = html_text(passing, command="")
    assert re.search(r"\.scroll \{[^}]*background:[^}]*local[^}]*scroll", page)
