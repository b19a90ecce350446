"""How numbers, intervals and settings become text: in tables, figures, names and messages alike."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Stands where there is no number.
MISSING = "\N{EN DASH}"

# The beginning of a text that a spreadsheet would run; a number is none.
FORMULA = re.compile(r"^(?=[=+\-@\t\r\n])(?![-+]?[\d.]+(e[-+]?\d+)?$)")

LABELS = {
    "batch.size": "batch size",
    "batch.shuffle": "shuffling",
    "data.scaling": "scaling",
    "data.test_fraction": "test fraction",
    "data.val_fraction": "validation fraction",
    "model.depth": "depth",
    "model.hidden_widths": "hidden widths",
    "model.initialization": "initialization",
    "model.width": "width",
    "optimizer.lr": "learning rate",
    "trainer.max_epochs": "epochs",
}


def label(key: str) -> str:
    """Return the display name of a setting: `optimizer.lr` -> `learning rate`."""
    key = key.removesuffix("._target_")
    return LABELS.get(key) or shown(key.rpartition(".")[2].replace("_", " "), 40)


def with_labels(text: str) -> str:
    """Return a sentence with labels for its keys: `depends on batch.shuffle` -> `depends on shuffling`."""
    text = re.sub(
        r"\b(\w+)\._target_(=(?:\w+\.)*(\w+))?", lambda found: " ".join(filter(None, found.group(1, 3))), text
    )
    return re.sub("|".join(map(re.escape, LABELS)), lambda found: LABELS[found[0]], text)


def shown(text: str, longest: int = 60) -> str:
    """Return text that is safe to show: control and invisible characters replaced, the end cut beyond `longest`."""
    kept = "".join(char if char.isprintable() else "\N{WHITE SQUARE}" for char in text[: longest + 1])
    return kept if len(kept) <= longest else f"{kept[: longest - 1]}…"


def plain(value: Any) -> Any:
    """Return a cell of a table as YAML would give it: no numpy types, lists as tuples, missing as None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    return None if isinstance(value, float) and math.isnan(value) else value


def value_text(value: Any) -> str:
    """Return one text for equal settings, as YAML spells them: 1 and 1.0 -> `1`, True -> `true`, None -> `none`."""
    value = plain(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def value_order(value: Any) -> tuple[bool, float, str]:
    """Return the sort key of a setting: numbers by size, then all others by their text."""
    is_number = isinstance(value, int | float)
    return not is_number, value if is_number else 0.0, value_text(value)


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence has them: `a, b and c`."""
    *first, last = [*names] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def counted(count: int, noun: str) -> str:
    """Return a count and its noun: `1 run`, `1,100 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def interval_texts(estimates: Sequence[tuple[float, float, float]]) -> list[str]:
    """Return a column of estimates (value, lower, upper) with the decimals that the widest interval supports.

    >>> interval_texts([(0.7424, 0.7378, 0.7461), (0.7, math.nan, math.nan)])
    ['0.742 [0.738, 0.746]', '0.700']
    """
    halves = [(upper - lower) / 2 for _, lower, upper in estimates if math.isfinite(upper - lower) and upper > lower]
    decimals = min((min(5, max(0, math.ceil(0.3 - math.log10(half)))) for half in halves), default=3)

    def number(value: float) -> str:
        text = f"{value:.3g}" if abs(value) >= 1e5 else f"{value:z.{decimals}f}"
        return text.replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else "no value"

    return [
        f"{number(value)} [{number(lower)}, {number(upper)}]" if math.isfinite(lower + upper) else number(value)
        for value, lower, upper in estimates
    ]


def interval_text(value: float | None, lower: float | None = math.nan, upper: float | None = math.nan) -> str:
    """Return one estimate with its interval: `0.742 [0.731, 0.752]`; a dash without one."""
    return MISSING if value is None or lower is None or upper is None else interval_texts([(value, lower, upper)])[0]


def csv_text(table: "pd.DataFrame") -> str:
    """Return a table as CSV; an apostrophe keeps a spreadsheet from running a text that looks like a formula."""
    texts = table.select_dtypes(exclude=["number", "bool"])
    safe = table.assign(**texts.map(_not_a_formula)).rename(columns=_not_a_formula)
    return str(safe.to_csv(index=False, lineterminator="\n"))


def _not_a_formula(cell: Any) -> Any:
    return FORMULA.sub("'", cell) if isinstance(cell, str) else cell
