"""Tables as text for a terminal and as CSV for a spreadsheet."""

import math
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pima_hp.ledger.files import make_folder, write_atomically
from pima_hp.report.settings import literal, value_text

GAP = "  "
NARROWEST = 8
NUMBER = re.compile(r"never|[-+.\de]+(±[-+.\de]+)?")


def text_table(table: pd.DataFrame, width: int = 100, fixed: Mapping[str, int] | None = None) -> str:
    """The table in at most `width` columns: headings and long cells wrapped, `mean±sd` in one cell.

    Numbers stand right, words left. A missing number is a dash, an infinite one (never reached) `never`.
    Columns in `fixed` have that width, and their text is not cut.
    """
    table, fixed = _with_spread(table), fixed or {}
    cells = {str(name): _cells(list(table[name]), 500 if name in fixed else 60) for name in table.columns}
    right = {name for name in cells if all(map(NUMBER.fullmatch, cells[name]))}
    room = width - len(GAP) * (len(cells) - 1)
    for heading_width in (12, 8, 6):  # narrower headings first, then narrower words, numbers last
        headings = {name: _heading(name, heading_width) for name in cells}
        widths = {name: fixed.get(name) or max(map(len, [*headings[name], *cells[name]])) for name in cells}
        if sum(widths.values()) <= room:
            break
    least = {name: max(NARROWEST, *map(len, headings[name])) for name in cells}
    while sum(widths.values()) > room and max(widths.values()) > 1:
        wide = [name for name in cells if name not in right and widths[name] > least[name]] or list(cells)
        widths[max(wide, key=lambda name: widths[name])] -= 1

    def lines(row: list[list[str]], *, low: bool = False) -> list[str]:
        depth = max(map(len, row), default=0)
        above = [[""] * (depth - len(parts)) + parts if low else parts + [""] * (depth - len(parts)) for parts in row]
        placed = [
            [part.rjust(widths[name]) if name in right else part.ljust(widths[name]) for part in parts]
            for name, parts in zip(widths, above, strict=True)
        ]
        return [GAP.join(line).rstrip()[:width] for line in zip(*placed, strict=True)]

    text = lines([[part[: widths[name]] for part in headings[name]] for name in cells], low=True)
    text += lines([["-" * widths[name]] for name in cells])
    for index in range(len(table)):
        text += lines([textwrap.wrap(column[index], widths[name]) for name, column in cells.items()])
    return "\n".join(text)


def csv_text(table: pd.DataFrame) -> str:
    """Return CSV; an apostrophe keeps a spreadsheet from running a text that looks like a formula."""
    safe = table.rename(columns=lambda name: _not_a_formula(str(name))).map(_not_a_formula)
    return str(safe.to_csv(index=False, lineterminator="\n"))


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write `csv_text` as UTF-8."""
    return write(path, csv_text(table))


def write(path: Path, content: str | bytes) -> Path:
    """Write a file of the report: a reader finds the old one or the new one, whole."""
    make_folder(path.parent)
    write_atomically(path, content.encode(errors="replace") if isinstance(content, str) else content, durable=False)
    return path


def markdown_table(table: pd.DataFrame) -> str:
    """The table for a Markdown page; nothing in a cell is markup."""

    def line(cells: list[str]) -> str:
        return f"| {' | '.join(map(plain, cells))} |"

    headings, rows = shown(table, 500)
    return "\n".join([line(headings), f"|{' --- |' * len(headings)}", *map(line, rows)]) + "\n"


def plain(text: str) -> str:
    """Text of which nothing is Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", literal(text, 500))


def shown(table: pd.DataFrame, limit: int = 60) -> tuple[list[str], list[list[str]]]:
    """Headings and rows as a reader sees them: `mean±sd` in one cell, numbers to three decimals."""
    table = _with_spread(table)
    columns = [_cells(list(table[name]), limit) for name in table.columns]
    headings = [" ".join(_heading(str(name), 200)) for name in table.columns]
    return headings, [list(row) for row in zip(*columns, strict=True)]


def _not_a_formula(value: Any) -> Any:
    if not isinstance(value, str) or value[:1] not in ("=", "+", "-", "@", "\t", "\r", "\n"):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _with_spread(table: pd.DataFrame) -> pd.DataFrame:
    """Columns `x_mean` and `x_sd` as one column `x`."""
    columns: dict[str, list[Any]] = {}
    for name in map(str, table.columns):
        spread = f"{name.removesuffix('_mean')}_sd"
        if name.endswith("_mean") and spread in table.columns:
            pairs = zip(table[name], table[spread], strict=True)
            columns[name.removesuffix("_mean")] = [
                _cell(mean) + ("" if math.isnan(sd) else f"±{_cell(sd)}") for mean, sd in pairs
            ]
        elif not (name.endswith("_sd") and f"{name.removesuffix('_sd')}_mean" in table.columns):
            columns[name] = list(table[name])
    return pd.DataFrame(columns)


def _heading(name: str, width: int) -> list[str]:
    words = re.sub(r"_|(?<=[a-z])[.](?=[a-z])", " ", literal(name))
    return textwrap.wrap(words, width, break_long_words=False) or [""]


def _cells(values: list[Any], limit: int = 60) -> list[str]:
    """Texts of one column: its numbers have three decimals, or fewer if these say all."""
    floats = [value for value in values if isinstance(value, float) and math.isfinite(value)]
    decimals = next(n for n in (0, 1, 3) if n == 3 or all(value == round(value, n) for value in floats))
    return [_cell(value, decimals, limit) for value in values]


def _cell(value: Any, decimals: int = 3, limit: int = 60) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        return f"{value:.{decimals}f}" if math.isfinite(value) else "never"
    return literal(value_text(value), limit)
