"""Files of every format version are opened, and mean what they meant.

`formats/N` was written when N was the newest version. A change that needs a new version adds a
folder, and leaves the others as they are.
"""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from rnnedge_runtime import Session, contract
from rnnedge_runtime.proof import golden
from rnnedge_runtime.proof.golden_check import check_golden

FORMATS = Path(__file__).parent / "formats"
KEPT = sorted(FORMATS.iterdir(), key=lambda folder: int(folder.name))


@pytest.fixture(params=KEPT, ids=lambda folder: folder.name)
def kept(request):
    return request.param


def test_every_version_is_kept():
    newest = max(contract.FORMAT_VERSION, golden.FORMAT_VERSION)
    assert [int(folder.name) for folder in KEPT] == list(range(1, newest + 1))


def test_a_model_and_its_state(kept):
    expected = np.load(kept / "expected.npz")
    session = Session(kept / "gru.onnx", threads=1, engine="onnxruntime")
    assert session.contract.format == int(kept.name)
    assert dict(session.metadata) == {"labels": ["yes", "no", "other"], "sample_rate": 16000}
    np.testing.assert_allclose(session.run(expected["input"]).output, expected["output"], atol=1e-6)
    with session.stream() as stream:
        stream.load(kept / "state.npz")  # after two steps
        for frame, output in zip(expected["input"][2:], expected["output"][2:], strict=True):
            np.testing.assert_allclose(stream.step(frame), output, atol=1e-6)


def test_golden_vectors(kept, tmp_path):
    with zipfile.ZipFile(kept / "golden.zip") as archive:
        archive.extractall(tmp_path)
    session = Session(kept / "gru.onnx", threads=1, engine="onnxruntime")
    findings = check_golden(session, golden.read_golden(tmp_path), model=kept / "gru.onnx")
    assert findings
    assert all(finding.passed for finding in findings)
