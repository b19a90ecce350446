"""The bytes of a CSV file become numbers, or a list of what is wrong with them; nothing is guessed."""

import csv
import difflib
import io
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from pima_hp.errors import TableError

MAX_LINE_CHARACTERS = 2**20
MAX_COLUMNS = 10_000
MAX_ROWS = 1_000_000
MIN_ROWS = 10
MAX_SIZE = 1e15
"""Of a number: above it whole numbers stop being exact, and float32 starts to overflow."""

NUMBER = f"must be a plain decimal number (33.6, -1, 2e3; a '.', no ',', no spaces) of size up to {MAX_SIZE:g}"

_is_number = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?").fullmatch
_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip (or .xlsx)", b"PK\x05\x06": "zip", b"\x28\xb5\x2f\xfd": "zstd"}


def shown(text: str, width: int = 40) -> str:
    """Return the text quoted for a message: control characters escaped, cut to `width` characters."""
    return repr(text if len(text) <= width else text[: width - 1] + "…")


def not_found(name: str, names: Sequence[str]) -> str:
    """Say that a column is missing, and which one is written most like it."""
    lowered = {known[:40].lower(): known for known in reversed(names)}
    near = difflib.get_close_matches(name[:40].lower(), lowered, 1)
    listed = ", ".join(map(shown, names[:12])) + (", …" if len(names) > 12 else "")
    return f"no {shown(name)}; " + (f"nearest: {shown(lowered[near[0]])}" if near else f"found {listed}")


def read_header(data: bytes) -> list[str]:
    """Return the column names of the first line, all different; TableError if it is not a sound header."""
    _check_is_text(data)
    _, cells = next(_records(data), (1, []))
    if not cells:
        raise TableError("must begin with a header; found an empty first line")
    if len(cells) > MAX_COLUMNS:
        raise TableError(f"must have at most {MAX_COLUMNS} columns; found {len(cells)}")
    if len(cells) == 1:
        for separator in ";\t| ":
            if separator in cells[0]:
                raise TableError(f"columns must be separated by ','; looks like {separator!r}")
    names = cells[:-1] if len(cells) > 1 and not cells[-1] else cells  # each line ends in a comma
    if all(map(_is_number, names)):
        raise TableError(f"the first line must be a header; found only numbers: {shown(','.join(names))}")
    problems = [
        f"column names must be printable, without spaces around them; found {shown(name)} as column {index}"
        for index, name in enumerate(names, start=1)
        if not name or name != name.strip() or not name.isprintable()
    ]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    problems += [f"the header must not repeat a name; found {shown(name)} more than once" for name in twice]
    if problems:
        raise TableError(problems[:8])
    return names


def read_numbers(data: bytes, columns: Sequence[int], names: Sequence[str]) -> NDArray[np.float64]:
    """Return the chosen columns, (n, len(columns)); the last one is the label: 0 or 1, both present.

    Args:
        data: content for which `read_header` gave the names.
        columns: which columns to read, 0-based, at least two; the others may hold anything.
        names: what to call the chosen columns in messages.

    Raises:
        TableError: one line for each kind of problem and for each column that has one.
    """
    records = _records(data)
    _, header = next(records)
    width, closed = len(header), header[-1] == ""
    pick = itemgetter(*columns)
    values, n_rows, blank = array("d"), 0, 0
    ragged, repeated, beyond = _Findings(), _Findings(), _Findings()
    bad = [_Findings() for _ in columns[:-1]]
    labels: dict[float | str, str] = {}  # each label found, 0 and 1 by value and others as they are written
    for line, cells in records:
        if not cells:
            blank = blank or line
            continue
        if blank:  # blank lines are allowed at the end only
            ragged.add("0 fields", blank)
            blank = 0
        n_rows += 1
        if n_rows > MAX_ROWS:
            raise TableError(f"must have at most {MAX_ROWS} rows; found more")
        if len(cells) != width:
            ragged.add(f"{len(cells)} fields", line)
            continue
        if closed and cells[-1]:
            beyond.add(shown(cells[-1]), line)
        if cells == header:
            repeated.add("it", line)
            continue
        chosen = pick(cells)
        numeric = all(map(_is_number, chosen))
        label = float(chosen[-1]) if numeric or _is_number(chosen[-1]) else chosen[-1]
        if label not in labels and (label in (0, 1) or len(labels) < 8):
            labels[label] = f"{shown(chosen[-1])} on line {line}"
        if numeric:
            numbers = tuple(map(float, chosen))
            if max(numbers) <= MAX_SIZE and min(numbers) >= -MAX_SIZE:
                values.extend(numbers)
                continue
        for findings, text in zip(bad, chosen[:-1], strict=True):
            if not _is_number(text) or abs(float(text)) > MAX_SIZE:
                findings.add(shown(text), line)
    problems = [
        *ragged.problem(f"every row must have {width} fields, like the header"),
        *beyond.problem("the last column has no name and must be empty"),
        *repeated.problem("the header must stand on the first line only"),
    ]
    for name, findings in zip(names[:-1], bad, strict=True):
        problems += findings.problem(f"column {shown(name)} {NUMBER}")
    if n_rows < MIN_ROWS:
        problems.append(f"must have at least {MIN_ROWS} rows below the header; found {n_rows}")
    elif not labels.keys() <= {0, 1} or (len(labels) < 2 and not ragged.count):
        rule = "must hold the labels 0 and 1, both of them (write other labels as 0 and 1 in the file)"
        problems.insert(0, f"column {shown(names[-1])} {rule}; found {', '.join(labels.values())}")
    if problems:
        more = [f"and {len(problems) - 8} more problems like these"] if len(problems) > 8 else []
        raise TableError(problems[:8] + more)
    return np.array(values).reshape(n_rows, len(columns))


class _Findings:
    """The first three places of one kind of problem, and how many there are."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self.count = 0

    def add(self, what: str, line: int) -> None:
        self.count += 1
        if self.count <= 3:
            self.first.append(f"{what} on line {line}")

    def problem(self, rule: str) -> list[str]:
        total = f" ({self.count} in all)" if self.count > 3 else ""
        return [f"{rule}; found {', '.join(self.first)}{total}"] if self.first else []


def _check_is_text(data: bytes) -> None:
    if not data.strip():
        raise TableError("must be a table; found an empty file")
    for magic, name in _COMPRESSED.items():
        if data.startswith(magic):
            raise TableError(f"must be plain text; looks like {name}: unpack it first")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        raise TableError("must be text in UTF-8; found NUL bytes or a UTF-16 mark (binary, or another encoding)")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x} on line {line}"
        raise TableError(f"must be text in UTF-8; found {found} (binary, or another encoding)") from error


def _records(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of its first line (from 1) and the fields of each record."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    reader = csv.reader(map(_limited, text), strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise TableError(f"quotes must enclose a whole field, and be closed; line {line}: {error}") from error


def _limited(line: str) -> str:
    if len(line) > MAX_LINE_CHARACTERS:
        raise TableError(f"a line must have at most {MAX_LINE_CHARACTERS} characters; found {len(line)}")
    return line
