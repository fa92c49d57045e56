from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

class Matrix:
    def __init__(
        self,
        weights: Array,
        bias: Array | None,
        units: int,
        inputs: int,
        instructions: str | None = None,
    ) -> None: ...

class IntegerMatrix:
    def __init__(
        self,
        values: Array,
        scales: Array,
        bias: Array | None,
        units: int,
        inputs: int,
        gates: int,
        instructions: str | None = None,
    ) -> None: ...

class Layer:
    def __init__(
        self,
        cell: str,
        nonlinearity: str,
        input_size: int,
        hidden_size: int,
        state_size: int,
        input: Array | IntegerMatrix | None,
        recurrent: Array | IntegerMatrix | None,
        bias: Array | None,
        bias_n: Array | None,
        projection: Array | IntegerMatrix | None,
        instructions: str | None = None,
    ) -> None: ...

class Program:
    def __init__(
        self,
        arena: int,
        constants: tuple[Array, ...],
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        calls: tuple[tuple[Any, ...], ...],
        heavy: bool,
        instructions: str | None = None,
        team: Team | None = None,
    ) -> None: ...
    def run(self, *arrays: Array) -> None: ...
    def bind(self, *arrays: Array) -> Bound: ...

class Team:
    def __init__(self, members: int) -> None: ...

class Bound:
    def run(self) -> None: ...

class Stepper:
    half: Literal[0, 1]
    steps: int
    def __init__(
        self,
        program: Program,
        frame: Array,
        answer: Array,
        copy: Callable[[], Array],
        states: tuple[Array, ...],
        others: tuple[Array, ...],
        tiny: float,
        flushed_every: int,
    ) -> None: ...
    def step(self, frame: Any, *, out: Any = None) -> Any: ...
    def guard(self, fallback: Callable[..., Any], idle: list[bool]) -> bool: ...

class RowStepper:
    def __init__(
        self,
        program: Program,
        rows: int,
        frame: Array,
        make: Callable[[], Array],
        slots: dict[int, int],
        blocks: tuple[Array, ...],
        axes: tuple[int, ...],
        steps: Array,
        tiny: float,
        flushed_every: int,
    ) -> None: ...
    def step(self, streams: Any, frames: Any) -> Array | None: ...

def instructions() -> list[str]: ...
