"""Files that are there whole or not at all, also after a kill or a power cut, and one sweep at a time in a study."""

import errno
import fcntl
import json
import os
import secrets
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

from pima_hp.errors import StorageError, StudyError

LEDGER = "ledger"
"""Folder of a study that holds its parts, and nothing but Parquet."""

_TEMPORARY = ".*.tmp"
_OWNER = ".owner"


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file so that any reader, at any moment, finds the old content or the new one.

    Args:
        path: the file; its folder exists.
        content: all of it; a file that has this content already is left as it is.
        durable: whether the content must survive a power cut once this returns; not needed for files
            that can be rebuilt from others.

    Raises:
        StorageError: the system refused; the old file, if any, is untouched and nothing else is left.
    """
    temporary = path.with_name(_TEMPORARY.replace("*", f"{path.name}.{secrets.token_hex(4)}"))
    with explained(path, len(content)):
        if not (path.is_file() and path.read_bytes() == content):
            try:
                _write(temporary, content, durable)
                temporary.replace(path)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
        if durable:
            _sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each of them synced into its parent.

    Raises:
        StorageError: the system refused, for instance because a file has that name.
    """
    with explained(path):
        if not path.is_dir():
            make_folder(path.parent)
            path.mkdir(exist_ok=True)
            _sync_folder(path.parent)


@contextmanager
def explained(path: Path, n_bytes: int | None = None) -> Iterator[None]:
    """Turn what the system refuses within the block into a StorageError of one line."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path, n_bytes) from error


def storage_error(error: OSError, path: Path, n_bytes: int | None = None) -> StorageError:
    """Return the error that says in one line what the system refused, and what to do."""
    name = errno.errorcode.get(error.errno or 0, "no error number")
    amount = "" if n_bytes is None else f" ({n_bytes:,} bytes)"
    return StorageError(
        f"{str(path)!r} must be readable and writable{amount}; the system says: {error.strerror or error} ({name}); "
        "free space or choose another folder, then run the same command again: finished runs are kept"
    )


@dataclass(frozen=True)
class Owner:
    """The process that holds a study, as one line of JSON in the study's folder names it.

    Attributes:
        command: token by which the workers of a command know that it holds the study.
    """

    pid: int
    host: str
    start: str
    command: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.start}"


def owner_of(study: Path) -> Owner | None:
    """Return who holds a study, or held it when it was killed; None where no file says so in a form that we write."""
    try:
        return TypeAdapter(Owner).validate_json((study / _OWNER).read_bytes(), strict=True)
    except (OSError, ValueError):
        return None


@contextmanager
def study_lock(study: Path, command: str = "") -> Iterator[None]:
    """Hold a study for as long as the block runs.

    The kernel locks the ledger's folder itself: the lock of a process that died is free at once, and deleting files
    does not free the lock of one that lives. A second line of defense is the file that names the owner: it protects a
    study on a shared file system from other hosts, which locks do not reach.

    Args:
        study: `outputs/<study>`; made if it is not there.
        command: token of the command, for its workers.

    Raises:
        StudyError: another sweep holds it, or may hold it on another host.
        StorageError: the folder cannot be written.
    """
    mark = study / _OWNER
    only_one = f"the study {str(study)!r} must have one sweep at a time"
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(study / LEDGER, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            time.sleep(0.2)  # the holder may have begun this instant and not yet said who it is
            raise StudyError(
                f"{only_one}; it is held by {owner_of(study) or 'an unknown process'}; wait for that sweep or stop "
                "it, or choose another study (study=OTHER)"
            ) from None
        previous = owner_of(study)
        if os.path.lexists(mark) and (previous is None or previous.host != socket.gethostname()):
            raise StudyError(
                f"{only_one}; it looks free but is marked as held by {previous or 'an unknown process'}; if no sweep "
                f"is running there: rm {shlex.quote(str(mark))}"
            )
        with explained(study):  # what a killed process was writing
            for leftover in study.rglob(_TEMPORARY):
                leftover.unlink(missing_ok=True)
        start = datetime.now().astimezone().isoformat(timespec="seconds")
        owner = Owner(os.getpid(), socket.gethostname(), start, command)
        write_atomically(mark, f"{json.dumps(asdict(owner))}\n".encode())
        try:
            yield
        finally:
            with suppress(OSError):
                mark.unlink()


@contextmanager
def manifest_lock(study: Path) -> Iterator[None]:
    """Let one process at a time read, extend and write the manifest of a study; workers of one command take turns."""
    with _locked(study, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    make_folder(folder)
    with explained(folder):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
