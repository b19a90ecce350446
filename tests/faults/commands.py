"""Commands that may be killed: each in a process of its own, forked from one that has imported everything.

A fork costs 0.1 s where a start of Python costs four, so that a test can afford dozens of kills; from the
fork on it is the same code, in the same order, with its own memory, files and signals.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import hydra

from pima_hp.commands.exits import exit_code
from pima_hp.training import interruption
from tests.conftest import CONFIG_PATH, _task

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("lightning", "pima_hp.commands.hydra_callback", "pima_hp.commands.summary", "pima_hp.ledger.tensorboard"),
        *("pima_hp.commands.solo", "pima_hp.training.checks"),
        *("pima_hp.training.dispatch", "pima_hp.training.solo", "pima_hp.training.stacked"),
        *("pima_hp.training.loggers", "pima_hp.training.fused.engine"),
    ]
)
_numbers = count()

Preparation = Callable[[], object]


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or the negative number of the signal that killed it."""

    code: int
    out: str
    err: str
    seconds: float


class Command:
    """`pima-hp-train <arguments>` in a folder, begun at once.

    Args:
        folder: it runs there; `outputs` is made in it.
        arguments: of the command line.
        prepare: called in the new process before the command: a fault to come.
    """

    def __init__(self, folder: Path, *arguments: str, prepare: Preparation | None = None) -> None:
        self._paths = [folder / f".{next(_numbers)}.{name}" for name in ("out", "err")]
        self._process = _CONTEXT.Process(target=_child, args=(folder, self._paths, arguments, prepare), daemon=True)
        self._began = time.monotonic()
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    @property
    def begun(self) -> bool:
        return self._paths[-1].exists()

    def send(self, signum: int) -> None:
        if self.running:
            os.kill(self.pid, signum)

    def wait(self, timeout: float = 120) -> Ended | None:
        """How it ended; None when it is still running after that time."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            return None
        texts = [path.read_text() if path.exists() else "" for path in self._paths]
        return Ended(self._process.exitcode, *texts, time.monotonic() - self._began)

    def end(self) -> Ended:
        """Wait for it; a command that never ends is killed and is an error."""
        ended = self.wait()
        if ended is None:
            self.send(signal.SIGKILL)
            raise TimeoutError("the command did not end in two minutes")
        return ended


def run(folder: Path, *arguments: str, prepare: Preparation | None = None) -> Ended:
    """Run a command to its end."""
    return Command(folder, *arguments, prepare=prepare).end()


def wait_for(condition: Callable[[], object], timeout: float = 60) -> None:
    """Return as soon as something is so."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not happen")
        time.sleep(0.005)


def _child(folder: Path, paths: list[Path], arguments: tuple[str, ...], prepare: Preparation | None) -> None:
    multiprocessing.set_start_method("fork", force=True)  # as in a command that was not forked
    for signum in interruption.SIGNALS:
        signal.signal(signum, signal.SIG_DFL)  # what it inherits is the parent's, not the shell's
    os.chdir(folder)
    for descriptor, path in enumerate(paths, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = ["pima-hp-train", *arguments]
    if prepare:
        prepare()
    sys.exit(exit_code(hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name="config")(_task)))
