"""How a command ends: one line and an exit code for an error; 130 or 143 and what was kept after a signal."""

import functools
import gc
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from pima_hp.errors import InputError, PimaError
from pima_hp.training.interruption import asked_to_stop, listen, stop_listening

_FULL_ERROR = "HYDRA_FULL_ERROR"
_MOST_LINES = 20


@dataclass
class Command:
    """The command that is running.

    Attributes:
        study: the study's folder, once it is known.
        is_unnamed: whether this command generated the name of the study.
        closing: what is released when the command ends: the lock of the study.
    """

    study: Path | None = None
    is_unnamed: bool = False
    closing: ExitStack = field(default_factory=ExitStack)


_current: ContextVar[Command | None] = ContextVar("command", default=None)


@contextmanager
def running_command() -> Iterator[Command]:
    """Start a new command; release what it holds at the end.

    Raises:
        PimaError: in place of errors of Hydra and of the system that the user can act on.
    """
    token = _current.set(running := Command())
    try:
        with running.closing:
            yield running
    except BaseException as error:  # noqa: BLE001 -- raised again
        cause = error.__cause__ if isinstance(error, Ended) and error.__cause__ else error
        known = _as_known(cause, running)
        raise (known or cause) from (cause if known else cause.__cause__)
    finally:
        _current.reset(token)


def current_command() -> Command:
    """Return the command that is running; a new one where code runs outside any."""
    if (running := _current.get()) is None:
        _current.set(running := Command())
    return running


class Ended(BaseException):
    """Carries an error, its cause, out of a Hydra callback, where Hydra turns an Exception into a warning."""


def command(main: Callable[[], object]) -> Callable[[], None]:
    """Run a Hydra application so that errors are one line each and the exit code says how it ended.

    Exit codes are those of `pima_hp.errors`; 130 and 143 after SIGINT and SIGTERM. HYDRA_FULL_ERROR=1 shows tracebacks.
    """

    @functools.wraps(main)
    def run() -> None:
        code = exit_code(main)
        # Collecting all that a large sweep has composed takes seconds. Where Triton was imported, objects that are not
        # collected would be reported as leaks by its binding.
        if "triton" not in sys.modules:
            gc.freeze()
        sys.exit(code)

    return run


def exit_code(main: Callable[[], object]) -> int:
    """Run a Hydra application with the arguments in `sys.argv`, print errors as lines, and return the exit code."""
    from pima_hp.commands.files import check_arguments

    show_traces = os.environ.get(_FULL_ERROR) == "1"
    os.environ[_FULL_ERROR] = "1"  # errors come to us instead of Hydra's own printer
    listen()
    try:
        with running_command() as running:
            check_arguments(sys.argv[1:])
            main()
    except BaseException as error:  # noqa: BLE001 -- raised again, or told in a line
        return _told(error, running, show_traces=show_traces)
    finally:
        stop_listening()
        if not show_traces:
            os.environ.pop(_FULL_ERROR, None)
    return 0


def _told(error: BaseException, running: Command, *, show_traces: bool) -> int:
    """Print an error in one line per problem and return the exit code; raise bugs, and all errors on request."""
    if stop := asked_to_stop(error):
        stop_listening()  # Lightning puts handlers back that were there before it
        say(f"stopped by {stop}: {_kept(running)}")
        return stop.exit_code
    if isinstance(error, BrokenPipeError):
        discard_output()
        return 0
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        return error.code or 0
    if show_traces or not isinstance(error, PimaError):
        raise error
    return say_error(error)


def discard_output() -> None:
    """Discard what is still to be printed, because its reader has gone (`pima-hp-train --help | head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_error(error: PimaError) -> int:
    """Print an error in one line per problem and return its exit code."""
    lines = str(error).splitlines()
    lines[_MOST_LINES:] = [f"... and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
    say("\n".join(f"refused: {line}" if isinstance(error, InputError) else line for line in lines))
    return error.exit_code


def _as_known(error: BaseException, running: Command) -> PimaError | None:
    """Return an error that the user can act on; None for a bug."""
    from pima_hp.commands.explain import explain, is_of_hydra
    from pima_hp.ledger.files import storage_error

    if isinstance(error, PimaError):
        return error
    if isinstance(error, Exception) and is_of_hydra(error):
        return InputError(explain(error))
    # Files of Hydra; ours raise a StorageError. A closed pipe is no file.
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return storage_error(error, Path(error.filename or running.study or Path.cwd()))
    return None


def _kept(running: Command) -> str:
    """Return how many runs are recorded, and the command that resumes, as text."""
    found, arguments = "nothing was trained", sys.argv[1:]
    if running.study:
        from pima_hp.commands.study import tally

        with suppress(PimaError):
            found = tally(running.study)
        arguments += [f"study={running.study.name}"] if running.is_unnamed else []
    return f"{found}; to resume: {shlex.join(['pima-hp-train', *arguments])}"


def say(text: str) -> None:
    """Print lines for the user on standard error, control characters as escapes."""
    sys.stderr.write(f"{printable(text)}\n")


def printable(text: str) -> str:
    """Return a text with control characters escaped, so that it cannot control the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)
