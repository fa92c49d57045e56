"""Files and folders that are written completely or not at all; every writer of rnnedge uses this.

A file is first written under a temporary name in the folder of its target, `.rnnedge-PID-RANDOM`
with the suffix of the target, flushed to the disk, and then renamed. If a process is killed, the
next write to that folder removes its temporary file.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from rnnedge_runtime.errors import RnnEdgeError
from rnnedge_runtime.write_target import (
    Kinds,
    Target,
    already_there,
    cannot_write,
    check_folder,
    check_target,
    suffix_of,
)

if sys.platform != "win32":
    import fcntl

_TEMPORARY = re.compile(r"\.rnnedge-([1-9][0-9]{0,9})-[0-9a-f]{16}(\.[a-z]{1,8})?")
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | getattr(os, "O_BINARY", 0)
_LOOK = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0)
_NEW, _OLD = "new", "old"
"""Subfolders of the temporary folder while a folder is written."""
_active: set[str] = set()
"""The temporary names that this process is using."""
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@contextmanager
def atomic_file(
    path: Target,
    kinds: Kinds,
    *,
    protected: Iterable[Target | None] = (),
    force: bool = False,
    replace: bool = True,
) -> Iterator[BinaryIO]:
    """Open a new file that is renamed to `path` when the block ends without an error.

    On an error or an interrupt it is removed, and an existing file at `path` stays. After a `flush`
    the content can be read under the temporary name, `.name`.

    Args:
        path: The file to write.
        kinds: As in `check_target`.
        protected: As in `check_target`.
        force: As in `check_target`.
        replace: As in `check_target`.

    Raises:
        WriteError: If the file must not or cannot be written.
    """
    protected = tuple(protected)

    def check() -> Path:
        return check_target(path, kinds, protected=protected, force=force, replace=replace)

    target = check()
    with _temporary(target, suffix_of(target, kinds)) as temporary, _os_errors(path):
        try:
            with open(temporary, "w+b", opener=_create) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # or a loss of power may leave an empty file
                if sys.platform == "win32":
                    file.close()  # it renames no open file; elsewhere the lock is kept until then
                check()  # the block may have taken minutes
                if replace:
                    temporary.replace(target)
                else:
                    _take_name(temporary, target, path)
            _sync(target.parent)
        finally:
            _remove(temporary)


def write_file(
    path: Target,
    content: bytes,
    kinds: Kinds,
    *,
    protected: Iterable[Target | None] = (),
    force: bool = False,
    replace: bool = True,
) -> None:
    """Write bytes to a file, as `atomic_file` does.

    Raises:
        WriteError: If the file must not or cannot be written.
    """
    with atomic_file(path, kinds, protected=protected, force=force, replace=replace) as file:
        file.write(content)


@contextmanager
def atomic_folder(path: Target) -> Iterator[Path]:
    """Create a new folder that is renamed to `path` when the block ends without an error.

    An existing folder is replaced; the caller checks whether it may be. That takes two renames: if
    the process is killed between them, `restore_folder` gives the old folder its name back.

    Raises:
        WriteError: If the folder cannot be written.
    """
    target = check_folder(path)
    with _temporary(target) as temporary, _os_errors(path):
        new, old = temporary / _NEW, temporary / _OLD / target.name
        try:
            temporary.mkdir(0o700)
            with _locked(temporary):
                new.mkdir()
                old.parent.mkdir()
                yield new
                for inner in (*new.rglob("*"), new):
                    _sync(inner)
                check_folder(path)
                if os.path.lexists(target):
                    target.rename(old)
                new.rename(target)
                _sync(target.parent)
        finally:
            _remove(temporary)


def restore_folder(path: Target) -> None:
    """Give a folder its name back if a process was killed while it replaced that folder."""
    target = Path(path).absolute()
    if os.path.lexists(target):
        return
    for leftover in _leftovers(target.parent):
        _put_back(leftover, target.name)


def remove_own_leftovers(folder: Target) -> None:
    """Remove what this process is writing to a folder, since it ends before it is done.

    Args:
        folder: The folder.
    """
    for name in _names(Path(folder)):
        match = _TEMPORARY.fullmatch(name)
        if match and int(match[1]) == os.getpid():
            _remove(Path(folder) / name)


def remove_leftovers(folder: Target) -> None:
    """Remove what dead processes left in a folder.

    Args:
        folder: The folder.
    """
    for leftover in _leftovers(Path(folder)):
        _remove(leftover)


@contextmanager
def _temporary(target: Path, suffix: str = "") -> Iterator[Path]:
    """Provide an unused name in the folder of `target`; remove what dead processes left there."""
    remove_leftovers(target.parent)
    name = f".rnnedge-{os.getpid()}-{secrets.token_hex(8)}{suffix}"
    _active.add(name)
    try:
        yield target.with_name(name)
    finally:
        _active.discard(name)


@contextmanager
def _os_errors(path: Target) -> Iterator[None]:
    """Turn an `OSError` that the block raises into a `WriteError`."""
    try:
        yield
    except RnnEdgeError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error


def _remove(leftover: Path) -> None:
    """Remove what is left of a write, as far as possible.

    A folder that was moved aside gets its name back; if that fails, it is kept.
    """
    with suppress(OSError):
        if leftover.is_dir():
            if all(_put_back(leftover, name) for name in _names(leftover / _OLD)):
                shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def _create(name: str, _flags: int) -> int:
    handle = os.open(name, _CREATE, 0o666)  # less what the umask takes away
    _lock(handle)
    return handle


def _take_name(temporary: Path, target: Path, path: Target) -> None:
    """Rename without replacing a file that another process has created in the meantime."""
    try:
        os.link(temporary, target)
    except FileExistsError as error:
        raise already_there(path) from error
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        temporary.rename(target)


def _sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk if the system supports it."""
    with suppress(OSError):  # not every system can open or flush a folder
        handle = os.open(path, _LOOK)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _leftovers(folder: Path) -> Iterator[Path]:
    """Yield the temporary files and folders that dead processes of this user left in a folder."""
    for name in _names(folder):
        match = _TEMPORARY.fullmatch(name)
        if match and _is_left(folder / name, int(match[1])):
            yield folder / name


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # a folder may be writable and not readable
        return []


def _is_left(path: Path, process: int) -> bool:
    """Whether no process writes to a temporary file or folder any more.

    The writer may run in another container, where the same number, even that of this process, is
    another process: a lock shows that it is alive, if the file system supports locks.
    """
    own = process == os.getpid()
    if sys.platform == "win32" or (path.name in _active if own else _is_alive(process)):
        return False
    with suppress(OSError):
        handle = os.open(path, _LOOK)
        try:
            if os.fstat(handle).st_uid == os.geteuid():
                locked = _lock(handle)
                return locked is True or (locked is None and not own)
        finally:
            os.close(handle)
    return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # a process of another user
        return True
    return not _has_ended(process)


def _has_ended(process: int) -> bool:
    """Whether a process has ended and its parent has not asked how, which may never happen."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[:1] == ["Z"]
    except OSError:  # no Linux, or it is gone by now
        return False


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder while the block runs, if the system supports it."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, _LOOK)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> bool | None:
    """Lock an open file until it is closed; False if it is locked, None if locks do not work."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _put_back(leftover: Path, name: str) -> bool:
    """Give a folder that was moved aside its name back; return whether that name exists then."""
    old, target = leftover / _OLD / name, leftover.parent / name
    if os.path.lexists(old) and not os.path.lexists(target):
        with suppress(OSError):
            old.rename(target)
    return os.path.lexists(target)
