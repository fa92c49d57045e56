"""The child of an `OtherRuntime`: other runtimes, each imported when it is first asked for.

A request is (runtime, path of the model, feeds by name, time limit); an answer is (outputs by name,
None), or (None, what the runtime said).
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnedge_exporters.sandbox.serve import serve
from rnnedge_runtime.errors import one_line, pass_on_interruption

Arrays: TypeAlias = dict[str, NDArray[Any]]
Run: TypeAlias = Callable[[Arrays], Arrays]
Open: TypeAlias = Callable[[str, Sequence[str], float], Run]

_FACTS = {
    "float16": "f16", "float32": "f32", "float64": "f64", "bool": "bool",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
}  # fmt: skip
"""tract's names of types."""
_CONVERT = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
"""MNN's converter without the Python around it, which installs packages when it is imported."""
_NODE = """
const kinds = {float32: Float32Array, float64: Float64Array, int32: Int32Array, int8: Int8Array,
  int16: Int16Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, bool: Uint8Array,
  int64: BigInt64Array, uint64: BigUint64Array, float16: Uint16Array};
const bytes = require('fs').readFileSync(0);
const request = JSON.parse(bytes);
const copied = (data) => data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
const given = Object.entries(request.feeds).map(([name, {type, dims, data}]) =>
  [name, type, new kinds[type](copied(Buffer.from(data, 'base64'))), dims]);
const library = async () => {
  const ort = require(request.package);
  ort.env.wasm.numThreads = 1;
  const model = request.package === 'onnxruntime-web'
    ? new Uint8Array(require('fs').readFileSync(request.model)) : request.model;
  const session = await ort.InferenceSession.create(model, {intraOpNumThreads: 1});
  const feeds = given.map(([name, type, array, dims]) =>
    [name, new ort.Tensor(type, array, dims)]);
  const found = await session.run(Object.fromEntries(feeds));
  return Object.entries(found).map(([name, {type, dims, data}]) => [name, type, dims, data]);
};
const wasm = async () => {
  const {Session, Tensor} = await import('rnnedge');
  const model = new Uint8Array(require('fs').readFileSync(request.model));
  const session = await Session.open(model, {engine: 'wasm'});
  const tensors = Object.fromEntries(given.map(([name, type, array, dims]) =>
    [name, new Tensor(type, array, dims)]));
  const {lengths, states} = session.interface;
  const own = new Set([lengths, ...states.map((pair) => pair.input)]);
  const inputs = Object.fromEntries(Object.entries(tensors).filter(([name]) => !own.has(name)));
  const state = states.length ? states.map((pair) => tensors[pair.input]) : undefined;
  const ends = lengths ? tensors[lengths] : undefined;
  const {outputs} = await session.run(inputs, {lengths: ends, state});
  return Object.entries(outputs).map(([name, {dtype, shape, data}]) => [name, dtype, shape, data]);
};
(async () => {
  const found = {};
  const answer = request.package === 'rnnedge' ? wasm : library;
  for (const [name, type, dims, data] of await answer()) {
    found[name] = {type, dims, data: Buffer.from(copied(data)).toString('base64')};
  }
  process.stdout.write(JSON.stringify(found));
})().catch((error) => { process.stderr.write(String(error.message)); process.exit(9); });
"""


def _openvino(model: str, outputs: Sequence[str], limit: float) -> Run:
    import openvino

    core = openvino.Core()
    # The same arithmetic everywhere: bfloat16 is chosen where the processor has it.
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(model), "CPU", options)
    known = {name for port in compiled.inputs for name in port.get_names()}

    def run(feeds: Arrays) -> Arrays:
        found = compiled({name: array for name, array in feeds.items() if name in known})
        return {
            name: np.array(found[port])
            for port in compiled.outputs
            for name in port.get_names()
            if name in outputs
        }

    return run


def _tract(model: str, outputs: Sequence[str], limit: float) -> Run:
    import tract

    def opened_for(feeds: Arrays | None) -> Any:
        """Open for the shapes of `feeds`, or with None for those that the file declares."""
        opened = tract.onnx().load(model)
        for place, name in enumerate(order if feeds else ()):
            array = (feeds or {})[name]
            opened.set_input_fact(
                place, ",".join([*map(str, array.shape), _FACTS[str(array.dtype)]])
            )
        for place in range(opened.output_count()):
            opened.set_output_fact(place, None)  # what a file declares of them may not be so
        return opened.into_model().into_runnable()

    names = tract.onnx().load(model)
    order = [names.input_name(place) for place in range(names.input_count())]

    def run(feeds: Arrays) -> Arrays:
        try:
            runnable = opened_for(feeds)
        except Exception as refused:  # a graph with names of axes inside takes no numbers for them
            pass_on_interruption(refused)
            try:
                runnable = opened_for(None)
            except Exception as error:  # the first reason is the better one
                pass_on_interruption(error)
                raise refused from None
        found = runnable.run([np.ascontiguousarray(feeds[name]) for name in order])
        return {name: t.to_numpy() for name, t in zip(outputs, found, strict=True)}

    return run


def _reference(model: str, outputs: Sequence[str], limit: float) -> Run:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)

    def run(feeds: Arrays) -> Arrays:
        values = evaluator.run(list(outputs), feeds)
        return {name: np.asarray(value) for name, value in zip(outputs, values, strict=True)}

    return run


def _node(package: str, model: str, outputs: Sequence[str], limit: float) -> Run:
    program = which("node")
    assert program is not None  # the parent has looked

    def run(feeds: Arrays) -> Arrays:
        sent = {
            name: {
                "type": array.dtype.name,
                "dims": list(array.shape),
                "data": base64.b64encode(array.tobytes()).decode(),
            }
            for name, array in feeds.items()
        }
        done = subprocess.run(
            [program, "-e", _NODE],
            input=json.dumps({"package": package, "model": model, "feeds": sent}).encode(),
            capture_output=True,
            check=False,
            timeout=limit,
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace") if done.returncode == 9 else ""
            raise RuntimeError(said or f"Node ended with exit code {done.returncode}")
        return {
            name: np.frombuffer(base64.b64decode(found["data"]), found["type"]).reshape(
                found["dims"]
            )
            for name, found in json.loads(done.stdout).items()
        }

    return run


def _native(model: str, outputs: Sequence[str], limit: float) -> Run:
    from rnnedge_runtime import Session

    session = Session(model, engine="native", threads=1)
    interface = session.interface

    def run(feeds: Arrays) -> Arrays:
        state = [feeds[pair.input] for pair in interface.states]
        own = {pair.input for pair in interface.states} | {interface.lengths}
        inputs = {name: value for name, value in feeds.items() if name not in own}
        lengths = feeds[interface.lengths] if interface.lengths else None
        return dict(session.run(inputs, lengths=lengths, state=state or None).outputs)

    return run


def _mnn(model: str, outputs: Sequence[str], limit: float) -> Run:
    import MNN
    from MNN import expr

    inputs = [spec.name for spec in onnx.load(model, load_external_data=False).graph.input]
    dtypes = {"float32": expr.float, "int32": expr.int, "int64": expr.int64}
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder, "model.mnn")
        command = ["-f", "ONNX", "--modelFile", model, "--MNNModel", str(converted)]
        done = subprocess.run(
            [sys.executable, "-c", _CONVERT, *command, "--bizCode", "rnnedge"],
            env=os.environ | {"PATH": ""},  # and nothing of it can start pip
            capture_output=True,
            check=False,
            timeout=limit,
        )
        if done.returncode != 0 or not converted.is_file():
            said = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"MNN does not convert it: {said[-1] if said else 'no reason said'}")
        module = MNN.nn.load_module_from_file(str(converted), inputs, list(outputs))

    def run(feeds: Arrays) -> Arrays:
        unknown = [
            str(feeds[name].dtype) for name in inputs if str(feeds[name].dtype) not in dtypes
        ]
        if unknown:
            raise RuntimeError(f"MNN has no {unknown[0]} input")
        given = [
            expr.const(
                feeds[name], list(feeds[name].shape), expr.NCHW, dtypes[feeds[name].dtype.name]
            )
            for name in inputs
        ]
        found = {}
        computed = module.forward(given)
        if len(computed) != len(outputs):
            raise RuntimeError(f"MNN computes no {outputs[0]} at these sizes")
        for name, value in zip(outputs, computed, strict=True):
            plain = expr.convert(value, expr.NCHW) if value.data_format == expr.NC4HW4 else value
            found[name] = np.array(plain.read())
            if not found[name].size:
                raise RuntimeError(f"MNN computes no {name} at these sizes")
        return found

    return run


def _ncnn(model: str, outputs: Sequence[str], limit: float) -> Run:
    """Convert at each run, since the converter takes the shapes."""
    graph = onnx.load(model, load_external_data=False).graph
    inputs = {spec.name: _batch_axis(spec) for spec in graph.input}
    found = {spec.name: _batch_axis(spec) for spec in graph.output}

    def run(feeds: Arrays) -> Arrays:
        import ncnn

        net = ncnn.Net()
        net.opt.num_threads = 1
        net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_fp16_packed = False
        with tempfile.TemporaryDirectory() as folder:
            converted = _convert_by_pnnx(model, [feeds[name] for name in inputs], folder, limit)
            opened = net.load_param(f"{converted}.param") or net.load_model(f"{converted}.bin")
        if opened != 0:
            raise RuntimeError("ncnn cannot open it: it has a layer that is not registered")
        extractor = net.create_extractor()
        for place, (name, batch) in enumerate(inputs.items()):
            matrix = ncnn.Mat(np.ascontiguousarray(feeds[name]), batch_index=batch)
            extractor.input(f"in{place}", matrix.clone())
        answers = {}
        for place, (name, batch) in enumerate(found.items()):
            failed, matrix = extractor.extract(f"out{place}")
            if failed or matrix.empty():
                raise RuntimeError(f"ncnn computes no {name} at these sizes")
            answers[name] = np.array(matrix.numpy(batch_index=batch))
        return answers

    return run


def _batch_axis(spec: onnx.ValueInfoProto) -> int:
    """Return the position of the axis of rows, or the number that stands for none in ncnn."""
    names = [dim.dim_param for dim in spec.type.tensor_type.shape.dim]
    return names.index("batch") if "batch" in names else 233


def _convert_by_pnnx(model: str, arrays: Sequence[NDArray[Any]], folder: str, limit: float) -> Path:
    """Return the files of ncnn without their suffixes."""
    import pnnx

    copied = Path(folder, "model.onnx")
    copied.write_bytes(Path(model).read_bytes())
    shapes = [f"[{','.join(map(str, a.shape))}]{_FACTS[a.dtype.name]}" for a in arrays]
    done = subprocess.run(
        [Path(pnnx.__file__).parent / "pnnx", copied, f"inputshape={','.join(shapes)}", "fp16=0"],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=limit,
    )
    converted = Path(folder, "model.ncnn")
    if not converted.with_suffix(".ncnn.param").is_file():
        said = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"pnnx does not convert it: {said[-1] if said else 'no reason said'}")
    return converted


_OPEN: dict[str, Open] = {
    "openvino": _openvino,
    "tract": _tract,
    "onnx.reference": _reference,
    "mnn": _mnn,
    "ncnn": _ncnn,
    "onnxruntime-node": partial(_node, "onnxruntime-node"),
    "onnxruntime-web": partial(_node, "onnxruntime-web"),
    "rnnedge-wasm": partial(_node, "rnnedge"),
    "rnnedge-native": _native,
}


class Server:
    """Keeps the model open that was asked for last."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._key: tuple[str, str] | None = None
        self._run: Run | None = None

    def answer(self, request: tuple[str, str, Arrays, float]) -> tuple[Arrays | None, str | None]:
        """Answer one request."""
        runtime, model, feeds, limit = request
        try:
            if self._run is None or self._key != (runtime, model):
                graph = onnx.load(model).graph
                self._run = _OPEN[runtime](model, [output.name for output in graph.output], limit)
                self._key = runtime, model
            return self._run(feeds), None
        except Exception as error:  # each runtime has its own kinds; the parent reports the text
            pass_on_interruption(error)
            self._run = None
            return None, one_line(error) or type(error).__name__


def main(idle: float | None = None) -> None:
    """Answer requests until stdin ends.

    Args:
        idle: Seconds without a request after which the process ends; None for never.
    """
    serve(Server().answer, idle)
