"""Small recurrent models as the exporters of others write them, built with onnx.helper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence["int | str | None"]


@dataclass
class Foreign:
    """A model of another maker, and what is right about it.

    Attributes:
        build: Returns the model.
        axes: What the axes of the data inputs are.
        states: Output name to the input that it feeds.
        streams: Whether it can be streamed.
    """

    build: Callable[[], onnx.ModelProto]
    axes: dict[str, tuple[int | str, ...]]
    states: dict[str, str] = field(default_factory=dict)
    streams: bool = False


class Maker:
    """Collects the parts of a graph."""

    def __init__(self, producer: str = "") -> None:
        self.producer = producer
        self.random = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def weight(self, name: str, *shape: int) -> str:
        return self.constant(name, self.random.standard_normal(shape).astype(np.float32) * 0.4)

    def constant(self, name: str, value: object) -> str:
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, inputs: Sequence[str], outputs: Sequence[str] | str, **more):
        names = [outputs] if isinstance(outputs, str) else list(outputs)
        self.nodes.append(helper.make_node(operator, list(inputs), names, **more))
        return names[0]

    def cell(
        self,
        operator: str,
        x: str,
        name: str,
        sizes: tuple[int, int],
        initial: Sequence[str] = (),
        **more,
    ) -> list[str]:
        """Add a recurrent operator; returns its outputs."""
        features, hidden = sizes
        rows = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator] * hidden
        inputs = [
            x,
            self.weight(f"{name}_W", 1, rows, features),
            self.weight(f"{name}_R", 1, rows, hidden),
            self.weight(f"{name}_B", 1, 2 * rows),
        ]
        inputs += ["", *initial] if initial else []
        outputs = [f"{name}_Y", f"{name}_Y_h"] + [f"{name}_Y_c"] * (operator == "LSTM")
        self.add(operator, inputs, outputs, hidden_size=hidden, **more)
        return outputs

    def model(self, inputs: Sequence, outputs: Sequence, opset: int = 17) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "main_graph", list(inputs), list(outputs), initializer=self.tensors
        )
        made = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=8,
            producer_name=self.producer,
        )
        return made


def floats(name: str, dims: Dims | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def integers(name: str, dims: Dims) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, dims)


def torch_script(axes: Dims = ("batch_size", "frames", 5)) -> onnx.ModelProto:
    """batch_first LSTM with zeros made of the shape of the input, as TorchScript's export has."""
    make = Maker("pytorch")
    make.add("Shape", ["input"], "shape")
    make.add("Gather", ["shape", make.constant("zero", np.int64(0))], "rows", axis=0)
    make.add("Unsqueeze", ["rows", make.constant("first", [0])], "rows_1")
    make.add("Concat", [make.constant("one", [1]), "rows_1", make.constant("H", [6])], "s", axis=0)
    make.add("Expand", [make.constant("z", np.zeros((1, 1, 1))), "s"], "zeros")
    make.add("Transpose", ["input"], "x", perm=[1, 0, 2])
    y, *_ = make.cell("LSTM", "x", "lstm", (5, 6), ["zeros", "zeros"])
    make.add("Squeeze", [y, make.constant("direction", [1])], "y")
    make.add("Transpose", ["y"], "by_row", perm=[1, 0, 2])
    make.add("MatMul", ["by_row", make.weight("fc", 6, 3)], "output")
    output = floats("output", [axes[0], "MatMuloutput_dim_1", 3])
    return make.model([floats("input", axes)], [output])


def torch_dynamo() -> onnx.ModelProto:
    """Time first, axes called `s0` and `s1`, states taken and returned under torch's names."""
    make = Maker("pytorch")
    y, h = make.cell("GRU", "input.1", "node_GRU_0", (5, 6), ["hx"], linear_before_reset=1)
    make.add("Squeeze", [y, make.constant("direction", [1])], "getitem")
    make.add("Identity", [h], "getitem_1")
    return make.model(
        [floats("input.1", ["s77", "s27", 5]), floats("hx", [1, "s27", 6])],
        [floats("getitem", ["s77", "s27", 6]), floats("getitem_1", [1, "s27", 6])],
    )


def torch_stacked() -> onnx.ModelProto:
    """Two layers whose states are slices of one input, and are put together again."""
    make = Maker("pytorch")
    for layer in (0, 1):
        ends = [make.constant(f"from{layer}", [layer]), make.constant(f"to{layer}", [layer + 1])]
        axis = make.constant(f"axis{layer}", [0])
        for name in ("onnx::LSTM_1", "onnx::LSTM_2"):
            make.add("Slice", [name, *ends, axis], f"{name}.{layer}")
    x = "onnx::Transpose_0"
    make.add("Transpose", [x], "x", perm=[1, 0, 2])
    first = make.cell("LSTM", "x", "l0", (5, 6), ["onnx::LSTM_1.0", "onnx::LSTM_2.0"])
    make.add("Squeeze", [first[0], make.constant("direction", [1])], "y0")
    second = make.cell("LSTM", "y0", "l1", (6, 6), ["onnx::LSTM_1.1", "onnx::LSTM_2.1"])
    make.add("Squeeze", [second[0], "direction"], "y1")
    make.add("Transpose", ["y1"], "133", perm=[1, 0, 2])
    make.add("Concat", [first[1], second[1]], "135", axis=0)
    make.add("Concat", [first[2], second[2]], "136", axis=0)
    states = [floats(name, [2, None, 6]) for name in ("onnx::LSTM_1", "onnx::LSTM_2")]
    outputs = [floats("133", [None, None, 6]), *(floats(n, [2, None, 6]) for n in ("136", "135"))]
    return make.model([floats(x, [None, None, 5]), *states], outputs)


def tf2onnx(axes: Dims = ("unk__0", "unk__1", 5)) -> onnx.ModelProto:
    """Transpose, LSTM, Squeeze, and outputs whose axes have names of their own."""
    make = Maker("tf2onnx")
    make.add("Transpose", ["args_0"], "x", perm=[1, 0, 2])
    y, *_ = make.cell("LSTM", "x", "StatefulPartitionedCall/lstm", (5, 6))
    make.add("Squeeze", [y, make.constant("axes", [1])], "squeezed")
    make.add("Transpose", ["squeezed"], "by_row", perm=[1, 0, 2])
    make.add("MatMul", ["by_row", make.weight("kernel", 6, 3)], "product")
    make.add("Softmax", ["product"], "dense")
    return make.model([floats("args_0", axes)], [floats("dense", ["unk__10", "unk__11", 3])])


def tf2onnx_last_step() -> onnx.ModelProto:
    """A classifier of whole sequences: the last state alone, and no time in the output."""
    make = Maker("tf2onnx")
    make.add("Transpose", ["input_1"], "x", perm=[1, 0, 2])
    _, h = make.cell("GRU", "x", "gru", (5, 6))
    make.add("Squeeze", [h, make.constant("axes", [0])], "last")
    make.add("MatMul", ["last", make.weight("kernel", 6, 3)], "output_1")
    return make.model(
        [floats("input_1", ["unk__0", "unk__1", 5])], [floats("output_1", ["unk__4", 3])]
    )


def tf2onnx_words() -> onnx.ModelProto:
    """Words, looked up in a table of nine rows, at axes without names."""
    make = Maker("tf2onnx")
    make.add("Gather", [make.weight("table", 9, 5), "words"], "embedded")
    make.add("Transpose", ["embedded"], "x", perm=[1, 0, 2])
    y, *_ = make.cell("LSTM", "x", "lstm", (5, 6))
    make.add("Squeeze", [y, make.constant("axes", [1])], "squeezed")
    make.add("Transpose", ["squeezed"], "scores", perm=[1, 0, 2])
    return make.model([integers("words", [None, None])], [floats("scores", [None, None, 6])])


def keras2onnx() -> onnx.ModelProto:
    """States called by the number of the Keras layer: `lstm_1` goes to `input_3`."""
    make = Maker("keras2onnx")
    make.add("Transpose", ["input_1"], "x", perm=[1, 0, 2])
    for name in ("input_2", "input_3"):
        make.add("Unsqueeze", [name, make.constant(f"{name}_axes", [0])], f"{name}_layer")
    y, h, c = make.cell("LSTM", "x", "cell", (5, 6), ["input_2_layer", "input_3_layer"])
    make.add("Squeeze", [y, make.constant("axes", [1])], "squeezed")
    make.add("Transpose", ["squeezed"], "lstm", perm=[1, 0, 2])
    make.add("Squeeze", [h, make.constant("layer", [0])], "lstm_2")
    make.add("Squeeze", [c, "layer"], "lstm_1")
    states = [floats(name, ["N", 6]) for name in ("input_2", "input_3")]
    outputs = [
        floats("lstm", ["N", None, 6]),
        floats("lstm_1", ["N", 6]),
        floats("lstm_2", ["N", 6]),
    ]
    return make.model([floats("input_1", ["N", None, 5]), *states], outputs)


def paddle() -> onnx.ModelProto:
    """Sizes of -1, and an output whose shape is not declared at all."""
    make = Maker("PaddlePaddle")
    make.add("Transpose", ["x"], "by_time", perm=[1, 0, 2])
    y, *_ = make.cell("GRU", "by_time", "rnn_0", (5, 6))
    make.add("Squeeze", [y, make.constant("axes", [1])], "squeezed")
    make.add("Transpose", ["squeezed"], "transpose_1.tmp_0", perm=[1, 0, 2])
    return make.model([floats("x", [-1, -1, 5])], [floats("transpose_1.tmp_0", None)])


def unnamed_time_first() -> onnx.ModelProto:
    """Nothing but places: time comes first here, and nothing else says so."""
    make = Maker()
    y, *_ = make.cell("GRU", "in", "gru", (5, 6))
    make.add("Squeeze", [y, make.constant("axes", [1])], "out")
    return make.model([floats("in", [None, None, 5])], [floats("out", [None, None, 6])])


def misnamed() -> onnx.ModelProto:
    """Axes that are called the wrong way round."""
    make = Maker()
    y, *_ = make.cell("GRU", "in", "gru", (5, 6))
    make.add("Squeeze", [y, make.constant("axes", [1])], "out")
    return make.model([floats("in", ["batch", "seq", 5])], [floats("out", ["batch", "seq", 6])])


def subsampled() -> onnx.ModelProto:
    """A convolution that halves time before the cell; sizes of the output follow from nothing."""
    make = Maker("pytorch")
    make.add("Transpose", ["speech"], "by_channel", perm=[0, 2, 1])
    kernel = make.weight("kernel", 6, 5, 3)
    make.add("Conv", ["by_channel", kernel], "c", strides=[2], pads=[1, 1], kernel_shape=[3])
    make.add("Relu", ["c"], "r")
    make.add("Transpose", ["r"], "x", perm=[2, 0, 1])
    y, *_ = make.cell("GRU", "x", "gru", (6, 6))
    make.add("Squeeze", [y, make.constant("axes", [1])], "squeezed")
    make.add("Transpose", ["squeezed"], "enc", perm=[1, 0, 2])
    return make.model(
        [floats("speech", ["batch", "seq_len", 5])], [floats("enc", ["batch", "Addenc_dim_1", 6])]
    )


def merged_rows() -> onnx.ModelProto:
    """Rows and steps become one axis for a product, and are parted again."""
    make = Maker("tf2onnx")
    make.add("Reshape", ["frames", make.constant("flat", [-1, 5])], "rows")
    make.add("MatMul", ["rows", make.weight("kernel", 5, 6)], "product")
    make.add("Shape", ["frames"], "shape")
    make.add("Slice", ["shape", *(make.constant(n, [v]) for n, v in (("a", 0), ("b", 2)))], "lead")
    make.add("Concat", ["lead", make.constant("six", [6])], "wanted", axis=0)
    make.add("Reshape", ["product", "wanted"], "parted")
    make.add("Transpose", ["parted"], "x", perm=[1, 0, 2])
    y, *_ = make.cell("LSTM", "x", "lstm", (6, 6))
    make.add("Squeeze", [y, make.constant("axes", [1])], "squeezed")
    make.add("Transpose", ["squeezed"], "out", perm=[1, 0, 2])
    return make.model(
        [floats("frames", ["unk__3", "unk__4", 5])], [floats("out", ["unk__8", "unk__9", 6])]
    )


def silero() -> onnx.ModelProto:
    """Windows of a fixed number of samples, h and c in one state, and a branch by the rate."""
    make = Maker("pytorch")
    branches = []
    for number, name in enumerate(("then", "else")):
        inner = Maker()
        inner.random = np.random.default_rng(number)
        inner.add("Reshape", ["input", inner.constant("w", [-1, 4, 16])], "frames")
        inner.add("Transpose", ["frames"], "x", perm=[1, 0, 2])
        inner.add("Split", ["state"], ["h", "c"], axis=0)
        _, h, c = inner.cell("LSTM", "x", "lstm", (16, 8), ["h", "c"])
        inner.add("Squeeze", [h, inner.constant("axes", [0])], "last")
        inner.add("MatMul", ["last", inner.weight("fc", 8, 1)], "score")
        inner.add("Sigmoid", ["score"], f"{name}_p")
        inner.add("Concat", [h, c], f"{name}_s", axis=0)
        outputs = [floats(f"{name}_p", None), floats(f"{name}_s", None)]
        branches.append(
            helper.make_graph(inner.nodes, name, [], outputs, initializer=inner.tensors)
        )
    make.add("Equal", ["sr", make.constant("rate", np.int64(16000))], "is_16k")
    make.add(
        "If", ["is_16k"], ["output", "stateN"], then_branch=branches[0], else_branch=branches[1]
    )
    return make.model(
        [floats("input", [None, 64]), floats("state", [2, None, 8]), integers("sr", [])],
        [floats("output", [None, 1]), floats("stateN", [None, None, None])],
    )


def echo_canceller() -> onnx.ModelProto:
    """Two signals of one frame, masks, and the states of two LSTMs in one tensor, as DTLN has."""
    make = Maker("tf2onnx")
    make.add("Concat", ["mic_in", "ref_in"], "both", axis=2)
    make.add("Transpose", ["both"], "x", perm=[1, 0, 2])
    make.add("Split", ["states_in"], ["h4", "c4"], axis=3)
    for name in ("h", "c"):
        make.add("Squeeze", [f"{name}4", make.constant(f"{name}_ax", [3])], f"{name}3")
        make.add("Split", [f"{name}3"], [f"{name}a", f"{name}b"], axis=1)
    first = make.cell("LSTM", "x", "one", (18, 6), ["ha", "ca"])
    make.add("Squeeze", [first[0], make.constant("axes", [1])], "y0")
    second = make.cell("LSTM", "y0", "two", (6, 6), ["hb", "cb"])
    make.add("Squeeze", [second[0], "axes"], "y1")
    make.add("MatMul", ["y1", make.weight("fc", 6, 9)], "logits")
    make.add("Sigmoid", ["logits"], "mask")
    make.add("Mul", ["mic_in", "mask"], "mic_out")
    for name, number in (("h", 1), ("c", 2)):
        make.add("Concat", [first[number], second[number]], f"{name}_new", axis=1)
        make.add("Unsqueeze", [f"{name}_new", make.constant(f"{name}_to", [3])], f"{name}_new4")
    make.add("Concat", ["h_new4", "c_new4"], "states_out", axis=3)
    return make.model(
        [
            floats("mic_in", [1, 1, 9]),
            floats("ref_in", [1, 1, 9]),
            floats("states_in", [1, 2, 6, 2]),
        ],
        [floats("mic_out", [1, 1, 9]), floats("states_out", [1, 2, 6, 2])],
    )


def audio_through() -> onnx.ModelProto:
    """`audio_in` and `audio_out` are signals; the state is called otherwise on either side."""
    make = Maker("pytorch")
    y, h = make.cell("GRU", "audio_in", "gru", (6, 6), ["carry"])
    make.add("Squeeze", [y, make.constant("axes", [1])], "squeezed")
    make.add("Add", ["squeezed", "audio_in"], "audio_out")
    make.add("Identity", [h], "memory")
    return make.model(
        [floats("audio_in", ["frames", "batch", 6]), floats("carry", [1, "batch", 6])],
        [floats("audio_out", ["frames", "batch", 6]), floats("memory", [1, "batch", 6])],
    )


def transducer() -> onnx.ModelProto:
    """A streaming encoder of a transducer: frames of several steps, `h` and `c` of two layers."""
    make = Maker("pytorch")
    make.add("Transpose", ["x"], "by_time", perm=[1, 0, 2])
    for name in ("h", "c"):
        make.add("Split", [name], [f"{name}0", f"{name}1"], axis=0)
    first = make.cell("LSTM", "by_time", "one", (5, 6), ["h0", "c0"])
    make.add("Squeeze", [first[0], make.constant("axes", [1])], "y0")
    second = make.cell("LSTM", "y0", "two", (6, 6), ["h1", "c1"])
    make.add("Squeeze", [second[0], "axes"], "y1")
    make.add("Transpose", ["y1"], "encoder_out", perm=[1, 0, 2])
    make.add("Concat", [first[1], second[1]], "next_h", axis=0)
    make.add("Concat", [first[2], second[2]], "next_c", axis=0)
    return make.model(
        [floats("x", ["N", 4, 5]), floats("h", [2, "N", 6]), floats("c", [2, "N", 6])],
        [
            floats("encoder_out", ["N", 4, 6]),
            floats("next_h", [2, "N", 6]),
            floats("next_c", [2, "N", 6]),
        ],
    )


def lstm_step() -> onnx.ModelProto:
    """One step of a decomposed LSTM, with names that say nothing."""
    make = Maker("pytorch")
    make.add("Gemm", ["a", make.weight("Wi", 24, 5), make.weight("bi", 24)], "gi", transB=1)
    make.add("Gemm", ["b", make.weight("Wh", 24, 6), make.weight("bh", 24)], "gh", transB=1)
    make.add("Add", ["gi", "gh"], "gates")
    make.add("Split", ["gates"], ["i", "f", "g", "o"], axis=1)
    for gate in "ifo":
        make.add("Sigmoid", [gate], f"{gate}_s")
    make.add("Tanh", ["g"], "g_t")
    make.add("Mul", ["f_s", "c"], "kept")
    make.add("Mul", ["i_s", "g_t"], "added")
    make.add("Add", ["kept", "added"], "p")
    make.add("Tanh", ["p"], "p_t")
    make.add("Mul", ["o_s", "p_t"], "q")
    make.add("MatMul", ["q", make.weight("fc", 6, 3)], "y")
    return make.model(
        [floats("a", ["n", 5]), floats("b", ["n", 6]), floats("c", ["n", 6])],
        [floats("y", ["n", 3]), floats("p", ["n", 6]), floats("q", ["n", 6])],
    )


def gru_step() -> onnx.ModelProto:
    """One step of a decomposed GRU in PyTorch's form; signal and state have one shape."""
    make = Maker("pytorch")
    make.add("MatMul", ["signal", make.weight("Wi", 6, 18)], "gi")
    make.add("MatMul", ["before", make.weight("Wh", 6, 18)], "gh")
    make.add("Split", ["gi"], ["ir", "iz", "in"], axis=1)
    make.add("Split", ["gh"], ["hr", "hz", "hn"], axis=1)
    for gate in "rz":
        make.add("Add", [f"i{gate}", f"h{gate}"], f"{gate}_sum")
        make.add("Sigmoid", [f"{gate}_sum"], gate)
    make.add("Mul", ["r", "hn"], "reset")
    make.add("Add", ["in", "reset"], "n_sum")
    make.add("Tanh", ["n_sum"], "n")
    make.add("Sub", ["before", "n"], "difference")
    make.add("Mul", ["z", "difference"], "change")
    make.add("Add", ["n", "change"], "after")
    make.add("Relu", ["after"], "out")
    return make.model(
        [floats("signal", ["n", 6]), floats("before", ["n", 6])],
        [floats("out", ["n", 6]), floats("after", ["n", 6])],
    )


def causal_buffer() -> onnx.ModelProto:
    """A convolution over the frames before, kept by moving numbers alone, and a GRU."""
    make = Maker("pytorch")
    make.add("Concat", ["past", "x"], "seen", axis=2)
    make.add(
        "Slice",
        ["seen", *(make.constant(n, [v]) for n, v in (("a", -2), ("b", 999), ("ax", 2)))],
        "kept",
    )
    make.add("Conv", ["seen", make.weight("kernel", 6, 5, 3)], "c", kernel_shape=[3])
    make.add("Transpose", ["c"], "by_time", perm=[2, 0, 1])
    y, h = make.cell("GRU", "by_time", "gru", (6, 6), ["g"])
    make.add("Squeeze", [y, make.constant("axes", [1])], "squeezed")
    make.add("Transpose", ["squeezed"], "y", perm=[1, 2, 0])
    make.add("Identity", [h], "after")
    return make.model(
        [floats("x", [None, 5, None]), floats("past", [None, 5, 2]), floats("g", [1, None, 6])],
        [floats("y", [None, 6, None]), floats("after", [1, None, 6]), floats("kept", [None, 5, 2])],
    )


def scan() -> onnx.ModelProto:
    """A Scan over time, whose carried value goes from `left` to `right`."""
    inner = Maker()
    inner.add("MatMul", ["h_in", inner.weight("R", 6, 6)], "hr")
    inner.add("Add", ["x_t", "hr"], "sum")
    inner.add("Tanh", ["sum"], "h_out")
    inner.add("Identity", ["h_out"], "y_t")
    body = helper.make_graph(
        inner.nodes,
        "body",
        [floats("h_in", ["b", 6]), floats("x_t", ["b", 6])],
        [floats("h_out", ["b", 6]), floats("y_t", ["b", 6])],
        initializer=inner.tensors,
    )
    make = Maker()
    axes = {"scan_input_axes": [1], "scan_output_axes": [1]}
    make.add("Scan", ["left", "signal"], ["right", "out"], body=body, num_scan_inputs=1, **axes)
    return make.model(
        [floats("signal", ["d0", "d1", 6]), floats("left", ["d0", 6])],
        [floats("out", ["d0", "d1", 6]), floats("right", ["d0", 6])],
    )


def loop() -> onnx.ModelProto:
    """A Loop over the first axis, as TensorFlow's while becomes."""
    inner = Maker()
    inner.add("Gather", ["signal", "i"], "x_t", axis=0)
    inner.add("MatMul", ["h_in", inner.weight("R", 6, 6)], "hr")
    inner.add("Add", ["x_t", "hr"], "sum")
    inner.add("Tanh", ["sum"], "h_out")
    inner.add("Identity", ["h_out"], "y_t")
    inner.add("Identity", ["go"], "go_on")
    body = helper.make_graph(
        inner.nodes,
        "body",
        [
            integers("i", []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            floats("h_in", None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            floats("h_out", None),
            floats("y_t", None),
        ],
        initializer=inner.tensors,
    )
    make = Maker("tf2onnx")
    make.add("Shape", ["signal"], "shape")
    make.add("Gather", ["shape", make.constant("zero", np.int64(0))], "steps", axis=0)
    make.add("Loop", ["steps", make.constant("go0", True), "left"], ["right", "out"], body=body)
    return make.model(
        [floats("signal", [None, None, 6]), floats("left", [None, 6])],
        [floats("out", [None, None, 6]), floats("right", [None, 6])],
    )


ROW, STEP = "batch", "time"
FILES: dict[str, Foreign] = {
    "torch-script": Foreign(torch_script, {"input": (ROW, STEP, 5)}),
    "torch-script-seq": Foreign(
        lambda: torch_script(("batch", "seq", 5)), {"input": (ROW, STEP, 5)}
    ),
    "torch-script-unnamed": Foreign(
        lambda: torch_script((None, None, 5)), {"input": (ROW, STEP, 5)}
    ),
    "torch-dynamo": Foreign(
        torch_dynamo, {"input.1": (STEP, ROW, 5)}, {"getitem_1": "hx"}, streams=True
    ),
    "torch-stacked": Foreign(
        torch_stacked,
        {"onnx::Transpose_0": (ROW, STEP, 5)},
        {"135": "onnx::LSTM_1", "136": "onnx::LSTM_2"},
        streams=True,
    ),
    "tf2onnx": Foreign(tf2onnx, {"args_0": (ROW, STEP, 5)}),
    "tf2onnx-one-row": Foreign(lambda: tf2onnx((1, "unk__7", 5)), {"args_0": (1, STEP, 5)}),
    "tf2onnx-last-step": Foreign(tf2onnx_last_step, {"input_1": (ROW, STEP, 5)}),
    "tf2onnx-words": Foreign(tf2onnx_words, {"words": (ROW, STEP)}),
    "keras2onnx": Foreign(
        keras2onnx,
        {"input_1": (ROW, STEP, 5)},
        {"lstm_2": "input_2", "lstm_1": "input_3"},
        streams=True,
    ),
    "paddle": Foreign(paddle, {"x": (ROW, STEP, 5)}),
    "unnamed-time-first": Foreign(unnamed_time_first, {"in": (STEP, ROW, 5)}),
    "misnamed": Foreign(misnamed, {"in": (STEP, ROW, 5)}),
    "subsampled": Foreign(subsampled, {"speech": (ROW, STEP, 5)}),
    "merged-rows": Foreign(merged_rows, {"frames": (ROW, STEP, 5)}),
    "silero": Foreign(silero, {"input": (ROW, 64), "sr": ()}, {"stateN": "state"}, streams=True),
    "echo-canceller": Foreign(
        echo_canceller,
        {"mic_in": (1, 1, 9), "ref_in": (1, 1, 9)},
        {"states_out": "states_in"},
        streams=True,
    ),
    "audio-through": Foreign(
        audio_through, {"audio_in": (STEP, ROW, 6)}, {"memory": "carry"}, streams=True
    ),
    "transducer": Foreign(
        transducer, {"x": (ROW, 4, 5)}, {"next_h": "h", "next_c": "c"}, streams=True
    ),
    "lstm-step": Foreign(lstm_step, {"a": (ROW, 5)}, {"q": "b", "p": "c"}, streams=True),
    "gru-step": Foreign(gru_step, {"signal": (ROW, 6)}, {"after": "before"}, streams=True),
    "causal-buffer": Foreign(
        causal_buffer, {"x": (ROW, 5, STEP)}, {"kept": "past", "after": "g"}, streams=True
    ),
    "scan": Foreign(scan, {"signal": (ROW, STEP, 6)}, {"right": "left"}, streams=True),
    "loop": Foreign(loop, {"signal": (STEP, ROW, 6)}, {"right": "left"}, streams=True),
}
