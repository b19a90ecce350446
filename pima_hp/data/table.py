"""The table: the one that ships with the package, or the user's own CSV file; refused unless it is valid."""

import csv
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

from pima_hp.config import DataSection
from pima_hp.config.problems import nearest
from pima_hp.errors import StudyError, TableError

SHIPPED = Path(__file__).with_name("pima-indians-diabetes.csv")
SHIPPED_SHA256 = "c62fdc4685d8e47c2a80e2303f88caa99afaeeadea58873fcafffcf288c3c7be"
SHIPPED_FEATURES = (
    *("pregnancies", "glucose", "blood_pressure", "skin_thickness"),
    *("insulin", "bmi", "diabetes_pedigree", "age"),
)
Names = Sequence[str]
MAX_BYTES, MAX_ROWS, MAX_COLUMNS, MIN_ROWS = 2**26, 1_000_000, 10_000, 10
# Of a number: above it whole numbers stop being exact, and float32 starts to overflow.
MAX_SIZE = 1e15


@dataclass(frozen=True, eq=False)
class Table:
    """A checked table; its arrays are read-only, because all callers share them."""

    features: NDArray[np.float64]  # (n, D), finite, in the units of the file
    labels: NDArray[np.int8]  # (n,), 0 or 1, both present
    feature_names: tuple[str, ...]  # the D columns of `features`, in order
    digest: str  # SHA-256 of the bytes that were parsed, 64 hexadecimal digits
    notes: tuple[str, ...]  # what is allowed but may mislead, one sentence each


def read_table(section: DataSection, digest: str | None = None) -> Table:
    """Return the table that the settings name.

    Without `section.features` every column but the label is a feature, in the order of the file; a file with all the
    shipped columns has those first, in their own order. With `section.features` exactly those are read, in that order,
    and other columns may hold anything. Equal bytes under equal settings are parsed once.

    Args:
        section: path, label, features and `zero_is_missing`.
        digest: the SHA-256 that the file must have.

    Raises:
        TableError: the first thing wrong with the file.
        StudyError: the file has another digest.
    """
    try:
        table = _parse(_content(section.path), section.label, section.features, section.zero_is_missing)
    except TableError as error:
        raise TableError(f"{_where(section.path)}: {error}") from error
    check_unchanged(section.path, digest or table.digest, table.digest)
    return table


def check_unchanged(path: str | None, before: str, now: str) -> None:
    """Raise `StudyError` for a data file whose digest has changed."""
    if before != now:
        raise StudyError(
            f"{_where(path)}: must not change within a study; digest {before[:12]} before, {now[:12]} now; "
            "put the file back, or begin another study (study=OTHER)"
        )


def _where(path: str | None) -> str:
    return "the shipped table" if path is None else f"data.path={path!r:.200}"


def _content(path: str | None) -> bytes:
    """Return the bytes of a file; None is the shipped table."""
    file = SHIPPED if path is None else Path(path)
    try:
        if not file.is_file():  # asked before it is opened, which may block
            raise TableError("must be a regular file on this machine; found none")
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise TableError(f"cannot be read: {getattr(error, 'strerror', error)}") from error
    n_lines = max(data.count(b"\n"), data.count(b"\r"))
    if len(data) > MAX_BYTES or n_lines > MAX_ROWS:
        raise TableError(f"must have at most {MAX_BYTES:,} bytes and {MAX_ROWS:,} rows; found more")
    return data


@lru_cache(maxsize=8)
def _parse(data: bytes, label: str, features: Names | None, zero_is_missing: Names) -> Table:
    names = _feature_names(_header(data), label, features, zero_is_missing)
    values = _numbers(data, [*names, label])
    if (found := np.unique(values[:, -1]).tolist()) != [0, 1] or len(values) < MIN_ROWS:
        rule = f"must hold the labels 0 and 1, both, in at least {MIN_ROWS} rows"
        raise TableError(f"column {label!r:.60} {rule}; found {found!s:.60} in {len(values)} rows")
    table, labels = np.ascontiguousarray(values[:, :-1]), values[:, -1].astype(np.int8)
    table.flags.writeable = labels.flags.writeable = False
    return Table(table, labels, tuple(names), hashlib.sha256(data).hexdigest(), _notes(values, names))


def _header(data: bytes) -> list[str]:
    """Return the column names, after each row was found to have as many fields; quotes are taken strictly."""
    rows = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), strict=True)
    try:
        header = next(rows, [])
        ends_in_comma = header[1:] and header[-1] == ""
        names = header[:-1] if ends_in_comma else header
        sound = [name for name in names if name and name == name.strip() and name.isprintable()]
        if not 0 < len(set(sound)) == len(names) <= MAX_COLUMNS:
            rule = f"must begin with a header: 1 to {MAX_COLUMNS:,} names, all different and printable"
            raise TableError(f"{rule}; found {names!r:.100}")
        for row in rows:
            if row and (len(row) != len(header) or (ends_in_comma and row[-1])):
                raise TableError(f"line {rows.line_num} must have {len(names)} fields, as the header; found {len(row)}")
    except (csv.Error, UnicodeDecodeError) as error:
        raise TableError(f"must be CSV in UTF-8; found near line {rows.line_num + 1}: {error}") from error
    return names


def _feature_names(header: Names, label: str, features: Names | None, zero_is_missing: Names) -> Names:
    """Return the columns to train on."""
    if label not in header:
        raise TableError(f"data.label must be a column; found no {label!r:.60} among {header!s:.200}")
    others = [name for name in header if name != label]
    absent = [name for name in SHIPPED_FEATURES if name not in header]
    names, wanted = others if features is None else features, list(zero_is_missing)
    if features is None and len(absent) <= len(SHIPPED_FEATURES) // 2:  # more, and it is another table, not a variant
        wanted += absent
        names = sorted(others, key=lambda name: (*SHIPPED_FEATURES, name).index(name))
    for name in (*names, *wanted):
        if name not in others:
            raise TableError(f"must have a column {name!r:.60} besides the label{nearest(name, others)}")
    if not 0 < len(set(names)) == len(names):
        raise TableError(f"data.features must be different columns; found {names!s:.100}")
    return names


def _numbers(data: bytes, columns: Sequence[str]) -> NDArray[np.float64]:
    """Return the values (n, len(columns)), all finite."""
    reading, parsing = ReadOptions(use_threads=False, block_size=len(data) + 1), ParseOptions(newlines_in_values=True)
    kinds = dict.fromkeys(columns, pa.float64())
    converting = ConvertOptions(column_types=kinds, include_columns=columns, null_values=[])
    try:
        table = read_csv(pa.BufferReader(data), reading, parsing, converting)
    except pa.ArrowException as error:
        found = re.sub(r"(?<=column #)\d+", lambda place: str(int(place[0]) + 1), str(error))  # Arrow's begin at 0
        raise TableError(f"must hold plain decimal numbers; {found!r:.200}") from error
    values = np.column_stack([table[name].to_numpy() for name in columns])
    if len(wrong := np.argwhere(~(np.abs(values) <= MAX_SIZE))):  # also inf and NaN
        row, column = wrong[0]
        rule = f"column {columns[column]!r:.60} must hold numbers of size up to {MAX_SIZE:g}"
        raise TableError(f"{rule}; found {values[row, column]} in row {row + 1}")
    return values


def _notes(values: NDArray[np.float64], names: Sequence[str]) -> tuple[str, ...]:
    """Return what may mislead a training: columns without information, copies of rows, row numbers."""
    notes = []
    for name, column in zip(names, values.T, strict=False):
        if column.min() == column.max():
            notes.append(f"column {name!r} is {column[0]:g} in every row")
        elif (np.diff(column) > 0).all() and (column == np.rint(column)).all():
            notes.append(f"column {name!r} only rises, in whole numbers: leave it out if it numbers the rows")
    if copies := len(values) - len(np.unique(values + 0.0, axis=0)):  # -0.0 + 0.0 is 0.0
        notes.append(f"{copies} of {len(values)} rows repeat an earlier row: both may be in train and test")
    return tuple(notes)
