"""Atomic, durable file writes, and the lock that allows one sweep at a time in a study."""

import errno
import fcntl
import os
import secrets
import shlex
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from pima_hp.errors import StorageError, StudyError

# Folder of a study that holds its parts, and nothing but Parquet.
LEDGER = "ledger"


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file so that any reader, at any moment, finds the old content or the new one.

    Args:
        path: the file; its folder is made if it is not there.
        content: all of it; a file that has this content already is left as it is.
        durable: whether the content must survive a power cut once this returns; not needed for files
            that can be rebuilt from others.

    Raises:
        StorageError: the system refused; the old file, if any, is untouched and nothing else is left.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    make_folder(path.parent)
    with explained(path):
        if not (path.is_file() and path.read_bytes() == content):
            try:
                _write(temporary, content, durable)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        if durable:
            _sync_folder(path.parent)


def read_file(path: Path) -> bytes:
    """Return the content of a regular file; a link is not followed, and a pipe would block.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return path.read_bytes()


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
def explained(path: Path) -> Iterator[None]:
    """Raise an OSError of the block as a StorageError of one line."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


def storage_error(error: OSError, path: Path) -> StorageError:
    """Return an OSError as a StorageError of one line that names the path, the cause and the next step."""
    return StorageError(
        f"{str(path)!r} must be readable and writable; the system says: {error.strerror or error}; free space or "
        "choose another folder, then run the same command again: finished runs are kept"
    )


class Owner(BaseModel, strict=True):
    """The process that holds a study, recorded as one line of JSON in the study's folder.

    Attributes:
        command: token by which the workers of a command know that it holds the study.
    """

    pid: int
    host: str
    start: str
    command: str = ""


def owner_of(study: Path) -> Owner | None:
    """Return the owner recorded in a study's folder, alive or killed; None if there is no valid record."""
    try:
        return Owner.model_validate_json(read_file(study / ".owner"))
    except (OSError, ValueError):
        return None


@contextmanager
def study_lock(study: Path, command: str = "") -> Iterator[None]:
    """Hold a study for as long as the block runs.

    The operating system locks the ledger's folder itself, so the lock of a dead process is free at once, and deleting
    files does not free the lock of a live one. On a shared file system, that lock does not reach other hosts; the
    record of the owner does.

    Args:
        study: `outputs/<study>`; made if it is not there.
        command: token of the command, for its workers.

    Raises:
        StudyError: another sweep holds it, or may hold it on another host.
        StorageError: the folder cannot be written.
    """
    mark, here, hint = study / ".owner", socket.gethostname(), ""
    with locked(study / LEDGER, wait=False) as free:
        if not free:
            time.sleep(0.2)  # the holder may have started a moment ago and not have written its record yet
            hint = "wait for that sweep, or choose another study (study=OTHER)"
        owner = owner_of(study)
        if free and os.path.lexists(mark) and (owner is None or owner.host != here):
            hint = f"if no sweep is running there: rm {shlex.quote(str(mark))}"
        if hint:
            holder = f"process {owner.pid} on {owner.host}, since {owner.start}" if owner else "an unknown process"
            raise StudyError(f"the study {str(study)!r} must have one sweep at a time; it is held by {holder}; {hint}")
        with explained(study):  # temporary files of a killed process
            for leftover in study.rglob(".*.tmp"):
                leftover.unlink(missing_ok=True)
        start = datetime.now().astimezone().isoformat(timespec="seconds")
        line = Owner(pid=os.getpid(), host=here, start=start, command=command).model_dump_json()
        write_atomically(mark, f"{line}\n".encode())
        try:
            yield
        finally:
            with suppress(OSError):
                mark.unlink()


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Lock a folder, made if it is not there, against other processes; yield whether it is locked."""
    make_folder(folder)
    with explained(folder):
        descriptor = os.open(folder, os.O_RDONLY)
    free = False
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        yield free
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes, durable: bool) -> None:
    with path.open("xb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
