"""One sweep at a time in a study: a file lock, free at once after a kill, and a note of who holds it."""

import json
import os
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from pima_hp.errors import StudyError
from pima_hp.ledger.atomic import explained, make_folder, remove_leftovers, write_atomically

_PATIENCE_S = 0.5
"""How long a refused sweep waits for the holder, who may have begun this instant, to say who it is."""


@dataclass(frozen=True)
class Owner:
    """Who holds a study."""

    pid: int
    host: str
    start: str
    command: str = ""  # token by which its workers know that it holds the study

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.start}"


@contextmanager
def manifest_lock(study_folder: Path) -> Iterator[None]:
    """Let one process at a time read, extend and write the manifest of a study; workers of one command take turns."""
    make_folder(study_folder / "ledger")
    with explained(study_folder / "ledger"), FileLock(study_folder / "ledger" / ".manifest.lock"):
        yield


class StudyLock:
    """Hold a study for as long as the block runs: `with StudyLock(folder) as lock: ...`.

    The lock is the kernel's (flock), so that of a killed process is free at once. The file beside it says who
    holds it, and guards where the lock does not reach: on a network file system without locks, a sweep on
    another host may be running though the lock looks free.

    Args:
        study_folder: `outputs/<study>`; made if it is not there.
        command: token of the command, for its workers.

    Attributes:
        note: what a person should know about how the lock was obtained, or empty.
    """

    def __init__(self, study_folder: Path | str, command: str = "") -> None:
        self.note = ""
        self._command = command
        self._study_folder = Path(study_folder)
        self._folder = self._study_folder / "ledger"
        self._owner_path = self._folder / ".owner"
        self._lock = FileLock(self._folder / ".lock", timeout=0)

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            StudyError: another sweep holds it, or may hold it on another host.
            StorageError: the folder cannot be written.
        """
        make_folder(self._folder)
        with explained(self._folder / ".lock"):
            try:
                self._lock.acquire()
            except Timeout:  # an OSError too, but not one of the storage
                raise StudyError(
                    f"the study {str(self._study_folder)!r} must have one sweep at a time; it is held by "
                    f"{self._holder()}; wait for that sweep or stop it, or choose another study (study=OTHER)"
                ) from None
        try:
            self._claim()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock; a folder that is gone by now needs no release."""
        with suppress(OSError):
            self._owner_path.unlink()
        self._lock.release()

    def _claim(self) -> None:
        with explained(self._owner_path):
            left_behind = self._owner_path.exists()
        if left_behind:
            previous = self.owner()
            if previous is None or previous.host != socket.gethostname():
                raise StudyError(
                    f"the study {str(self._study_folder)!r} must have one sweep at a time; it looks free "
                    f"but is marked as held by {previous or 'an unknown process'}; if no sweep is "
                    f"running there: rm {shlex.quote(str(self._owner_path))}"
                )
            self.note = f"taken over from {previous}, which ended without releasing the study"
        remove_leftovers(self._study_folder)
        start = datetime.now().astimezone().isoformat(timespec="seconds")
        owner = Owner(os.getpid(), socket.gethostname(), start, self._command)
        write_atomically(self._owner_path, json.dumps(asdict(owner)).encode())

    def _holder(self) -> str:
        deadline = time.monotonic() + _PATIENCE_S
        while (owner := self.owner()) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return str(owner or "an unknown process")

    def owner(self) -> Owner | None:
        """Who the file names; None where it is missing, unreadable or not of ours."""
        try:
            owner = Owner(**json.loads(self._owner_path.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        known = isinstance(owner.pid, int) and all(
            isinstance(one, str) for one in (owner.host, owner.start, owner.command)
        )
        return owner if known else None
