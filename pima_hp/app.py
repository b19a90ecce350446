"""The command `pima-hp-train`: from its arguments to an exit code."""

import gc
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path

import hydra
from omegaconf import DictConfig

from pima_hp.composition import UNNAMED_STUDY, composed_alone, explain, is_of_hydra, register_resolvers
from pima_hp.config.options import CONF
from pima_hp.errors import InputError, PimaError, StorageError
from pima_hp.interruption import Interrupted, asked_to_stop, listen, stop_listening
from pima_hp.ledger.atomic import storage_error
from pima_hp.session import session, swept_keys
from pima_hp.study import say


def task(config: DictConfig) -> float | None:
    """Hydra's task function: make sure that the ledger holds the runs of one job.

    Returns:
        The mean final `val/accuracy` of the job's runs, for sweepers that optimise.
    """
    return session.train(config)


task.sweep_hooks = session  # type: ignore[attr-defined]


def main() -> None:
    """Run the command; the exit code says how it ended (see `pima_hp.errors`)."""
    code = run(sys.argv[1:])
    # Python would look once more, for seconds, at all that a large sweep has composed before it ends. Where Triton was
    # imported, the binding that it is built with would report as leaked what is not looked at.
    if "triton" not in sys.modules:
        gc.freeze()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command with these arguments and return its exit code."""
    register_resolvers()
    show_traces = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of Hydra's own printer
    listen()
    try:
        _run(arguments)
    except BaseException as error:  # noqa: BLE001 -- raised again, or told in a line
        stop = asked_to_stop(error)
        return _stopped(stop, arguments) if stop else _ended(error, show_traces=show_traces)
    else:
        return 1 if session.n_unfinished else 0
    finally:
        stop_listening()
        session.close()
        for name in (UNNAMED_STUDY, *([] if show_traces else ["HYDRA_FULL_ERROR"])):
            os.environ.pop(name, None)


def _run(arguments: list[str]) -> None:
    config = composed_alone(arguments)
    if config and session.prepare([config], swept_keys([config]), sweep=False) is None:
        return
    sys.argv[1:] = arguments
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    session.finish()


def _stopped(stop: Interrupted, arguments: list[str]) -> int:
    """Say what is kept and how to go on."""
    stop_listening()  # Lightning puts handlers back that were there before it
    found = ""
    with suppress(PimaError):
        found = "; ".join(study.tally() for study in session.studies.values())
    unnamed = [folder.name for folder in session.studies if folder.name == os.environ.get(UNNAMED_STUDY)]
    again = shlex.join(["pima-hp-train", *arguments, *(f"study={name}" for name in unnamed)])
    say(f"stopped by {stop}: {found or 'nothing was begun'}; to go on: {again}")
    return stop.exit_code


def _ended(error: BaseException, *, show_traces: bool) -> int:
    """Say in a line what went wrong; raise what is not for a person to mend, or everything on request."""
    if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough: `pima-hp-train --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if show_traces:
        raise error
    if isinstance(error, PimaError):
        prefix = "refused: " if isinstance(error, InputError) else ""
        say("\n".join(f"{prefix}{line}" for line in str(error).splitlines()))
        return error.exit_code
    if isinstance(error, Exception) and is_of_hydra(error):
        say(f"refused: {explain(error)}")
        return InputError.exit_code
    if isinstance(error, OSError):  # of a file of Hydra's; ours come as a StorageError
        place = Path(error.filename) if error.filename else next(iter(session.studies), Path.cwd())
        say(str(storage_error(error, place)))
        return StorageError.exit_code
    raise error
