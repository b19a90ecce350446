"""How a command ends: one line and an exit code for an error; 130 or 143 and what was kept after a signal."""

import functools
import gc
import os
import re
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from hydra.errors import HydraException, MissingConfigException

from pima_hp.config.options import CONF, option_content, options, read_yaml
from pima_hp.config.problems import SYNONYMS, nearest, not_an_option
from pima_hp.errors import ConfigurationError, InputError, PimaError
from pima_hp.training.interruption import asked_to_stop, listen, stop_listening

_FULL_ERROR = "HYDRA_FULL_ERROR"
_OF_CALLBACK = "Callback StudyCallback"
_MOST_LINES = 20

Given = TypeVar("Given")
Found = TypeVar("Found")


class Command(ExitStack):
    """The command that is running; what it enters, the lock of the study, is released when it ends.

    Attributes:
        study: the study's folder, once it is known.
    """

    study: Path | None = None


_current = ContextVar("command", default=Command())  # noqa: B039 -- where code runs outside any command

# Returns the command that is running.
current_command = _current.get


@contextmanager
def running_command() -> Iterator[Command]:
    """Start a new command; release what it holds at the end.

    Raises:
        PimaError: in place of errors of Hydra and of the system that the user can act on.
    """
    token = _current.set(running := Command())
    try:
        with running, warnings.catch_warnings():
            warnings.filterwarnings("error", _OF_CALLBACK)  # Hydra turns errors of callbacks into warnings
            yield running
    except Exception as error:
        cause = error.__context__ if str(error).startswith(_OF_CALLBACK) else error
        if isinstance(cause, Exception) and (known := known_error(cause, running.study)):
            raise known from cause
        raise
    finally:
        _current.reset(token)


def command(main: Callable[[], object]) -> Callable[[], None]:
    """Run a Hydra application so that errors are one line each and the exit code says how it ended.

    Exit codes are those of `pima_hp.errors`; 130 and 143 after SIGINT and SIGTERM. HYDRA_FULL_ERROR=1 shows tracebacks.
    """

    @functools.wraps(main)
    def run() -> None:
        gc.set_threshold(100_000, 50, 100)  # what a large sweep composes stays; looking for garbage took a quarter
        code = exit_code(main)
        # Collecting all that a large sweep has composed takes seconds. Where Triton was imported, objects that are not
        # collected would be reported as leaks by its binding.
        if "triton" not in sys.modules:
            gc.freeze()
        sys.exit(code)

    return run


def exit_code(main: Callable[[], object]) -> int:
    """Run a Hydra application with the arguments in `sys.argv`, print errors as lines, and return the exit code."""
    from pima_hp.commands.compose import check_arguments

    given = sys.argv[1:]
    show_traces = os.environ.get(_FULL_ERROR) == "1"
    os.environ[_FULL_ERROR] = "1"  # errors come to us instead of Hydra's own printer
    listen()
    try:
        with running_command() as running:
            if "COMP_LINE" in os.environ:  # Hydra's tab completion does not know quotes
                os.environ["COMP_LINE"] = re.sub(r"'(\S*)'", r"\1", os.environ["COMP_LINE"])
            check_arguments(given)
            main()
    except BaseException as error:  # raised again where it is a bug, or tracebacks are wanted
        if stop := asked_to_stop(error):
            stop_listening()  # Lightning puts handlers back that were there before it
            say(f"stopped by {stop}: {_kept(running.study, given)}")
            return stop.exit_code
        if isinstance(error, BrokenPipeError):
            discard_output()
            return 0
        if isinstance(error, SystemExit) and isinstance(error.code, int | None):
            return error.code or 0
        if show_traces or not isinstance(error, PimaError):
            raise
        return say_error(error)
    finally:
        stop_listening()
        if not show_traces:
            os.environ.pop(_FULL_ERROR, None)
    return 0


def _kept(study: Path | None, arguments: list[str]) -> str:
    """Return how many runs are recorded, and the command that resumes, as text."""
    found = "nothing was trained"
    if study:
        from pima_hp.ledger import Ledger, Manifest

        with suppress(PimaError):
            planned = set(manifest.run_ids) if (manifest := Manifest.read(study)) else set()
            n_finished = len(planned & Ledger(study).finished_run_ids())
            found = f"{n_finished:,} of {len(planned):,} runs are in {study / 'ledger'}"
        if not any(argument.startswith("study=") for argument in arguments):
            arguments = [*arguments, f"study={study.name}"]
    return f"{found}; to resume: {shlex.join(['pima-hp-train', *arguments])}"


def say_error(error: PimaError) -> int:
    """Print an error in one line per problem and return its exit code."""
    lines = str(error).splitlines()
    lines[_MOST_LINES:] = [f"... and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
    say("\n".join(f"refused: {line}" if isinstance(error, InputError) else line for line in lines))
    return error.exit_code


def discard_output() -> None:
    """Discard what is still to be printed, because its reader has gone (`pima-hp-train --help | head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def answer(text: str) -> None:
    """Print what the user asked for on standard output; where nobody reads it, the command goes on."""
    try:
        print(printable(text), flush=True)  # noqa: T201
    except BrokenPipeError:
        discard_output()


def say(text: str) -> None:
    """Print lines for the user on standard error, control characters as escapes."""
    sys.stderr.write(f"{printable(text)}\n")


def printable(text: str) -> str:
    """Return a text with control characters escaped, so that it cannot control the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def known_error(error: Exception, folder: Path | None = None) -> PimaError | None:
    """Return an error that the user can act on; None for a bug.

    Args:
        error: of this project, of Hydra (an override or a file is wrong), or of the system.
        folder: named where the system names no file.
    """
    for each in (error, error.__cause__):  # Hydra raises another error from one of ours
        if isinstance(each, PimaError):
            return each
    if isinstance(error, BrokenPipeError):
        return None
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        from pima_hp.ledger.files import storage_error

        return storage_error(error, Path(error.filename or folder or Path.cwd()))
    names = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised_by = [root for name in names if (root := name.partition(".")[0]) in ("pima_hp", "hydra", "omegaconf")]
    return InputError(explain(error)) if raised_by and raised_by[-1] != "pima_hp" else None


def each_of(items: Iterable[Given], function: Callable[[Given], Found]) -> list[Found]:
    """Return what a function returns for each item.

    Raises:
        ConfigurationError: the problems of all items, each line once.
    """
    found, problems = list[Found](), dict[str, None]()
    for item in items:
        try:
            found.append(function(item))
        except Exception as error:
            if not isinstance(known := known_error(error), InputError):
                raise
            problems |= dict.fromkeys(known.problems)
    if problems:
        raise ConfigurationError([*problems])
    return found


def explain(error: Exception) -> str:
    """Return the message of Hydra or OmegaConf as one line, and the nearest name to the one that does not exist."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return not_an_option(group, name, sorted(error.options))
    text = " ".join(str(error).partition("\n    full_key")[0].split())[:300] or type(error).__name__
    if "Set[str]" in text:  # Hydra's own checks of types, of a sweep within a list, a dictionary or an interval
        return "logspace, linspace, range and choice must be the value of a setting, or between commas; found other use"
    if text.startswith("Error merging override") and isinstance(error.__cause__, Exception):
        return f"{text}: {explain(error.__cause__)}"
    if place := getattr(error, "full_key", None) or getattr(error, "override", None):
        return f"{place!s:.60}: {text}"
    if unknown := re.search(r"Could not override '([\w.]+)'", text):
        leaf = unknown[1].rpartition(".")[2]
        found = leaf if leaf in SYNONYMS else nearest(unknown[1], _known_keys()).removeprefix("; nearest: ")
        return f"{text}; nearest: {SYNONYMS.get(found, found)}" if found not in ("", unknown[1]) else text
    return text


def _known_keys() -> Iterable[str]:
    """Return the groups and the settings of their options, such as `optimizer` and `optimizer.lr`, and synonyms."""
    groups = [path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("claim", "experiment")]
    settings = {f"{group}.{key}" for group in groups for name in options(group) for key in option_content(group, name)}
    return [*read_yaml(CONF / "config.yaml"), *groups, *settings, *SYNONYMS]
