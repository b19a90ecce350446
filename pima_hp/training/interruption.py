"""Signals that ask the command to stop: raised once, wherever it is, and remembered."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AGAIN_S = 0.01
_arrived: list[int] = []
_hook_before = sys.unraisablehook


class Interrupted(BaseException):
    """A signal asked the command to stop; the ledger keeps every finished run."""

    def __init__(self, signum: int) -> None:
        self.exit_code = 128 + signum
        super().__init__(signal.Signals(signum).name)


def listen() -> None:
    """Raise `Interrupted` at the first signal from now on; the second one ends the command at once."""
    _arrived.clear()
    _handle(_interrupt)
    sys.unraisablehook = _unraisable


def stop_listening() -> None:
    """Let the next signal end the process."""
    _handle(signal.SIG_DFL)
    sys.unraisablehook = _hook_before


def asked_to_stop(error: BaseException) -> Interrupted | None:
    """Return the interruption that caused an error, or None.

    A signal that arrives during cleanup can make the cleanup code raise another error. Without `listen`, Python raises
    KeyboardInterrupt, which Lightning turns into SystemExit.
    """
    if isinstance(error, Interrupted):
        return error
    if _arrived:
        return Interrupted(_arrived[0])
    names = {type(each).__name__ for each in (error, error.__context__)}  # the second one is Lightning's
    known = {"KeyboardInterrupt": signal.SIGINT, "SIGTERMException": signal.SIGTERM}
    return next((Interrupted(signum) for name, signum in known.items() if name in names), None)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Defer signals until the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {signum: signal.signal(signum, lambda signum, _: arrived.append(signum)) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        for late in arrived:
            signal.raise_signal(late)


def _handle(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    for signum in SIGNALS:
        signal.signal(signum, handler)


def _interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- the signature of a handler
    _arrived.append(signum)
    _handle(signal.SIG_DFL)
    raise Interrupted(signum)


def _unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    """Send the signal again a moment later where Python ignores errors: in destructors and in calls from C."""
    if isinstance(ignored.exc_value, Interrupted):
        _handle(_interrupt)
        threading.Timer(_AGAIN_S, os.kill, (os.getpid(), _arrived[0])).start()
    else:
        _hook_before(ignored)
