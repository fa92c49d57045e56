"""The tested table of runtimes: what each made of the files that `benchmarks.runtimes` exports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple, TypeAlias

from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.reading.recurrence import RecurrentNode
from rnnedge_exporters.option_values import INTEGER_LOWERINGS
from rnnedge_runtime.contract import Contract, LayerInfo

Status: TypeAlias = Literal["right", "some sizes refused", "refused", "wrong"]
Precision: TypeAlias = Literal["float32", "float16", "int8 stored", "int8 computed"]
TABLE = "runtimes.json"
_WORST: tuple[Status, ...] = ("right", "some sizes refused", "refused", "wrong")


class Form(NamedTuple):
    """What a recurrent layer is to a runtime, the key of a row.

    Attributes:
        cell: `rnn`, `rnn relu`, `lstm`, `gru` or `lstm projected`.
        lowering: The ONNX form.
        precision: What its weights are stored in and computed in.
        bidirectional: Whether it runs in both directions.
        lengths: Whether rows end at their own lengths.
    """

    cell: str
    lowering: str
    precision: Precision = "float32"
    bidirectional: bool = False
    lengths: bool = False

    def __str__(self) -> str:
        """Return the form in words."""
        options = ["both directions"] * self.bidirectional + ["lengths"] * self.lengths
        return ", ".join([f"{self.cell} as {self.lowering}", self.precision, *options])


@dataclass(frozen=True, slots=True)
class Result:
    """What a runtime made of a row.

    Attributes:
        status: `right` where all runs gave what they should, `wrong` where one gave something else,
            `refused` where all were refused, `some sizes refused` where a few were and none was
            wrong.
        error: The largest difference of the runs that were right, or of the wrong ones.
        said: What was wrong, or what the runtime said when it refused.
        form: The row.
    """

    status: Status
    error: float
    said: str
    form: Form


@dataclass(frozen=True, slots=True)
class RuntimeTable:
    """The whole table.

    Attributes:
        date: When it was made.
        versions: The version of each runtime that ran.
        results: What each made of each row, by the row and the name.
    """

    date: str
    versions: Mapping[str, str]
    results: Mapping[Form, Mapping[str, Result]]

    def expect(self, runtime: str, forms: Iterable[Form]) -> Result | None:
        """Return the worst of what a runtime makes of layers, None where one is unknown.

        A form without a row is known by two: that of its options in float32, and that of its
        precision without options. It is right where both are, and else as the worse one.

        Args:
            runtime: One of `versions`.
            forms: The layers.

        Returns:
            The worst result, or None.
        """
        found = [self._expect_one(runtime, form) for form in forms]
        known = [result for result in found if result is not None]
        worst = max(known, key=_badness, default=None)
        if len(known) < len(found) and (worst is None or worst.status == "right"):
            return None
        return worst

    def _expect_one(self, runtime: str, form: Form) -> Result | None:
        plain = form._replace(bidirectional=False, lengths=False)
        parts = [form] if form in self.results else [plain, form._replace(precision="float32")]
        rows = [self.results.get(part, {}).get(runtime) for part in parts]
        known = [row for row in rows if row is not None]
        worst = max(known, key=_badness, default=None)
        if len(known) < len(parts) and (worst is None or worst.status == "right"):
            return None
        return worst

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        rows = [
            {
                **form._asdict(),
                "results": {
                    name: {"status": r.status, "error": float(f"{r.error:.1e}"), "said": r.said}
                    for name, r in results.items()
                },
            }
            for form, results in self.results.items()
        ]
        return {"date": self.date, "versions": dict(self.versions), "rows": rows}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RuntimeTable:
        """Read what `to_dict` returned.

        Args:
            record: That.

        Returns:
            The table.
        """
        results = {}
        for row in record["rows"]:
            form = Form(**{field: row[field] for field in Form._fields})
            results[form] = {name: Result(form=form, **r) for name, r in row["results"].items()}
        return cls(record["date"], record["versions"], results)


@cache
def load_table() -> RuntimeTable:
    """Return the table that was made last.

    Returns:
        The table of `docs/runtimes.md`.
    """
    text = files("rnnedge.doctor").joinpath(TABLE).read_text(encoding="utf-8")
    return RuntimeTable.from_dict(json.loads(text))


def forms_of(subject: Subject) -> list[Form]:
    """Return what the recurrent layers of a model are to a runtime.

    Args:
        subject: The model.

    Returns:
        One form for each layer; a file of other makers has those of its operators, and a form that
        no row has where it has others that loop.
    """
    contract = subject.file.contract
    if contract is not None:
        return [_form_of_layer(layer, contract) for layer in contract.layers]
    forms = [_form_of_node(subject, cell) for cell in subject.cells]
    other = [node.op_type for node in subject.file.nodes() if node.op_type in _LOOPS]
    return forms + [Form("recurrence", operator) for operator in other]


_LOOPS = ("Scan", "Loop", "DynamicQuantizeLSTM")


def _form_of_layer(layer: LayerInfo, contract: Contract) -> Form:
    cell: str = "lstm projected" if layer.proj_size else layer.cell
    cell += " relu" if layer.nonlinearity == "relu" else ""
    precision: Precision = "float16" if contract.dtype == "float16" else "float32"
    if layer.lowering in INTEGER_LOWERINGS:
        precision = "int8 computed"
    elif contract.quantization is not None:
        precision = "int8 stored"
    lengths = contract.interface.lengths is not None
    return Form(cell, layer.lowering, precision, layer.bidirectional, lengths)


def _form_of_node(subject: Subject, node: RecurrentNode) -> Form:
    cell = node.op.lower()
    names = {name.lower() for name in node.activations}
    if node.op == "RNN" and names != {"tanh"}:
        cell = f"rnn {' '.join(sorted(names))}"
    weights = subject.file.constant(node.tensor(1))
    half = weights is not None and weights.dtype == "float16"
    lengths = bool(node.lengths) and not subject.file.is_constant(node.lengths)
    both = node.direction != "forward"
    return Form(cell, "operator", "float16" if half else "float32", both, lengths)


def _badness(result: Result) -> tuple[int, float]:
    return _WORST.index(result.status), result.error
