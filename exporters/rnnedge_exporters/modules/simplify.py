"""Constants folded and nodes that compute nothing removed, with no number changed.

torch's own optimization (`torch.onnx.export(optimize=True)`) applies every rewrite rule of
onnxscript, and some of them change what a model computes (onnxscript 0.7.2):

- `x + 0`, `x - 0`, `x * 1` and `x / 1` match constants within 1e-8 of 0 and 1e-5 of 1, so that
  `log(relu(x) + 1e-10)` loses its epsilon;
- two `Clip`, or a `Relu` behind a `Clip`, become one `Clip` whose ends may be the wrong way round;
- `Min(Max(x, a), b)` becomes a `Clip`, which does not broadcast x to the shape of a and b.

Rules are therefore listed here one by one, and a rule of a later onnxscript is not taken unread.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import RewritePass, pattern
from onnxscript.rewriter.rules import common as rules

_ROUNDS = 2
"""How often folding and rewriting are repeated at most: as often as torch does."""


def _neutral(operator: str, number: int) -> pattern.RewriteRule:
    """Return the rule that removes `operator` where its second input is exactly `number`."""
    exactly = pattern.Constant(number, rel_tol=0.0, abs_tol=0.0)
    return pattern.RewriteRule(
        lambda op, x: getattr(op, operator)(x, exactly), lambda op, x: op.Identity(x)
    )


def _one_number(context: object, low: ir.Value, high: ir.Value, **_: ir.Value) -> bool:
    """Whether both ends are constants without axes, which broadcast nothing."""
    return all(end.const_value is not None and not end.const_value.shape for end in (low, high))


_clamp = pattern.RewriteRule(
    lambda op, x, low, high: op.Min(op.Max(x, low), high),
    lambda op, x, low, high: op.Clip(x, low, high),
    _one_number,
)
"""`torch.clamp` as torch translates it; where low > high, both answer high."""

_EXACT_RULES = pattern.RewriteRuleSet(
    [
        *_neutral("Mul", 1).commute(),
        *_neutral("Add", 0).commute(),
        _neutral("Sub", 0),
        _neutral("Div", 1),
        _clamp,
        rules.two_reshapes_matmul_reshape_rule,
        rules.one_reshape_matmul_reshape_rule,
        rules.cast_constant_of_shape_rule,
        rules.cast_constant_of_shape_without_value_rule,
        rules.collapse_slice_rule,
        rules.collapse_slice2_rule,
        rules.materialize_reshape_shape_rule,
        rules.min_min_rule,
        rules.max_max_rule,
        rules.successive_relu_rule,
        rules.successive_clip_relu_rule,
        rules.no_op_cast_rule,
        rules.no_op_expand_rule,
        rules.flatten_to_reshape_rule,  # before reshape_reshape_rule, which takes what it makes
        rules.reshape_reshape_rule,
        rules.no_op_transpose_rule,
        rules.transpose_transpose_rule,
        rules.unsqueeze_unsqueeze_rule,
        rules.squeeze_reshape_1d_rule,
        rules.no_op_dynamic_scatter_nd_rule,
        rules.no_op_static_scatter_nd_rule,
        rules.normalize_pad_format_conv_rule,
        rules.fuse_pad_into_conv_rule,
        # These round a weight once more, by less than ONNX Runtime's own order of sums does.
        rules.fuse_batchnorm_into_conv_rule,
        rules.fuse_batchnorm_into_conv_transpose_rule,
        rules.fuse_batchnorm_into_gemm_rule,
        rules.remove_optional_bias_from_conv_rule,
        rules.remove_optional_bias_from_conv_transpose_rule,
        rules.remove_optional_bias_from_gemm_rule,
    ]
)


def simplify(model: ir.Model) -> None:
    """Make a model as small as torch's own optimization does, by rules that change no number.

    Args:
        model: What torch translated with `optimize=False`; it is changed.
    """
    passes.InlinePass()(model)
    for _ in range(_ROUNDS):
        folded = _fold(model)
        rewritten = RewritePass(_EXACT_RULES)(model)
        removed = _unused(model)
        if not (folded or rewritten.modified or removed):
            break
    for clean in (
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        clean(model)


def _fold(model: ir.Model) -> object:
    """Fold constants, and say whether any was; true where something was.

    onnxscript stops at a `SplitToSequence` whose parts are as long as an open axis
    (onnxscript 0.7.2). What it has folded until then is whole, and the rest stays as it is.
    """
    try:
        return fold_constants(model, onnx_shape_inference=True)
    except RuntimeError as error:
        if not str(error).startswith("Error during constant folding"):
            raise
        return False


def _unused(model: ir.Model) -> bool:
    """Remove nodes, functions and operator sets that nothing uses; return whether any was."""
    removals = (
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        passes.RemoveUnusedOpsetsPass(),
    )
    return any([remove(model).modified for remove in removals])
