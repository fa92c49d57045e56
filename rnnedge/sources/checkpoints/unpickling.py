"""A pickle as plain data: dictionaries, tensors that are still in the file, and inert stand-ins.

Python's unpickler calls whatever a file names. Here a name is looked up in one table, which holds
`OrderedDict`, sets, and stand-ins for PyTorch's own rebuilding functions, which only note what a
tensor is. Every other name (a configuration, a path, an optimizer, `os.system`) becomes a `Stub`,
which keeps its arguments and runs nothing; no module is imported.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, cast

import torch

from rnnedge.sources.checkpoints.stored import Sealed, Storages, StoredStorage, StoredTensor
from rnnedge_runtime.errors import pass_on_interruption

PersistentLoad = Callable[[Any], Any]
"""From the id of something outside of a pickle to a stand-in for it."""
ReadSaved = Callable[[io.BufferedIOBase], Any]
"""Reads what `torch.save` wrote."""

_MOST_INSTRUCTIONS = 2_000_000
"""Of a pickle; the largest training checkpoints have a tenth. It takes 10 s to look at so many."""

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "QInt8Storage": torch.qint8,
    "QUInt8Storage": torch.quint8,
    "QInt32Storage": torch.qint32,
    "UntypedStorage": torch.uint8,
}
_UNREAD = {
    "_rebuild_sparse_tensor": "a sparse tensor",
    "_rebuild_qtensor": "a quantized tensor",
    "_rebuild_nested_tensor": "a nested tensor",
    "_rebuild_meta_tensor_no_storage": "a tensor on the meta device, without numbers",
    "_rebuild_wrapper_subclass": "a tensor of a custom class",
    "_rebuild_device_tensor_from_numpy": "a tensor of another device",
    "_rebuild_xla_tensor": "a tensor of another device",
}


class Stub:
    """An object of a class that is not loaded; it keeps what the pickle gave it, and runs nothing.

    Attributes:
        arguments: What it was made of.
        attributes: Its state, by name.
        entries: What was put into it by key, for a class that is a dictionary.
    """

    __slots__ = ("arguments", "attributes", "entries")
    arguments: tuple[Any, ...]
    attributes: dict[str, Any]
    entries: dict[Any, Any]
    path = ""
    """Module and name of the class, with a dot between."""

    def __new__(cls, *arguments: Any, **_named: Any) -> Stub:
        """Keep the arguments."""
        made = object.__new__(cls)
        made.arguments, made.attributes, made.entries = arguments, {}, {}
        return made

    def __setstate__(self, state: Any) -> None:
        """Keep a state: a dictionary, or a pair of them where the class has slots."""
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.attributes.update(part)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def __call__(self, *_arguments: Any, **_named: Any) -> Stub:
        """Stand for what calling it would have given."""
        return Stub()

    def append(self, item: Any) -> None:
        """Drop an item of a class that is a list."""

    def extend(self, items: Iterable[Any]) -> None:
        """Drop the items of a class that is a list."""

    def add(self, item: Any) -> None:
        """Drop an item of a class that is a set."""

    @property
    def contents(self) -> dict[str, Any]:
        """Attributes and entries by name."""
        return {str(name): value for name, value in (self.attributes | self.entries).items()}


class StorageKind(Sealed):
    """What `torch.FloatStorage` and its like stand for in a pickle."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class _Function(Sealed):
    """A function that a pickle may call, and cannot change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


def unpickle(
    content: bytes,
    persistent_load: PersistentLoad | None = None,
    read_saved: ReadSaved | None = None,
) -> Any:
    """Read a pickle as plain data.

    Args:
        content: The pickle, as `next_pickle` returned it.
        persistent_load: What its references to the outside stand for; None refuses them.
        read_saved: Reads a storage that was pickled by itself, as the bytes of a separate file;
            None refuses it.

    Raises:
        ValueError: When it is damaged. What a damaged pickle calls may raise anything, and all of
            that is a ValueError too.
    """
    try:
        return _Unpickler(content, persistent_load, read_saved).load()
    except Exception as error:  # what a damaged pickle calls may raise anything
        pass_on_interruption(error)
        raise ValueError(f"{type(error).__name__}: {error}") from error


def next_pickle(file: io.BufferedIOBase) -> bytes:
    """Return the bytes of the pickle that begins where `file` is, and go to its end.

    Raises:
        ValueError: When no whole pickle is there, or it claims more memory than it has contents.
    """
    start = file.tell()
    # What lies in memory sets none aside for what it does not have.
    bounded = cast("IO[bytes]", file if isinstance(file, io.BytesIO) else _Bounded(file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python, on escapes in damaged text
        for count, (instruction, argument, _) in enumerate(pickletools.genops(bounded)):
            if count > _MOST_INSTRUCTIONS:
                raise ValueError(
                    f"it holds more than {_MOST_INSTRUCTIONS:,} objects: save the weights alone, "
                    "torch.save(model.state_dict(), path)"
                )
            # The table of what was pickled grows to the largest number that is put into it.
            if "PUT" in instruction.name and int(argument or 0) > count:
                raise ValueError(f"{instruction.name} {argument} at instruction {count}")
    end = file.tell()
    file.seek(start)
    return file.read(end - start)


class _Bounded:
    """A file that sets no memory aside for bytes that it does not have."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        position = file.tell()
        self._file, self._end = file, file.seek(0, io.SEEK_END)
        file.seek(position)
        self.readline, self.tell = file.readline, file.tell

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes."""
        return self._file.read(min(size, self._end - self._file.tell()))


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        content: bytes,
        persistent_load: PersistentLoad | None,
        read_saved: ReadSaved | None,
    ) -> None:
        # Python 2 wrote names as bytes; errors="surrogateescape" takes those that are not text.
        super().__init__(io.BytesIO(content), encoding="utf-8", errors="surrogateescape")
        self._load, self._read_saved = persistent_load, read_saved
        self._stubs: dict[str, type[Stub]] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        found = _TABLE.get((module, name))
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            found = _Function(self._load_from_bytes)
        if found is None and name in _STORAGES and module.partition(".")[0] == "torch":
            found = StorageKind(_STORAGES[name])
        if found is None and module == "torch":
            dtype = vars(torch).get(name)
            found = dtype if isinstance(dtype, torch.dtype) else None
        return self._stub(f"{module}.{name}") if found is None else found

    def persistent_load(self, pid: Any, /) -> Any:
        if self._load is None:
            raise pickle.UnpicklingError("it refers to something that is not in the file")
        return self._load(pid)

    def _load_from_bytes(self, content: Any) -> Any:
        if self._read_saved is None:
            raise pickle.UnpicklingError("it holds another file")
        return self._read_saved(io.BytesIO(content))

    def _stub(self, path: str) -> type[Stub]:
        if path not in self._stubs:
            self._stubs[path] = type("Stub", (Stub,), {"__slots__": (), "path": path})
        return self._stubs[path]


def stored_storage(kind: Any, key: Any, count: Any, storages: Storages) -> StoredStorage:
    """Note a storage that a pickle refers to.

    Args:
        kind: Its class, as `find_class` gave it.
        key: Which one.
        count: How many numbers are in it.
        storages: What reads it.

    Raises:
        ValueError: When the pickle describes no storage.
    """
    if not isinstance(kind, StorageKind) or type(count) is not int or count < 0:
        raise ValueError("it refers to a storage of an unknown kind")
    return StoredStorage(kind.dtype, str(key), count * kind.dtype.itemsize, storages)


def _tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, dtype: Any, metadata: Any
) -> StoredTensor:
    if not isinstance(storage, StoredStorage):
        return StoredTensor(problem="a tensor of a kind that this version does not know")
    for sizes in ((offset,), shape, stride):
        if not isinstance(sizes, tuple) or any(type(n) is not int or n < 0 for n in sizes):
            raise ValueError("a tensor whose shape is not a tuple of sizes")
    if len(shape) != len(stride) or not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor whose shape and strides differ in rank")
    problem = "a conjugated or negated view" if metadata else ""
    return StoredTensor(dtype, shape, storage, offset, stride, problem)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_rest: Any) -> Any:
    metadata = _rest[2] if len(_rest) > 2 else None
    return _tensor(storage, offset, shape, stride, getattr(storage, "dtype", None), metadata)


def _rebuild_tensor_v3(
    storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, *rest: Any
) -> Any:
    return _tensor(storage, offset, shape, stride, rest[0], rest[1] if len(rest) > 1 else None)


def _rebuild_from_type(function: Any, _type: Any, arguments: Any, _state: Any) -> Any:
    # A call to another function than those below gives what it would give by itself: a stub.
    return function(*arguments) if isinstance(function, _Function) else Stub()


def _first(value: Any, *_rest: Any) -> Any:
    return value


def _size(sizes: Iterable[Any] = ()) -> tuple[Any, ...]:
    return tuple(sizes)


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes in an unknown encoding")
    return text.encode("latin1")


def _unread(problem: str) -> Callable[..., StoredTensor]:
    return lambda *_arguments: StoredTensor(problem=problem)


_READ: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): _first,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    ("torch.tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    ("torch", "Size"): _size,
    ("_codecs", "encode"): _encode,
}

_TABLE: Mapping[tuple[str, str], Any] = {
    **{place: _Function(function) for place, function in _READ.items()},
    **{("torch._utils", n): _Function(_unread(problem)) for n, problem in _UNREAD.items()},
    **{(m, k.__name__): k for m in ("builtins", "__builtin__") for k in (set, frozenset)},
    ("collections", "OrderedDict"): OrderedDict,
}


def entries_of(value: Any) -> dict[str, Any] | None:
    """Return what a dictionary, or a stub that holds something, has in it by name; else None."""
    if isinstance(value, dict):
        return {str(name): item for name, item in cast("dict[Any, Any]", dict.items(value))}
    if isinstance(value, Stub) and (value.attributes or value.entries):
        return value.contents
    return None
