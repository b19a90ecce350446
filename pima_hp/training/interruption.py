"""Signals that ask the command to stop: raised once, wherever it is, and remembered."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from threading import Timer
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AGAIN_S = 0.01
_arrived: list[int] = []


class Interrupted(BaseException):
    """A signal asked the command to stop; the ledger keeps every finished run."""

    def __init__(self, signum: int) -> None:
        self.exit_code = 128 + signum
        super().__init__(signal.Signals(signum).name)


def listen() -> None:
    """Raise `Interrupted` at the first signal from now on; the second one ends the command at once."""
    _arrived.clear()
    _handle(_interrupt)
    sys.unraisablehook = functools.partial(_unraisable, sys.unraisablehook)


def stop_listening() -> None:
    """Let the next signal end the process, as it does where nothing listens."""
    _handle(signal.SIG_DFL)
    if isinstance(sys.unraisablehook, functools.partial):
        (sys.unraisablehook,) = sys.unraisablehook.args


def asked_to_stop(error: BaseException) -> Interrupted | None:
    """Return the interruption that caused an error, or None.

    A signal that arrives during cleanup can make the cleanup code raise another error. Lightning raises
    KeyboardInterrupt where Python's own handler would have.
    """
    if isinstance(error, Interrupted):
        return error
    if _arrived:
        return Interrupted(_arrived[0])
    return Interrupted(signal.SIGINT) if isinstance(error, KeyboardInterrupt) else None


def _handle(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    for signum in SIGNALS:
        signal.signal(signum, handler)


def _interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- the signature of a handler
    _arrived.append(signum)
    _handle(signal.SIG_DFL)
    raise Interrupted(signum)


def _unraisable(before: Callable[[Any], Any], ignored: "sys.UnraisableHookArgs") -> None:
    """Ask again a moment later where Python ignores errors: in destructors and in calls from C."""
    if not isinstance(ignored.exc_value, Interrupted):
        before(ignored)
        return
    _handle(_interrupt)
    Timer(_AGAIN_S, os.kill, (os.getpid(), _arrived[0])).start()
