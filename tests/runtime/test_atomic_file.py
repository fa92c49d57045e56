"""Files and folders are written whole or not at all, whatever ends the writer."""

import errno
import os
import secrets
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import rnnedge_runtime
from rnnedge_runtime import WriteError
from rnnedge_runtime.atomic_file import (
    atomic_file,
    atomic_folder,
    remove_own_leftovers,
    restore_folder,
    write_file,
)

if sys.platform == "win32":
    pytest.skip("signals, locks and links are those of POSIX", allow_module_level=True)

import fcntl

KINDS = {".txt": lambda file: file.read(3) == b"old"}


def contents(folder):
    """Return every file below a folder with its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_until(path, error):
    """Leave the block early."""
    with atomic_file(path, KINDS) as file:
        file.write(b"half")
        raise error


def write_while(path, put, **options):
    """Put something in place of the file while it is written."""
    with atomic_file(path, KINDS, **options) as file:
        file.write(b"new")
        path.write_bytes(put)


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    return path


@pytest.fixture(scope="module")
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# --- one file -------------------------------------------------------------------------------------


def test_old_file_stays_until_the_new_one_is_whole(target, tmp_path):
    with atomic_file(target, KINDS) as file:
        file.write(b"half of the n")
        file.flush()
        assert target.read_bytes() == b"old"
        assert Path(file.name).read_bytes() == b"half of the n"
        assert Path(file.name).suffix == ".txt"
        file.seek(0)
        file.truncate()
        file.write(b"new")
    assert contents(tmp_path) == {"a.txt": b"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_nothing_is_left_when_the_block_ends_early(error, target, tmp_path):
    with pytest.raises(error):
        write_until(target, error)
    assert contents(tmp_path) == {"a.txt": b"old"}


def test_nothing_is_left_when_numpy_is_interrupted(target, tmp_path):
    class Interrupting:
        def __array__(self, dtype=None, copy=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), atomic_file(target, KINDS) as file:
        np.savez(file, a=np.zeros(3), b=Interrupting())
    assert contents(tmp_path) == {"a.txt": b"old"}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_the_system_refuses_is_one_line(call, target, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(WriteError, match=r"a\.txt: cannot be written: No space left on device$"):
        write_file(target, b"new", KINDS)
    assert contents(tmp_path) == {"a.txt": b"old"}


def test_file_and_folder_are_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_mode))
    write_file(tmp_path / "a.txt", b"new", KINDS)
    assert [stat.S_ISDIR(mode) for mode in synced] == [False, True]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_file_is_as_readable_as_any_other(mask, tmp_path):
    before = os.umask(mask)
    try:
        write_file(tmp_path / "a.txt", b"new", KINDS)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask


def test_planted_link_is_not_followed(target, tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    planted = tmp_path / f".rnnedge-{os.getpid()}-{'0' * 16}.txt"
    planted.symlink_to(victim)
    with pytest.raises(WriteError, match="cannot be written: File exists"):
        write_file(target, b"new", KINDS)
    assert victim.read_bytes() == b"mine"
    assert target.read_bytes() == b"old"


def test_link_is_replaced_and_not_what_it_leads_to(target, tmp_path):
    link = tmp_path / "latest.txt"
    link.symlink_to(target)
    write_file(link, b"new", KINDS)
    assert not link.is_symlink()
    assert contents(tmp_path) == {"a.txt": b"old", "latest.txt": b"new"}


def test_link_that_leads_nowhere_is_replaced(tmp_path):
    (tmp_path / "a.txt").symlink_to(tmp_path / "gone")
    write_file(tmp_path / "a.txt", b"new", KINDS)
    assert contents(tmp_path) == {"a.txt": b"new"}


def test_longest_name_that_a_folder_takes(tmp_path):
    name = "a" * 251 + ".txt"
    write_file(tmp_path / name, b"new", KINDS)
    assert contents(tmp_path) == {name: b"new"}


def test_target_is_looked_at_again_before_it_is_replaced(target):
    with pytest.raises(WriteError, match=r"the file there does not hold what a \.txt file holds"):
        write_while(target, b"mine")
    assert target.read_bytes() == b"mine"


@pytest.mark.parametrize("links", [True, False], ids=["links", "no_links"])
def test_name_that_nobody_gave_is_only_taken_when_it_is_free(links, target, tmp_path, monkeypatch):
    if not links:

        def link(*arguments):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", link)
    with pytest.raises(WriteError, match="already exists"):
        write_file(target, b"new", KINDS, replace=False)
    write_file(tmp_path / "b.txt", b"new", KINDS, replace=False)
    assert contents(tmp_path) == {"a.txt": b"old", "b.txt": b"new"}


def test_name_that_is_taken_in_the_meantime(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "lexists", lambda path: False)  # the check has passed already
    with pytest.raises(WriteError, match=r"a\.txt: already exists"):
        write_while(tmp_path / "a.txt", b"old", replace=False)
    assert contents(tmp_path) == {"a.txt": b"old"}


def test_threads_write_to_one_folder(tmp_path):
    failed = []

    def write(number):
        try:
            for _ in range(20):
                write_file(tmp_path / f"{number}.txt", b"old", KINDS)
        except WriteError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert contents(tmp_path) == {f"{number}.txt": b"old" for number in range(4)}


# --- what a process that was killed leaves --------------------------------------------------------

WRITER = """
import os, signal, sys, time
from rnnedge_runtime.atomic_file import atomic_file
with atomic_file(sys.argv[1], {".txt": lambda file: True}) as file:
    file.write(b"half")
    file.flush()
    print("written", flush=True)
    time.sleep(60)
"""


def start(code, *arguments):
    """Start a process that imports what this one does."""
    root = Path(rnnedge_runtime.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_leftover_of_a_killed_process_goes_with_the_next_write(target, tmp_path):
    process = start(WRITER, target)
    assert process.stdout.readline() == "written\n"
    (left,) = set(contents(tmp_path)) - {"a.txt"}
    assert left.startswith(f".rnnedge-{process.pid}-")
    assert left.endswith(".txt")
    write_file(tmp_path / "b.txt", b"old", KINDS)
    assert left in contents(tmp_path)  # its process lives
    process.send_signal(signal.SIGKILL)
    process.communicate()
    write_file(tmp_path / "b.txt", b"new", KINDS)
    assert contents(tmp_path) == {"a.txt": b"old", "b.txt": b"new"}


def test_process_that_is_interrupted_leaves_nothing(target, tmp_path):
    process = start(WRITER, target)
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert contents(tmp_path) == {"a.txt": b"old"}


OTHER_NAMES = [
    ".rnnedge-{}",
    ".rnnedge-{}-0123456789abcde",
    ".rnnedge-{}-0123456789abcdef0",
    ".rnnedge-{}-0123456789ABCDEF",
    ".rnnedge-{}-0123456789abcdef.txt.bak",
    ".rnnedge-{}-0123456789abcdef.t x",
    ".rnnedge-{}x-0123456789abcdef",
    ".rnnedge--{}-0123456789abcdef",
    ".rnnedge-0{}-0123456789abcdef",
    "rnnedge-{}-0123456789abcdef",
    ".a.txt.{}",
]


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_file_that_is_named_otherwise_stays(name, dead, tmp_path):
    (tmp_path / name.format(dead)).write_bytes(b"mine")
    write_file(tmp_path / "a.txt", b"new", KINDS)
    assert contents(tmp_path) == {"a.txt": b"new", name.format(dead): b"mine"}


def test_link_that_is_named_like_a_leftover_stays(dead, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "mine").write_bytes(b"mine")
    (tmp_path / f".rnnedge-{dead}-0123456789abcdef").symlink_to(victim)
    write_file(tmp_path / "a.txt", b"new", KINDS)
    assert contents(victim) == {"mine": b"mine"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")
def test_leftover_of_a_process_that_nobody_waited_for(target, tmp_path):
    """In a container the first process may be none that does."""
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    process.stdout.read()
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        pass
    (tmp_path / f".rnnedge-{process.pid}-0123456789abcdef.txt").write_bytes(b"half")
    write_file(target, b"new", KINDS)
    assert contents(tmp_path) == {"a.txt": b"new"}
    process.wait()
    process.stdout.close()


def test_a_process_that_ends_early_removes_what_it_writes(target, dead, tmp_path):
    other = f".rnnedge-{dead}-0123456789abcdef.txt"
    (tmp_path / f".rnnedge-{os.getpid()}-0123456789abcdef.txt").write_bytes(b"half")
    (tmp_path / other).write_bytes(b"half")
    remove_own_leftovers(tmp_path)
    assert contents(tmp_path) == {"a.txt": b"old", other: b"half"}


def test_leftover_of_the_same_number_in_an_earlier_container(tmp_path):
    left = tmp_path / f".rnnedge-{os.getpid()}-0123456789abcdef.txt"
    left.write_bytes(b"half")
    write_file(tmp_path / "a.txt", b"new", KINDS)
    assert contents(tmp_path) == {"a.txt": b"new"}


def test_what_this_process_writes_is_no_leftover(tmp_path):
    with atomic_file(tmp_path / "a.txt", KINDS) as file:
        file.write(b"new")
        write_file(tmp_path / "b.txt", b"new", KINDS)
    assert contents(tmp_path) == {"a.txt": b"new", "b.txt": b"new"}


@pytest.mark.parametrize("own", [False, True], ids=["dead", "own"])
def test_what_another_container_writes_is_no_leftover(own, dead, tmp_path):
    """There a number means another process; the lock shows that it lives."""
    left = tmp_path / f".rnnedge-{os.getpid() if own else dead}-0123456789abcdef.txt"
    left.write_bytes(b"half")
    with left.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_file(tmp_path / "a.txt", b"new", KINDS)
        assert left.read_bytes() == b"half"


# --- a folder -------------------------------------------------------------------------------------


def write_folder(path, text=b"new", error=None):
    with atomic_folder(path) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a").write_bytes(text)
        if error:
            raise error


@pytest.fixture
def vectors(tmp_path):
    write_folder(tmp_path / "vectors", b"old")
    return tmp_path / "vectors"


OLD, NEW = {"vectors/inner/a": b"old"}, {"vectors/inner/a": b"new"}


def test_folder_is_replaced_whole(vectors, tmp_path):
    (vectors / "inner" / "more").write_bytes(b"old")
    write_folder(vectors)
    assert contents(tmp_path) == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["vectors"]


def test_folder_is_as_readable_as_any_other(vectors, tmp_path):
    (tmp_path / "other").mkdir()
    assert vectors.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_folder_around_is_the_current_one(vectors, tmp_path, monkeypatch):
    monkeypatch.chdir(vectors)
    write_folder(".")
    monkeypatch.chdir(tmp_path)
    assert contents(tmp_path) == NEW


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_old_folder_stays_when_the_block_ends_early(error, vectors, tmp_path):
    with pytest.raises(error):
        write_folder(vectors, error=error)
    assert contents(tmp_path) == OLD


def interrupt_renames(monkeypatch, which):
    """Interrupt the renames of which `which(path)` is true."""
    rename = Path.rename

    def interrupted(path, target):
        if which(path):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)


def test_old_folder_is_put_back_when_the_new_one_is_interrupted(vectors, tmp_path, monkeypatch):
    interrupt_renames(monkeypatch, lambda path: path.name == "new")
    with pytest.raises(KeyboardInterrupt):
        write_folder(vectors)
    assert contents(tmp_path) == OLD


def test_old_folder_is_never_removed_while_it_has_no_name(vectors, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        interrupt_renames(patched, lambda path: path != vectors)  # putting it back, too
        with pytest.raises(KeyboardInterrupt):
            write_folder(vectors)
        assert not vectors.exists()
    restore_folder(vectors)
    assert OLD.items() <= contents(tmp_path).items()


SWAPPER = """
import os, signal, sys
from pathlib import Path
from rnnedge_runtime.atomic_file import atomic_folder
rename = Path.rename
def killed(path, target):
    if path.name == "new":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)
Path.rename = killed
with atomic_folder(sys.argv[1]) as folder:
    (folder / "a").write_bytes(b"new")
"""


@pytest.fixture
def halfway(vectors):
    """A folder whose writer was killed between two steps."""
    process = start(SWAPPER, vectors)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not vectors.exists()
    return vectors


def test_old_folder_is_there_at_the_next_read(halfway):
    restore_folder(halfway)
    assert contents(halfway) == {"inner/a": b"old"}


def test_old_folder_is_there_after_the_next_write(halfway, tmp_path):
    write_file(tmp_path / "a.txt", b"new", KINDS)
    assert contents(tmp_path) == {**OLD, "a.txt": b"new"}


def test_old_folder_does_not_take_the_place_of_another(halfway, tmp_path):
    write_folder(halfway)
    restore_folder(halfway)
    assert contents(tmp_path) == NEW


def test_nothing_is_put_back_where_nothing_is_missing(tmp_path):
    restore_folder(tmp_path / "none" / "vectors")
    restore_folder(tmp_path / "vectors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.txt", "pipe"])
def test_folder_in_the_place_of_something_else(name, target, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WriteError, match="expected the name of a folder to write, found a "):
        write_folder(tmp_path / name)
    assert target.read_bytes() == b"old"
