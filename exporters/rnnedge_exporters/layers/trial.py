"""A bare layer and the graph that was made of it, run on the same inputs."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnedge_exporters.errors import ExportError, TrialError
from rnnedge_exporters.exported_graph import Trial, shown_sizes
from rnnedge_exporters.modules.arguments import Arguments
from rnnedge_exporters.modules.copying import private_copy
from rnnedge_exporters.modules.quiet import quiet
from rnnedge_exporters.modules.trial.differences import FileSide, TorchSide, differences
from rnnedge_exporters.modules.trial.tensors import made
from rnnedge_exporters.onnx_model.serialize import serialize_graph
from rnnedge_runtime.contract import BATCH, TIME, Interface

_SIZES = ({TIME: 1, BATCH: 2}, {TIME: 6, BATCH: 1}, {TIME: 9, BATCH: 4})


class _AsTheFileIs(nn.Module):
    """A layer with the inputs of its file: lengths and states, each with its own."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self,
        input: Tensor,
        lengths: Tensor | None = None,
        h_0: Tensor | None = None,
        c_0: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        first = self.layer.batch_first
        state = h_0 if c_0 is None else (h_0, c_0)
        if lengths is None:
            output, final = self.layer(input, state)
        else:
            packed = pack_padded_sequence(input, lengths, first, enforce_sorted=False)
            output, final = self.layer(packed, state)
            time = input.shape[1 if first else 0]
            output, _ = pad_packed_sequence(output, first, total_length=time)
        return (output, *(final if isinstance(final, tuple) else (final,)))


def try_layer(layer: nn.RNNBase, graph: ir.Graph, interface: Interface) -> Trial:
    """Run a layer and its graph at three sizes.

    Args:
        layer: The layer; it is copied, never changed.
        graph: Its graph with float32 weights.
        interface: The inputs and outputs of the graph.

    Raises:
        ExportError: When they answer different things.
    """
    if not all(weight.isfinite().all() for weight in layer.parameters()):
        return Trial()  # ONNX Runtime's kernels answer NaN with numbers: a warning has said so
    axes = {spec.name: spec.axes for spec in interface.inputs}
    example = {
        name: torch.zeros([size if isinstance(size, int) else 2 for size in shape])
        for name, shape in axes.items()
    }
    if interface.lengths is not None:
        example[interface.lengths] = example[interface.lengths].long()
    names = [spec.name for spec in interface.outputs]
    side = TorchSide(private_copy(_AsTheFileIs(layer)), Arguments(dict(example)), names)
    content = serialize_graph(graph)  # not run in a child: forms of our own, and milliseconds
    file = FileSide(content, interface, lambda sizes: [sizes.get(TIME)], isolated=False)
    trial = Trial()
    for seed, sizes in enumerate(_SIZES):
        tensors = made(example, axes, sizes, seed=seed, lengths=interface.lengths)
        try:
            with quiet(verbose=False):  # PyTorch remarks on its kernels for projections
                expected, _ = side.run(tensors)
                found = differences(side, tensors, expected, file.run(tensors, {}))
        except TrialError as error:
            raise ExportError(f"at {shown_sizes(sizes)} the layer cannot be run: {error}") from None
        if found:
            raise ExportError(f"at {shown_sizes(sizes)} the file differs: {found[0]}")
        trial.sizes.append(sizes)
    return trial
