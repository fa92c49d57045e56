"""Interrupts a call where Python runs signal handlers: after a call, and where one begins."""

import sys
from collections.abc import Callable, Iterator


class Interrupted(BaseException):
    """What a signal handler raises."""


def interrupted(call: Callable[[], object], moment: int) -> bool:
    """Run a call, and raise `Interrupted` in it at one moment, from 0; return whether it was."""
    left = moment

    def count(frame, event, _):
        nonlocal left
        if event not in ("call", "c_return") or frame.f_code is interrupted.__code__:
            return
        left -= 1
        if left < 0:
            sys.setprofile(None)
            raise Interrupted

    sys.setprofile(count)
    try:
        call()
    except Interrupted:
        return True
    finally:
        sys.setprofile(None)
    return False


def moments(call: Callable[[], object], *, least: int = 5, most: int = 2000) -> Iterator[int]:
    """Interrupt a call at its first moment, its second and so on; yield after each.

    Raises:
        AssertionError: If it was interrupted fewer than `least` times: then this shows nothing.
    """
    for moment in range(most):
        if not interrupted(call, moment):
            assert moment >= least, "expected a call with more moments in it"
            return
        yield moment
    raise AssertionError(f"expected a call with fewer than {most} moments")
