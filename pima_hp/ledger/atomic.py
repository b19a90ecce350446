"""Files that are there whole or not at all, also after a kill or a power cut."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pima_hp.errors import StorageError

_TEMPORARY = ".*.tmp"


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file so that any reader, at any moment, finds the old content or the new one.

    Args:
        path: the file; its folder exists.
        content: all of it.
        durable: whether the content must survive a power cut once this returns; not needed for files
            that can be rebuilt from others.

    Raises:
        StorageError: the system refused; the old file, if any, is untouched and nothing else is left.
    """
    temporary = path.with_name(_TEMPORARY.replace("*", f"{path.name}.{secrets.token_hex(4)}"))
    with explained(path, len(content)):
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


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files below a folder that a killed process left; only for who holds the study's lock."""
    with explained(folder):
        for path in folder.rglob(_TEMPORARY):
            path.unlink(missing_ok=True)


@contextmanager
def explained(path: Path, n_bytes: int | None = None) -> Iterator[None]:
    """Turn what the system refuses within the block into a StorageError of one line."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path, n_bytes) from error


def storage_error(error: OSError, path: Path, n_bytes: int | None = None) -> StorageError:
    """Say in one line what the system refused, and what to do."""
    name = errno.errorcode.get(error.errno or 0, "no error number")
    amount = "" if n_bytes is None else f" ({n_bytes:,} bytes)"
    return StorageError(
        f"{str(path)!r} must be readable and writable{amount}; the system says: "
        f"{error.strerror or error} ({name}); free space, mend the folder or choose another, then run "
        "the same command again: finished runs are kept"
    )


def _write(path: Path, content: bytes, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; Windows cannot open a folder and needs no such thing."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
