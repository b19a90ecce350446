"""The table: the one that ships with the package, or a CSV file of one's own, read strictly."""

import hashlib
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pima_hp.config import DataSection
from pima_hp.data.strict_csv import not_found, read_header, read_numbers, shown
from pima_hp.errors import StudyError, TableError

SHIPPED = Path(__file__).with_name("pima-indians-diabetes.csv")
SHIPPED_SHA256 = "c62fdc4685d8e47c2a80e2303f88caa99afaeeadea58873fcafffcf288c3c7be"
SHIPPED_FEATURES = (
    *("pregnancies", "glucose", "blood_pressure", "skin_thickness"),
    *("insulin", "bmi", "diabetes_pedigree", "age"),
)
MAX_BYTES = 64 * 2**20
CACHED_TABLES = 8
_is_remote = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|//|\\\\").match
_cache: dict[tuple[object, ...], "Table"] = {}


@dataclass(frozen=True, eq=False)
class Table:
    """A checked table; each caller of `read_table` gets arrays of its own."""

    features: NDArray[np.float64]  # (n, D), finite, in the units of the file
    labels: NDArray[np.int8]  # (n,), 0 or 1, both present
    feature_names: tuple[str, ...]  # the D columns of `features`, in order
    digest: str  # SHA-256 of the very bytes that were parsed, 64 hexadecimal digits
    notes: tuple[str, ...]  # what is allowed but worth a warning, one sentence each


def read_table(section: DataSection, digest: str | None = None) -> Table:
    """Return the table that the settings name, checked from the first byte to the last.

    Without `section.features` every column but the label is a feature, in the order of the file; a file
    with all the shipped columns has those first, in their own order, however its columns are ordered.
    With `section.features` exactly those are read, in that order, and other columns are ignored.
    Equal bytes under equal settings are parsed once.

    Args:
        section: path, label, features and `zero_is_missing`.
        digest: the SHA-256 that the file must have.

    Raises:
        TableError: everything found wrong with the file, one line each.
        StudyError: the file has another digest.
    """
    expected = digest
    features = None if section.features is None else tuple(section.features)
    try:
        data, digest = _bytes_and_digest(section.path)
        key = (digest, section.label, features, tuple(section.zero_is_missing))
        if key not in _cache:
            _cache[key] = _parse(data, digest, section)
            while len(_cache) > CACHED_TABLES:
                _cache.pop(next(iter(_cache)), None)
        table = _cache[key]
        check_unchanged(section.path, expected or digest, digest)
        return replace(table, features=table.features.copy(), labels=table.labels.copy())
    except TableError as error:
        raise TableError([f"{_where(section.path)}: {problem}" for problem in error.problems]) from error


def check_unchanged(path: str | None, before: str, now: str) -> None:
    """Accept a data file whose digest is what it was.

    Raises:
        StudyError: the file has changed.
    """
    if before != now:
        raise StudyError(
            f"{_where(path)}: must not change within a study; digest {before[:12]} before, {now[:12]} now; "
            "put the file back, or begin another study (study=OTHER)"
        )


def _where(path: str | None) -> str:
    return "the shipped table" if path is None else f"data.path={shown(path, 200)}"


def _bytes_and_digest(path: str | None) -> tuple[bytes, str]:
    """Read a file (None: the shipped table); TableError unless it is a regular one on this machine."""
    name = str(SHIPPED if path is None else path)
    if "\0" in name:
        raise TableError("must be the path of a file; found a NUL character in it")
    if _is_remote(name):
        raise TableError("must be a file on this machine; found a URL or a network path")
    try:
        status = Path(name).stat()  # before it is opened, which may block
        if not stat.S_ISREG(status.st_mode):
            kind = "directory" if stat.S_ISDIR(status.st_mode) else "FIFO, socket or device"
            raise TableError(f"must be a regular file; found a {kind}")
        with Path(name).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        hint = "; '~' is not expanded, write the whole path" if name.startswith("~") else ""
        raise TableError(f"cannot be read: {reason}{hint}") from error
    if len(data) > MAX_BYTES:
        raise TableError(f"must have at most {MAX_BYTES} bytes; found more")
    digest = hashlib.sha256(data).hexdigest()
    if path is None and digest != SHIPPED_SHA256:
        raise TableError(f"must have SHA-256 {SHIPPED_SHA256}; found {digest}; install pima_hp again")
    return data, digest


def _parse(data: bytes, digest: str, section: DataSection) -> Table:
    header = read_header(data)
    names = _feature_names(header, section)
    chosen = (*names, section.label)
    values = read_numbers(data, [header.index(name) for name in chosen], chosen)
    labels = values[:, -1].astype(np.int8)
    return Table(values[:, :-1].copy(), labels, names, digest, _notes(values, names))


def _feature_names(header: Sequence[str], section: DataSection) -> tuple[str, ...]:
    """Choose the columns to train on; TableError names those that are missing, with the nearest."""
    problems = []
    if section.label not in header:
        problems.append(f"data.label must be a column; {not_found(section.label, header)}")
    names = others = [name for name in header if name != section.label]
    shipped = [name for name in SHIPPED_FEATURES if name in names]
    absent = [name for name in SHIPPED_FEATURES if name not in names and name != section.label]
    rule = "a table like the shipped one must have all its columns (or name yours in data.features)"
    if section.features is not None:
        names = list(section.features)
        if not names or len(set(names)) < len(names) or section.label in names:
            problems.append(f"data.features must be different columns, none the label; found {shown(str(names), 80)}")
        rule, absent = "data.features must be columns", [name for name in names if name not in header]
    elif not absent:  # the shipped columns first, in their own order, whatever the order of the file
        names = shipped + [name for name in names if name not in shipped]
    elif len(absent) > len(SHIPPED_FEATURES) // 2:  # another table, not a variant of the shipped one
        absent = []
    problems += [f"{rule}; {not_found(name, header)}" for name in absent]
    problems += [
        f"data.zero_is_missing must be columns other than the label; {not_found(name, others)}"
        for name in section.zero_is_missing
        if name not in others and name not in absent
    ]
    if not names and section.features is None:
        problems.append("must have a column besides the label; found none")
    if problems:
        raise TableError(problems[:8])
    return tuple(names)


def _notes(values: NDArray[np.float64], names: Sequence[str]) -> tuple[str, ...]:
    """Say what may mislead a training: columns without information, copies of rows, row numbers."""
    notes = []
    for name, column in zip(names, values.T[:-1], strict=True):
        if column.min() == column.max():
            notes.append(f"column {shown(name)} is {column[0]:g} in every row")
        elif (np.diff(column) > 0).all() and (column == np.rint(column)).all():
            notes.append(f"column {shown(name)} only rises, in whole numbers: leave it out if it numbers the rows")
    copies = len(values) - len({row.tobytes() for row in values + 0.0})  # -0.0 + 0.0 is 0.0
    if copies:
        notes.append(f"{copies} of {len(values)} rows repeat an earlier row: both may be in train and test")
    return tuple(notes)
