"""What a command prints for `--json` is what its schema says, and the schemas are current."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from doc_blocks import ROOT

import rnnedge
from rnnedge.cli import commands
from rnnedge.cli import main as toolkit
from rnnedge_runtime.__main__ import main as runtime
from rnnedge_runtime.session import Session

SCHEMAS = ROOT / "docs" / "schemas"
LAYER = "--cell gru --input-size 8 --hidden-size 16"
COMMANDS = [
    ("export", f"export {LAYER} --lengths --golden vectors -o new.onnx", 0),
    ("export", f"export {LAYER} --quantize int8 --no-validate -o new.onnx", 0),
    ("export", "export gru.onnx --quantize int8 -o new.onnx", 0),
    ("export", f"export {LAYER} --target c -o kws", 0),
    ("export", "export gru.onnx --target c -o kws", 0),
    ("validate", f"validate gru.onnx {LAYER} --quick --mutate", 0),
    ("validate", f"validate gru.onnx {LAYER} --quick --seed 3", 3),
    ("validate", "validate small.onnx --against gru.onnx --quick", 0),
    ("inspect", "inspect gru.onnx", 0),
    ("inspect", "inspect theirs.onnx", 0),
    ("run", "run gru.onnx --input x.npy", 0),
    ("bench", f"bench gru.onnx {LAYER} --beside torch --shape 1x1 --count 2", 0),
    ("bench", "bench gru.onnx --stream --rate 100 --count 2", 0),
    ("doctor", "doctor theirs.onnx --fix new.onnx", 0),
    ("tune", f"tune {LAYER} -o new.onnx --shape 1x1 --seconds 0.001 --threads 1", 0),
    ("compare", "compare gru.onnx small.onnx x.npz", 0),
    ("score", "score gru.onnx x.npz -o scored", 0),
    ("device_score", "score gru.onnx x.npz -o scored_there", 0),
    ("triton", "triton gru.onnx -o repository", 0),
    ("slim", "slim gru.onnx -o slim", 0),
    ("app", "app gru.onnx -o site", 0),
    ("inspect", "info gru.onnx", 0),
    ("device_info", "info gru.onnx", 0),
    ("device_info", "info theirs.onnx", 0),
    ("device_check", "check gru.onnx", 0),
    ("device_run", "run gru.onnx --input x.npy", 0),
    ("device_bench", "bench gru.onnx --time 1 --batch 1 --seconds 0.001", 0),
    ("device_bench", "bench gru.onnx --stream --rate 100 --seconds 0.001", 0),
]


def validator(name: str) -> Any:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    gru = rnnedge.build(rnnedge.RNNSpec(cell="gru", input_size=8, hidden_size=16), seed=0)
    rnnedge.export(gru, folder / "gru.onnx")
    rnnedge.quantize(folder / "gru.onnx", folder / "small.onnx", quantize="int8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says of its own exporter
        example = (torch.zeros(3, 1, 8),)
        torch.onnx.export(gru.eval(), example, str(folder / "theirs.onnx"), dynamo=False)
    np.save(folder / "x.npy", np.zeros((5, 1, 8), np.float32))
    np.savez(folder / "x.npz", first=np.zeros((5, 8), np.float32))
    return folder


@pytest.mark.parametrize(("name", "command", "code"), COMMANDS, ids=[c for _, c, _ in COMMANDS])
def test_output(
    name: str,
    command: str,
    code: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if command.startswith(("score", "compare")):
        pytest.importorskip("pyarrow", reason="a corpus is read as Arrow tables")
    monkeypatch.chdir(folder)
    main: Callable[[list[str]], Any] = runtime if name.startswith("device_") else toolkit
    try:
        ended = main([*command.split(), "--json"])
    except SystemExit as stopped:
        ended = stopped.code
    printed = capfd.readouterr()
    assert int(ended or 0) == code, printed.err
    validator(name).validate(json.loads(printed.out))


def test_contract(folder: Path) -> None:
    contract = Session(folder / "gru.onnx").contract
    assert contract is not None
    validator("contract").validate(json.loads(contract.to_json()))


def test_every_command_with_json_has_a_schema() -> None:
    for name, command in commands.commands.items():
        alias = name != command.name
        if not alias and any(option.name == "as_json" for option in command.params):
            assert (SCHEMAS / f"{name}.json").exists(), name


def test_a_field_that_no_schema_has_is_noticed() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator("run").validate({"outputs": {}, "device": "cpu", "written": None, "more": 1})


def test_schemas_are_those_of_the_code() -> None:
    """`python tools/write_schemas.py` writes them again after a change of a dataclass."""
    place = importlib.util.spec_from_file_location("w", ROOT / "tools" / "write_schemas.py")
    assert place is not None
    assert place.loader is not None
    tool = importlib.util.module_from_spec(place)
    place.loader.exec_module(tool)
    for name, text in tool.schemas():
        assert (SCHEMAS / name).read_text(encoding="utf-8") == text, name
