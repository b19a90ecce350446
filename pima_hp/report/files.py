"""Writing a file so that a reader finds the old one or the new one, never half of one."""

import os
import secrets
from pathlib import Path

from pima_hp.errors import StorageError


def write_whole(path: Path, content: bytes) -> Path:
    """Write to a new name beside `path`, sync, rename; folders are made as needed."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:  # x: never through a link that someone put there
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
    return path
