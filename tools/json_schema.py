"""JSON Schema of Python's types: of dataclasses with what their docstrings say."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union

from rnnedge.corpus.comparison import CorpusComparison
from rnnedge.doctor.findings import Examination
from rnnedge.doctor.fixing import Treatment
from rnnedge.measuring.tuning import Candidate
from rnnedge.parity.coverage.found import Coverage
from rnnedge.parity.report import Report
from rnnedge_runtime.engine.info import SessionInfo

Schema = dict[str, Any]

COMPUTED: Mapping[type, Mapping[str, tuple[Any, str]]] = {
    Report: {
        "passed": (bool, "Whether every output was inside tolerance in every case."),
        "verdict": (str, "One sentence, which the command also prints."),
        "not_run": (list[str], "What the comparison left out, each with the way to run it."),
    },
    Coverage: {
        "full": (bool, "Whether the cases have seen all of the file."),
        "missing": (list[str], "What they have not seen, one line each."),
    },
    Examination: {"healthy": (bool, "Whether no finding is an error.")},
    Treatment: {"healthy": (bool, "Whether the new file has no error left.")},
    SessionInfo: {
        "nodes_by_provider": (dict[str, int], "How many nodes run on each provider."),
        "fell_back": (list[Any], "Nodes that run on the CPU although the device is another."),
    },
    CorpusComparison: {
        "passed": (bool, "Whether all is inside the limits."),
        "verdict": (str, "One sentence, which the command also prints."),
        "disagreement": (float | None, "Part of the rows whose largest score differs."),
        "difference": (float | None, "The largest difference."),
        "written": (str | None, "The report, with `-o`."),
    },
    Candidate: {"geometric_mean_ms": (float, "Geometric mean of `p50_ms`.")},
}
"""What `to_dict` adds to the fields of a dataclass."""


class Writer:
    """Writes one schema; dataclasses become definitions that it refers to."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}

    def of(self, kind: Any, description: str = "") -> Schema:
        """Return the schema of a type, or of a dict of properties."""
        schema = self._of(kind)
        return schema | {"description": description} if description else schema

    def object(self, properties: Mapping[str, tuple[Any, str]], optional: str = "") -> Schema:
        """Return the schema of an object with these properties and no others."""
        return {
            "type": "object",
            "properties": {name: self.of(*value) for name, value in properties.items()},
            "required": [name for name in properties if name not in optional.split()],
            "additionalProperties": False,
        }

    def _of(self, kind: Any) -> Schema:
        simple: dict[Any, Schema] = {
            bool: {"type": "boolean"},
            int: {"type": "integer"},
            float: {"type": ["number", "null"]},  # NaN and infinity are null
            str: {"type": "string"},
            None: {"type": "null"},
            types.NoneType: {"type": "null"},
            Path: {"type": "string"},
            Any: {},
        }
        if kind in simple:
            return dict(simple[kind])
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self._dataclass(kind)
        return self._generic(kind, typing.get_origin(kind), typing.get_args(kind))

    def _generic(self, kind: Any, origin: Any, arguments: tuple[Any, ...]) -> Schema:
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin in (Union, types.UnionType):
            return _either([self.of(one) for one in arguments])
        if origin in (dict, collections.abc.Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if origin is tuple and arguments[-1] is not Ellipsis:
            items = [self.of(one) for one in arguments]
            return {"type": "array", "prefixItems": items, "items": False}
        if origin in (tuple, list, collections.abc.Sequence):
            return {"type": "array", "items": self.of(arguments[0])}
        raise TypeError(f"{kind} has no schema: add it to tools/write_schemas.py")

    def _dataclass(self, kind: type) -> Schema:
        name = kind.__name__
        if name not in self.definitions:
            self.definitions[name] = {}  # it may refer to itself
            meanings = attributes(kind)
            hints = typing.get_type_hints(kind)
            properties = {
                field.name: (hints[field.name], meanings.get(field.name, ""))
                for field in dataclasses.fields(kind)
            }
            schema = self.object({**properties, **COMPUTED.get(kind, {})})
            summary = inspect.getdoc(kind) or ""
            self.definitions[name] = {"description": summary.partition("\n")[0]} | schema
        return {"$ref": f"#/$defs/{name}"}


def _either(schemas: list[Schema]) -> Schema:
    """Return one of several schemas; plain types are joined."""
    if all(set(schema) == {"type"} for schema in schemas):
        types_: list[str] = []
        for schema in schemas:
            given = schema["type"]
            types_ += [given] if isinstance(given, str) else given
        return {"type": list(dict.fromkeys(types_))}
    return {"anyOf": schemas}


def attributes(kind: type) -> dict[str, str]:
    """Return the `Attributes` of a docstring in Google's style."""
    section = re.search(r"^Attributes:\n((?:    .*\n?|\n)+)", inspect.getdoc(kind) or "", re.M)
    if section is None:
        return {}
    found = re.findall(r"^    (\w+): ((?:.*\n?)(?:^      +.*\n?)*)", section[1], re.M)
    return {name: " ".join(text.split()) for name, text in found}
