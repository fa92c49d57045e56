"""Latency of the model and of PyTorch eager, at a few shapes, one thread on both sides."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from rnnedge.parity.cases import Case, largest_index, make_inputs
from rnnedge.parity.results import Timing
from rnnedge.parity.runners import runner_of
from rnnedge_exporters.sandbox.session import IsolatedSession
from rnnedge_runtime import RnnEdgeError, Session
from rnnedge_runtime.contract import Interface
from rnnedge_runtime.latency import measure

SHAPES = ((1, 1), (100, 1), (100, 8))
_SECONDS = 0.2


def time_beside_torch(
    session: Session | IsolatedSession, interface: Interface, module: nn.Module
) -> tuple[Timing, ...]:
    """Return median times; shapes that one of the two refuses are left out.

    Args:
        session: The model, opened with one thread.
        interface: Which inputs are which.
        module: The source.
    """
    eager = runner_of(module)(module, interface, torch.float32)
    threads = torch.get_num_threads()
    timings = []
    try:
        torch.set_num_threads(1)
        for time, batch in SHAPES:
            case = Case(time, batch)
            inputs = make_inputs(interface, case, largest_index(module))
            lengths = inputs[interface.lengths] if interface.lengths else None
            state = {spec.name: inputs[spec.name] for spec in interface.state_inputs} or None
            data = {spec.name: inputs[spec.name] for spec in interface.data_inputs}
            try:
                if isinstance(session, IsolatedSession):
                    model = session.latency(data, lengths=lengths, state=state, seconds=_SECONDS)
                else:
                    run = partial(session.run, data, lengths=lengths, state=state)
                    model = measure(run, seconds=_SECONDS).p50
                own = measure(partial(eager, inputs, case), seconds=_SECONDS)
            except RnnEdgeError:
                continue
            timings.append(Timing(time, batch, model, own.p50))
    finally:
        torch.set_num_threads(threads)
    return tuple(timings)
