"""Which rule says where an operator of torch leaves the rows of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import sympy

from rnnedge_exporters.errors import MixingError, UnknownError
from rnnedge_exporters.modules.row_places import Place, RowOperation
from rnnedge_exporters.modules.row_rules import (
    along,
    attention,
    cells,
    cut,
    einsum,
    elsewhere,
    first_alone,
    indexed,
    joined,
    last_axes,
    looked_up,
    not_channels,
    padded,
    picked,
    pointwise,
    product,
    put,
    reshaped,
    rows_in_front,
    widened,
)

Rule: TypeAlias = Callable[[RowOperation], Place]

_NAMES: dict[Rule, str] = {
    pointwise: "where clamp copy fill zero masked_fill dropout feature_dropout "
    "alpha_dropout elu celu selu relu6 hardtanh hardswish hardsigmoid silu mish gelu leaky_relu "
    "softplus log_sigmoid threshold floor_divide remainder fmod rsub clone nan_to_num",
    first_alone: "to _to_copy contiguous detach alias lift_fresh_copy type_as one_hot prelu",
    reshaped: "view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as",
    elsewhere: "transpose swapaxes swapdims permute movedim moveaxis t mT numpy_T",
    widened: "expand expand_as broadcast_to repeat tile",
    cut: "slice narrow select split split_with_sizes chunk tensor_split unbind unsafe_chunk "
    "unsafe_split",
    along: "sum mean amax amin max min prod var std var_mean std_mean logsumexp norm "
    "linalg_vector_norm softmax _softmax log_softmax _log_softmax cumsum cumprod cummax cummin "
    "logcumsumexp flip roll sort argsort topk kthvalue median nanmedian mode argmax argmin any all "
    "count_nonzero nansum nanmean gather take_along_dim scatter scatter_add scatter_reduce unfold "
    "glu diff repeat_interleave cosine_similarity fft_rfft fft_irfft fft_fft fft_ifft aminmax",
    picked: "index_select",
    indexed: "index",
    put: "index_put",
    joined: "cat concat concatenate stack",
    last_axes: "linear layer_norm native_layer_norm rms_norm triu tril",
    rows_in_front: "conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d group_norm "
    "native_group_norm instance_norm avg_pool1d avg_pool2d max_pool1d max_pool2d "
    "max_pool2d_with_indices adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d "
    "adaptive_max_pool2d upsample_nearest1d upsample_nearest2d upsample_linear1d "
    "upsample_bilinear2d pixel_shuffle lp_pool1d stft",
    not_channels: "batch_norm _native_batch_norm_legit_no_training",
    padded: "pad constant_pad_nd reflection_pad1d replication_pad1d reflection_pad2d "
    "replication_pad2d",
    looked_up: "embedding",
    product: "matmul bmm mm mv addmm baddbmm dot vdot",
    attention: "scaled_dot_product_attention",
    einsum: "einsum",
    cells: "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
}
_RULES = {name: rule for rule, names in reversed(_NAMES.items()) for name in names.split()}
_SPREADING = (pointwise, first_alone, reshaped, elsewhere, widened)
"""What may give an axis of rows to a value that is the same for all of them."""
_FILLS = {
    *("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty"),
    *("zeros_like", "ones_like", "full_like", "empty_like", "scalar_tensor", "arange"),
}


def place_of(op: RowOperation, *, broadcasts: bool) -> Place:
    """Return where the rows are in what an operator gives.

    Args:
        op: The call.
        broadcasts: Whether torch says of the operator that it works number by number.

    Raises:
        MixingError: When rows are moved or mixed.
        UnknownError: When the operator has no rule.
    """
    if op.name in _FILLS:
        return None
    two = op.name in ("max", "min") and "other" in op.values
    rule = pointwise if broadcasts or two else _RULES.get(op.name)
    if rule is None:
        raise UnknownError
    place = rule(op)
    if place is None:
        if rule not in _SPREADING and any(size.has(op.batch) for size in op.shapes[0]):
            raise MixingError
    elif sympy.expand(op.shapes[0][place.axis] - place.outer * place.size * place.inner) != 0:
        raise MixingError
    return place
