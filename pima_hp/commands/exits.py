"""How a command ends: errors as one line and an exit code, signals, what is kept."""

import functools
import gc
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from pima_hp.errors import InputError, PimaError, StorageError
from pima_hp.training.interruption import Interrupted, asked_to_stop, listen, stop_listening

_FULL_ERROR = "HYDRA_FULL_ERROR"


@dataclass
class Command:
    """The command that is running.

    Attributes:
        arguments: of the command line.
        study: the study's folder, once it is known.
        made_up: whether the study has a name that this command made up.
        began: of time.perf_counter.
        closing: what is released when the command ends, the lock of the study.
    """

    arguments: Sequence[str]
    study: Path | None = None
    made_up: bool = False
    began: float = field(default_factory=time.perf_counter)
    closing: ExitStack = field(default_factory=ExitStack)


_current: ContextVar[Command | None] = ContextVar("command", default=None)


def current_command() -> Command:
    """Return the command that is running; one without arguments where code runs outside any."""
    if (running := _current.get()) is None:
        _current.set(running := Command(()))
    return running


class Ended(BaseException):
    """Carries an error out of a Hydra callback, where Hydra would turn an Exception into a warning."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(str(error))


def command(main: Callable[[], object]) -> Callable[[], None]:
    """Run a Hydra application so that errors are one line each and the exit code tells how it ended.

    Exit codes are those of `pima_hp.errors`; 130 and 143 after SIGINT and SIGTERM. HYDRA_FULL_ERROR=1 shows tracebacks.
    """

    @functools.wraps(main)
    def run() -> None:
        code = exit_code(main)
        # Python would look once more, for seconds, at all that a large sweep has composed before it ends. Where Triton
        # was imported, the binding that it is built with would report as leaked what is not looked at.
        if "triton" not in sys.modules:
            gc.freeze()
        sys.exit(code)

    return run


def exit_code(main: Callable[[], object]) -> int:
    """Run a Hydra application with the arguments in `sys.argv`; say in a line what went wrong; return the exit code."""
    from pima_hp.commands.files import check_arguments

    sys.argv[1:] = flags_first(sys.argv[1:])
    running = Command(tuple(sys.argv[1:]))
    token = _current.set(running)
    show_traces = os.environ.get(_FULL_ERROR) == "1"
    os.environ[_FULL_ERROR] = "1"  # errors come to us instead of Hydra's own printer
    listen()
    try:
        check_arguments(running.arguments)
        main()
    except BaseException as raised:  # noqa: BLE001 -- raised again, or told in a line
        error = raised.error if isinstance(raised, Ended) else raised
        stop = asked_to_stop(error)
        return _stopped(stop, running) if stop else _ended(error, running, show_traces=show_traces)
    finally:
        running.closing.close()
        stop_listening()
        _current.reset(token)
        if not show_traces:
            os.environ.pop(_FULL_ERROR, None)
    return 0


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with overrides last: Hydra's parser refuses `optimizer=adam -m seed=1,2`."""
    overrides = [
        text
        for before, text in zip(["", *arguments], arguments, strict=False)
        if not text.startswith("-") and ("=" in text or text[:1] == "~") and before not in _TAKE_A_VALUE
    ]
    flags = list(arguments)
    for text in overrides:
        flags.remove(text)
    return [*flags, *overrides]


_TAKE_A_VALUE = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p")


def say(text: str) -> None:
    """Print lines for the user on standard error; control characters are shown as escapes."""
    sys.stderr.write(f"{printable(text)}\n")


def printable(text: str) -> str:
    """Return a text with control characters escaped, so that it cannot control the terminal."""
    kept = "\n\t"
    return "".join(c if c in kept or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _stopped(stop: Interrupted, running: Command) -> int:
    """Say what is kept and how to resume."""
    stop_listening()  # Lightning puts handlers back that were there before it
    found, again = "", ""
    if running.study:
        from pima_hp.commands.study import tally

        with suppress(PimaError):
            found = tally(running.study)
        again = f"study={running.study.name}" if running.made_up else ""
    resume = shlex.join(["pima-hp-train", *running.arguments, *filter(None, [again])])
    say(f"stopped by {stop}: {found or 'nothing was trained'}; to resume: {resume}")
    return stop.exit_code


def _ended(error: BaseException, running: Command, *, show_traces: bool) -> int:
    """Print an error as one line and return the exit code; raise errors that are bugs, or all on request."""
    if isinstance(error, BrokenPipeError):  # the reader of our output has gone: `pima-hp-train --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        return error.code or 0
    if show_traces:
        raise error
    if isinstance(error, PimaError):
        prefix = "refused: " if isinstance(error, InputError) else ""
        say("\n".join(f"{prefix}{line}" for line in str(error).splitlines()))
        return error.exit_code
    if isinstance(error, Exception):
        from pima_hp.commands.explain import explain, is_of_hydra

        if is_of_hydra(error):
            say(f"refused: {explain(error)}")
            return InputError.exit_code
    if isinstance(error, OSError):  # of a file of Hydra's; ours come as a StorageError
        from pima_hp.ledger.files import storage_error

        say(str(storage_error(error, Path(error.filename) if error.filename else running.study or Path.cwd())))
        return StorageError.exit_code
    raise error
