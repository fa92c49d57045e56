"""`write_slim`: what a build of ONNX Runtime for one model needs, an ORT-format file and a list.

ONNX Runtime's build takes the list with `--include_ops_by_config`, and leaves out every other
kernel: https://onnxruntime.ai/docs/build/custom.html.
"""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from rnnedge.errors import UnequalError
from rnnedge.same_answers import difference
from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.atomic_file import atomic_folder
from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import MissingPackageError, ModelError, WriteError, engine_errors
from rnnedge_runtime.latency import random_inputs
from rnnedge_runtime.session import Session
from rnnedge_runtime.write_target import check_folder, folder_names

CONFIG = "required_operators.config"
MARK = "# Written by rnnedge slim"
_SUFFIX = ".ort"
_SIZES = ((1, 1), (7, 1), (5, 3))
"""Steps and rows of the runs that are compared."""
_OPSET_FIELDS = 3
"""A line of the list: domain; version; operators."""


@dataclass(frozen=True, slots=True)
class SlimModel:
    """What was written for a reduced build of ONNX Runtime.

    Attributes:
        folder: The folder.
        model: The name of the ORT-format file in it.
        operators: The operators that the build keeps, as `domain:version:name`.
        known: How many operators the ONNX Runtime here has, which a full build keeps.
        bytes_before: Bytes of the `.onnx` file.
        bytes_after: Bytes of the ORT-format file.
        difference: The largest difference between outputs of both files; 0 where they are the same
            to the bit.
        runs: How many runs were compared.
        sha256: Digest of the ORT-format file, 64 hexadecimal digits.
    """

    folder: Path
    model: str
    operators: tuple[str, ...]
    known: int
    bytes_before: int
    bytes_after: int
    difference: float
    runs: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        return {**asdict(self), "folder": os.fspath(self.folder)}


def write_slim(model: str | os.PathLike[str], folder: str | os.PathLike[str]) -> SlimModel:
    """Write the ORT-format file of a model, and the list of operators that it needs.

    The new file is run with ONNX Runtime, and compared with the old one, before anything is
    written. It is optimized as ONNX Runtime's own converter does, without what would tie it to the
    processor here.

    Args:
        model: The `.onnx` file, of any maker.
        folder: The folder to write; one that this function wrote, or an empty one, is replaced.

    Returns:
        What was written, with sizes.

    Raises:
        ModelError: When the file cannot be opened.
        ExportError: When ONNX Runtime cannot write it in its own format.
        UnequalError: When the new file does not give the same answers.
        WriteError: When the folder must not or cannot be written.
        MissingPackageError: When flatbuffers is not installed, which reads the new file.
    """
    target = _check_place(Path(folder), Path(model))
    session = Session(model, engine="onnxruntime", threads=1)
    session.probe_axes()
    name = Path(model).stem + _SUFFIX
    with tempfile.TemporaryDirectory(prefix="rnnedge-") as place:
        made = Path(place, name)
        _convert(Path(model), made)
        config = _list_operators(made, Path(place, CONFIG))
        difference = _prove(session, made)
        content = made.read_bytes()
    with atomic_folder(target) as new:
        (new / name).write_bytes(content)
        (new / CONFIG).write_text(config, encoding="utf-8", newline="\n")
    return SlimModel(
        *(target, name, tuple(_operators(config)), _known_operators()),
        *(Path(model).stat().st_size, len(content), difference, len(_SIZES)),
        sha256(content).hexdigest(),
    )


def _check_place(folder: Path, model: Path) -> Path:
    """Return the folder to write; what is there must be what this module wrote."""
    target = check_folder(folder)
    if not os.path.exists(target):  # or a link to nothing, which is replaced
        return target
    if target.resolve() == model.resolve().parent:
        raise WriteError(f"{folder}: holds {model}, which is read here: give another folder (-o)")
    there = folder_names(target)
    others = [name for name in there if name != CONFIG and not name.endswith(_SUFFIX)]
    ours = CONFIG in there and (target / CONFIG).read_bytes().startswith(MARK.encode())
    if there and (others or not ours):
        raise WriteError(
            f"{folder}: expected an empty folder or one that rnnedge slim wrote, found "
            f"{(others or there)[0]} in it: give another folder (-o)"
        )
    return target


def _convert(model: Path, made: Path) -> None:
    """Write a model in ONNX Runtime's own format, as its `convert_onnx_models_to_ort` does."""
    from rnnedge_runtime.engine.library import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = os.fspath(made)
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.add_session_config_entry("session.qdqisint8allowed", "0")
    with engine_errors(f"{model} cannot be written in the ORT format", ExportError):
        onnxruntime.InferenceSession(
            os.fspath(model),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["NchwcTransformer"],  # what it writes is for x86-64 alone
        )


def _list_operators(made: Path, config: Path) -> str:
    """Return the list of the operators in an ORT-format file, with the types that they take."""
    from rnnedge_runtime.engine.library import onnxruntime

    try:  # a part of the package that `library` has imported
        tools = importlib.import_module("onnxruntime.tools.ort_format_model")
    except ImportError as error:
        raise MissingPackageError(
            "rnnedge slim", str(error.name), f"pip install {error.name}"
        ) from error
    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file to be closed later
        tools.create_config_from_models([made], config, enable_type_reduction=True)
    lines = config.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("#")]
    head = f"{MARK} from {made.stem}.onnx, with ONNX Runtime {onnxruntime.__version__}."
    return "\n".join([head, *kept, ""])


def _operators(config: str) -> Iterator[str]:
    """Yield the operators of a list; braces after a name hold its types."""
    for line in config.splitlines():
        if line.startswith("#") or not line:
            continue
        domain, version, names = line.split(";", _OPSET_FIELDS - 1)
        depth, name = 0, ""
        for letter in names + ",":
            depth += (letter == "{") - (letter == "}")
            if letter == "," and depth == 0:
                yield f"{domain}:{version}:{name.partition('{')[0]}"
                name = ""
            else:
                name += letter


def _known_operators() -> int:
    """Return how many operators the ONNX Runtime here has kernels or functions for."""
    from rnnedge_runtime.engine.library import onnxruntime

    schemas = onnxruntime.capi.onnxruntime_pybind11_state.get_all_operator_schema()
    return len({(schema.domain, schema.name) for schema in schemas})


def _prove(session: Session, made: Path) -> float:
    """Run both files, with states that are not zeros, and return the largest difference."""
    from rnnedge_runtime.engine.library import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    with engine_errors(f"{made.name} cannot be opened by ONNX Runtime", ModelError):
        slim = onnxruntime.InferenceSession(
            os.fspath(made), options, providers=["CPUExecutionProvider"]
        )
    names = [spec.name for spec in session.interface.outputs]
    largest = 0.0
    for seed, (steps, batch) in enumerate(_SIZES):
        feeds = _feeds(session, steps * session.fewest_steps, batch, seed)
        with engine_errors("the model cannot be run"):
            expected = session.engine.run(names, feeds)
        with engine_errors(f"{made.name} cannot be run by ONNX Runtime", UnequalError):
            given = slim.run(names, dict(feeds))
        for name, got, wanted in zip(names, given, expected, strict=True):
            largest = max(
                largest, difference(name, got, wanted, "the ORT-format file", equal_nan=True)
            )
    return largest


def _feeds(session: Session, steps: int, batch: int, seed: int) -> Mapping[str, Array]:
    numbers = np.random.default_rng(seed)
    feeds = random_inputs(session, steps, batch, seed)
    for spec in session.interface.state_inputs:
        shape = [axis if isinstance(axis, int) else batch for axis in spec.axes]
        feeds[spec.name] = numbers.standard_normal(shape).astype(spec.dtype)
    lengths = session.interface.lengths
    if lengths is not None:
        (spec,) = (spec for spec in session.interface.inputs if spec.name == lengths)
        feeds[lengths] = np.maximum(steps - 2 * np.arange(batch), 1).astype(spec.dtype)
    return feeds
