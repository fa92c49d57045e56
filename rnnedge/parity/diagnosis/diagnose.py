"""Why a model fails: the smallest case, the first wrong place, and the mistake that explains it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnedge.errors import WeightsWarning
from rnnedge.parity.cases import Case
from rnnedge.parity.collect import Answers
from rnnedge.parity.compared_model import ComparedModel
from rnnedge.parity.diagnosis import recurrence
from rnnedge.parity.diagnosis.budget import Budget
from rnnedge.parity.diagnosis.by_value import missing_weights
from rnnedge.parity.diagnosis.explain import Explanation, explain
from rnnedge.parity.diagnosis.frozen import Frozen, accepted_cases, frozen_axis
from rnnedge.parity.diagnosis.probe import Inside, look_inside, with_every_output
from rnnedge.parity.diagnosis.smallest import smallest_failing
from rnnedge.parity.results import Curve, Diagnosis
from rnnedge_exporters.layers.weights import RecurrentLayer, is_readable, read_layer
from rnnedge_exporters.modules.capture import recurrent_layers
from rnnedge_exporters.onnx_model.loading import load_if_readable
from rnnedge_exporters.onnx_model.nodes import RANDOM, all_nodes, label
from rnnedge_runtime import RnnEdgeError

_RANDOM_OPERATORS = ("Dropout", *RANDOM)
_ENOUGH = 4
"""Shapes at which a model that refuses others has to be right before the search for more ends."""
_ACCEPTED_SHARE = 0.5
"""What part of the budget is spent when the search for those shapes ends."""
_SCREENED = 13
"""Steps of the longest case that mistakes are tried on; their number makes longer ones slow."""

REMEDIES = {
    "frozen length": "export with that axis dynamic; rnnedge export keeps batch and time open",
    "frozen batch": "export with that axis dynamic; rnnedge export keeps batch and time open",
    "gate order": "write the rows in ONNX's order: i, o, f, c for LSTM; z, r, h for GRU",
    "linear_before_reset": "set linear_before_reset=1 on the GRU node",
    "swapped directions": "forward first, in the weights, the output and the states",
    "bias halves": "B is [bias_ih, bias_hh], each in ONNX's gate order",
    "batch_first mix-up": "ONNX's operators take [time, batch, features]: transpose around them",
    "states of the wrong layer": "row layer*directions + direction belongs to that place",
    "initial state ignored": "wire h_0 (and c_0) to initial_h (and initial_c) of every layer",
    "dropout left on": "call model.eval() before the export",
    "h_n taken at padding": "take Y_h of an operator that has sequence_lens",
    "lengths ignored": "wire lengths to sequence_lens",
    "activation": "set the activations that PyTorch has",
    "transposed weights": "PyTorch and ONNX both store [rows of gates, features]",
    "other weights": "export from the checkpoint that you compare with",
    "crash": "check inputs before this engine sees them, as rnnedge_runtime.Session does",
    "never ends": "look for a Loop or Scan whose condition stays true, or raise --time-limit",
    "axis of 1 dropped": "squeeze(dim) drops one axis, squeeze() every axis that is 1",
    "empty rows lose their state": "keep the initial state where a length is 0",
}


def diagnose(subject: ComparedModel, collected: Sequence[Answers], seconds: float) -> Diagnosis:
    """Say why a model fails.

    Args:
        subject: The model.
        collected: What the sweep collected; in one case or more the model is wrong.
        seconds: How long the search may take, 0 or more; what it left undone is in the diagnosis.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeightsWarning)  # it was said when the source was read
        return _diagnose(subject, collected, Budget(seconds))


def _diagnose(subject: ComparedModel, collected: Sequence[Answers], budget: Budget) -> Diagnosis:
    wrong = [answers for answers in collected if not subject.right(answers)]
    crashed = [answers for answers in wrong if answers.crash]
    if crashed:
        first = min(crashed, key=lambda answers: answers.case.time * answers.case.batch)
        cause = first.crash
        return Diagnosis(cause, "", first.failure or "", first.case, "", REMEDIES[cause])
    smallest = smallest_failing(
        [answers.case for answers in wrong],
        lambda case: (a := subject.try_case(case)) is not None and not subject.right(a),
        budget,
    )
    shown = next((a for a in wrong if a.case == smallest), None) or subject.try_case(smallest)
    shown = shown or wrong[0]
    pool = list(collected)
    if any(answers.model is None for answers in wrong):
        pool += _accepted(subject, budget)
    model = load_if_readable(subject.path)
    cause, place, evidence = _cause(subject, pool, model, budget)
    return Diagnosis(
        cause=cause,
        place=place,
        evidence=evidence,
        smallest=smallest,
        first=_first(subject, shown, pool, model),
        remedy=REMEDIES.get(cause, ""),
        unfinished=tuple(budget.unfinished),
    )


def _accepted(subject: ComparedModel, budget: Budget) -> list[Answers]:
    """Search for shapes that a model takes which refuses others, up to some where it is right."""
    answered, right, tried = [], 0, 0

    def ask(case: Case) -> Answers | None:
        nonlocal tried
        if not budget.left(_ACCEPTED_SHARE):
            return None
        tried += 1
        return subject.try_case(case)

    for answers in accepted_cases(subject.declared, subject.fitted, ask):
        answered.append(answers)
        right += subject.right(answers)
        if right == _ENOUGH or len(answered) == 10 * _ENOUGH:
            break
    else:
        if not budget.left(_ACCEPTED_SHARE):
            budget.stopped("shapes that it takes", f"{tried} tried")
    return answered


def _cause(
    subject: ComparedModel, pool: Sequence[Answers], model: onnx.ModelProto | None, budget: Budget
) -> tuple[str, str, str]:
    failures = [answers.failure or "" for answers in pool if answers.model is None]
    unsteady = [failure for failure in failures if "differs between two runs" in failure]
    if unsteady:
        return _unsteady(unsteady[0], model)
    dropped = _dropped_axis(subject, pool, model)
    if dropped:
        return dropped
    frozen = _frozen(subject, pool)
    # A length that is refused is frozen whatever else is wrong; one that is answered may be wrong
    # for a reason that explains all lengths at once.
    if frozen and failures:
        return _said(frozen)
    found = _explained(subject, pool, budget)
    if found:
        return _told(found)
    if frozen:
        return _said(frozen)
    if model is not None:
        for layer in _layers_of(subject):
            by_value = _missing(model, layer)
            if by_value:
                return by_value
    return "unknown", "", "no known mistake answers what the model answers"


def _layers_of(subject: ComparedModel) -> Iterator[RecurrentLayer]:
    if subject.layer is not None:
        yield subject.layer
        return
    for path, inner in recurrent_layers(subject.module).items():
        if is_readable(inner):
            yield read_layer(inner, path)


def _missing(model: onnx.ModelProto, layer: RecurrentLayer) -> tuple[str, str, str] | None:
    """Say which weights of a layer are not in the file, when that can be said."""
    missing, present = missing_weights(model, layer)
    if not missing or not math.isfinite(missing[0].nearest):
        return None
    words = (f"{m.name} ({', '.join(m.gates)})" if m.gates else m.name for m in missing)
    names = ", ".join(".".join(filter(None, [layer.name, word])) for word in words)
    places = {m.place for m in missing}
    if len(places) > 1:
        places = {place.partition(",")[0] for place in places}  # both directions of one layer
    place = places.pop() if len(places) == 1 else ""
    others = {0: "no other is", 1: "one other is"}.get(present, f"{present} others are")
    return (
        "other weights",
        ", ".join(filter(None, [layer.name, place])),
        f"{names} of the source is not in the file (the nearest block is off by "
        f"{missing[0].nearest:.1e}); {others}",
    )


def _unsteady(failure: str, model: onnx.ModelProto | None) -> tuple[str, str, str]:
    random = [
        label(node)
        for node in (all_nodes(model.graph) if model else ())
        if node.op_type in _RANDOM_OPERATORS
    ]
    if random:
        return "dropout left on", random[0], f"{failure}; the graph has {', '.join(random[:3])}"
    return "not deterministic", "", failure


def _dropped_axis(
    subject: ComparedModel, pool: Sequence[Answers], model: onnx.ModelProto | None
) -> tuple[str, str, str] | None:
    """Say which output has fewer axes than are declared where batch or time is 1."""
    declared = {spec.name: spec for spec in subject.declared.outputs}
    for answers in pool:
        for name, array in (answers.model or {}).items():
            spec = declared.get(name)
            if spec is None or array.ndim >= len(spec.axes) or 1 not in answers.sizes.values():
                continue
            evidence = f"{name} has the shape {list(array.shape)} at {answers.case}, where {spec}"
            for node in model.graph.node if model else ():
                if node.op_type == "Squeeze" and len(node.input) == 1 and not node.attribute:
                    return "axis of 1 dropped", label(node), f"{evidence} is said"
    return None


def _frozen(subject: ComparedModel, pool: Sequence[Answers]) -> Frozen | None:
    plain = [a for a in pool if a.case.way == "plain" and a.case.values == "normal"]
    results = {a.case: subject.judge(a) for a in plain if not a.case.chunk}
    return frozen_axis(
        {
            case: next((r.problem or f"off by {r.error:.1e}" for r in own if not r), None)
            for case, own in results.items()
        }
    )


def _said(frozen: Frozen) -> tuple[str, str, str]:
    cause = "frozen batch" if frozen.axis == "batch" else "frozen length"
    return cause, frozen.axis, f"right at {frozen.axis} {frozen.sizes}, else {frozen.otherwise}"


def _explained(
    subject: ComparedModel, pool: Sequence[Answers], budget: Budget
) -> Explanation | None:
    """Try the mistakes on the cases that are short enough, the most telling of them first."""
    usable = [
        answers
        for answers in pool
        if answers.model is not None
        and answers.case.values == "normal"
        and answers.case.way == "plain"
        and answers.case.time <= _SCREENED
        and not answers.case.chunk
    ]

    def telling(answers: Answers) -> tuple[bool, int, int]:
        case = answers.case
        return (
            subject.right(answers),
            -(case.random_state + case.ragged + (case.batch > 1) + (case.time > 2)),
            case.time,
        )

    usable = sorted(usable, key=telling)
    if not usable or subject.right(usable[0]):
        return None
    floor = subject.tolerance.floor(subject.terms)
    return explain(
        subject.module,
        subject.layer,
        subject.fitted,
        usable,
        floor,
        max(subject.tolerance.torch_factor, 1.0),
        budget,
    )


def _told(found: Explanation) -> tuple[str, str, str]:
    mistake = found.mistake
    place = ", ".join(filter(None, [found.layer, mistake.place]))
    return (
        mistake.cause,
        place,
        f"{mistake.text} (PyTorch with this mistake answers the same in {found.cases} of "
        f"{found.cases} cases, to {found.error:.1e})",
    )


def _first(
    subject: ComparedModel,
    shown: Answers,
    pool: Sequence[Answers],
    model: onnx.ModelProto | None,
) -> str:
    """Name the first layer, direction and step that is wrong, as far as the graph shows it."""
    results = [result for result in subject.judge(shown) if not result]
    words = []
    if results:
        axes = {spec.name: spec.axes for spec in subject.fitted.outputs}
        worst = results[0]
        if worst.at is not None:
            at = (
                f"{axis if isinstance(axis, str) else 'feature'} {i}"
                for axis, i in zip(axes[worst.output], worst.at, strict=True)
            )
            words.append(f"{worst.output}, {', '.join(at)}")
        else:
            words.append(f"{worst.output}: {worst.problem}")
    if model is not None and subject.layer is not None:
        telling = [a for a in pool if a.model is not None and not subject.right(a)]
        telling = [a for a in telling if a.case.way == "plain" and not a.case.chunk]
        for answers in sorted(telling, key=lambda a: a.case.time)[:1]:
            words += _first_layer(subject, answers, model, subject.layer)
    return "; ".join(words)


def _first_layer(
    subject: ComparedModel, answers: Answers, model: onnx.ModelProto, layer: RecurrentLayer
) -> list[str]:
    floor = subject.tolerance.floor(subject.terms) * 4
    for inside in _inside(subject, answers, model, layer):
        for direction in range(layer.directions):
            errors = inside.errors[:, :, direction].max(axis=(1, 2))
            wrong = np.flatnonzero(~(errors <= floor))
            if len(wrong):
                backward = direction == 1
                step = wrong[-1] if backward else wrong[0]
                words = f"{inside.layer}{', backward' if backward else ''}"
                return [f"inside: {words}, step {step}, tensor {inside.tensor}"]
    return []


def layer_curves(
    subject: ComparedModel, collected: Sequence[Answers], steps: int = 400
) -> tuple[Curve, ...]:
    """Return the error over time of each stacked layer, where the graph shows its output.

    Args:
        subject: The model.
        collected: What the sweep collected.
        steps: The longest sequence that is looked at.
    """
    layer = subject.layer
    if layer is None:
        return ()
    usable = [
        a
        for a in collected
        if a.model is not None
        and a.case == replace(Case(a.case.time, a.case.batch), random_state=a.case.random_state)
        and a.case.time <= steps
    ]
    model = load_if_readable(subject.path)
    if not usable or model is None:
        return ()
    longest = max(usable, key=lambda a: (a.case.time, a.case.random_state))
    return tuple(
        Curve(inside.layer, longest.case, tuple(map(float, inside.errors.max(axis=(1, 2, 3)))))
        for inside in _inside(subject, longest, model, layer)
    )


def _inside(
    subject: ComparedModel, answers: Answers, model: onnx.ModelProto, layer: RecurrentLayer
) -> list[Inside]:
    names = [spec.name for spec in subject.fitted.inputs if spec.name != subject.fitted.lengths]
    arrays = [answers.inputs[name].astype(np.float64) for name in names]
    x = arrays[0].swapaxes(0, 1) if layer.batch_first else arrays[0]
    lengths = answers.inputs[subject.fitted.lengths] if subject.fitted.lengths else None
    trace = recurrence.run(layer, x, arrays[1:] or None, lengths)
    shape = (*x.shape[:2], layer.directions, -1)
    references = [(f"layer {n}", y.reshape(shape)) for n, y in enumerate(trace.layers)]
    dtypes = {spec.name: spec.dtype for spec in subject.declared.inputs}
    feeds = {name: array.astype(dtypes[name]) for name, array in answers.inputs.items()}
    try:
        tensors = _probe(subject, with_every_output(model), feeds)
    except RnnEdgeError:  # a graph whose inner tensors cannot be outputs is not looked into
        return []
    return list(look_inside(tensors, references))


def _probe(
    subject: ComparedModel, model: bytes, feeds: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    if subject.worker is not None:
        answer: dict[str, NDArray[Any]] = subject.worker.call("probe", model, feeds)
        return answer
    from rnnedge_exporters.sandbox.session_server import probe

    return probe(model, feeds)
