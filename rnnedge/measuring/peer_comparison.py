"""A model next to those that run its source, each checked at a shape before it is timed there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rnnedge.errors import PeerError, UnequalError
from rnnedge.measuring.peers import Peer, Task, check_peers, make_peer
from rnnedge.measuring.results import OWN, OWN_LABEL
from rnnedge.measuring.shapes import Shape
from rnnedge.measuring.torch_outputs import open_beside
from rnnedge.parity.cases import Case, Inputs, largest_index, make_inputs
from rnnedge.sources.load import Source
from rnnedge_runtime.session import Session

_EXAMPLE = Shape(11, 3)
"""What a peer is exported with: no shape that anybody measures."""


class Beside:
    """The model and its peers.

    Args:
        model: The `.onnx` file.
        source: What it was exported from.
        against: Names of the peers.
        threads: Threads inside one operator, of each.
        folder: Where peers may write files.
        options: What else `Session` takes to open the model.

    Attributes:
        sides: What each side that can be timed is, by its short name.
    """

    def __init__(
        self,
        model: str,
        source: Source,
        against: Sequence[str],
        threads: int,
        folder: Path,
        options: Mapping[str, Any],
    ) -> None:
        """Open the model and make the peers ready; one that does not take the source is refused.

        Raises:
            SourceError: When the source takes other inputs than the model.
            MissingPackageError: When what a peer needs is not installed.
        """
        check_peers(against)
        opened, self._reference = open_beside(model, source)
        self._own = self._reference.held_by(opened)
        module, face = self._reference.module, self._reference.interface
        self._states = None if opened.contract else {p.output: p.input for p in face.states}
        self._model, self._origin = model, source.origin
        self._options = {"threads": threads, **options}
        self._peers: dict[str, Peer] = {}
        self._refused: dict[str, str] = {}
        task = Task(module, face, self._inputs(_EXAMPLE), threads, folder)
        for name in against:
            try:
                self._peers[name] = make_peer(name, task)
            except PeerError as error:
                self._refused[name] = str(error)
        self.sides = {OWN: OWN_LABEL}
        self.sides |= {name: peer.label for name, peer in self._peers.items()}

    def open(self) -> Session:
        """Open the model."""
        return Session(self._model, states=self._states, **self._options)

    def inputs(self, session: Session, shape: Shape) -> Inputs:
        """Return the inputs of a shape that are neither a state nor the lengths."""
        inputs = self._inputs(shape)
        return {spec.name: inputs[spec.name] for spec in session.interface.data_inputs}

    def calls(
        self, session: Session, shape: Shape
    ) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
        """Return what is to be timed at a shape, by side, and why others are not.

        Raises:
            UnequalError: When the model itself does not answer what its source does.
        """
        answers = self._reference.answers(shape)
        run = partial(session.run, self._reference.data(answers))
        own = answers if self._own is self._reference else self._own.answers(shape)
        fault = self._own.fault(own, run().outputs)
        if fault:
            raise UnequalError(
                f"{self._model} does not compute what {self._origin} computes, at {shape}: "
                f"{fault}; rnnedge validate says why"
            )
        calls: dict[str, Callable[[], object]] = {OWN: run}
        not_timed = dict(self._refused)
        for name, peer in self._peers.items():
            try:
                call = peer.bind(answers.inputs)
                outputs = peer.outputs(call, self._reference.interface)
            except PeerError as error:
                not_timed[name] = str(error)
                continue
            fault = self._reference.fault(answers, outputs)
            if fault:
                not_timed[name] = f"it answers something else: {fault}"
            else:
                calls[name] = call
        return calls, not_timed

    def _inputs(self, shape: Shape) -> Inputs:
        face, module = self._reference.interface, self._reference.module
        return make_inputs(face, Case(shape.time, shape.batch), largest_index(module))
