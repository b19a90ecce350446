"""A number of each run by value, and its paired differences: the runs of a study in, a figure out."""

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.intervals import Inference, bootstrap
from pima_hp.analysis.selection import ByReplicate, by_seeds, default_settings, matched
from pima_hp.report import strips, style
from pima_hp.report.chart import Figure, figure
from pima_hp.report.settings import comparable, display_names, label, value_text
from pima_hp.report.strips import Row
from pima_hp.run import Array


@dataclass(frozen=True)
class Contrast:
    """What a claim compares: values with others, each group averaged within a seed."""

    claim: str  # its id
    where: tuple[str, ...]
    over: tuple[str, ...]
    estimate: Inference  # as the verdict has it


@dataclass(frozen=True)
class Quantity:
    """A number of a run, for `spreads`."""

    name: str
    unit: str
    values: Callable[[pd.DataFrame], Array]  # of runs, (R,)
    level: float | None = None  # a reference that runs are held against
    told: str = ""  # what the level is, in a few words
    counted: Callable[[pd.DataFrame], Array] | None = None  # 1 for the runs to count, 0 for others, (R,)
    verb: str = ""  # what those runs do: "learn"
    log: bool = False  # whether values are logarithms, compared by their ratio
    contrasts: tuple[Contrast, ...] = ()  # drawn with the paired differences


def spreads(
    frame: pd.DataFrame, factor: str, quantities: Sequence[Quantity], title: str, told: Sequence[str] = ()
) -> Figure:
    """Single runs by value, and after them their paired differences from the baseline's value.

    Two panels a quantity, in each a row a value; the title says what the quantities are. `told` goes into the caption.
    """
    comparison = comparable(frame, [factor])
    levels = comparison.levels(factor)
    names, slots = display_names(levels), style.slots(levels)
    usual = value_text(default_settings().get(factor))
    reference = usual if usual in levels else next(iter(levels))
    parts, beyond = [], []
    for quantity in quantities:
        of = {value: by_seeds(runs, quantity.values) for value, runs in levels.items()}
        inverse: Callable[[Any], Any] = np.exp if quantity.log else lambda item: item

        def row(value: str, some: Sequence[float], quantity: Quantity = quantity, inverse: Any = inverse) -> Row:
            return _row(names[value], slots[value], some, inverse, quantity.name)

        single = [row(value, list(found.values())) for value, found in of.items()]
        if quantity.counted:
            answers = [by_seeds(runs, quantity.counted).values() for runs in levels.values()]
            known = [[answer for answer in some if not math.isnan(answer)] for some in answers]
            notes = [f"{sum(some):.0f} of {len(some)} {quantity.verb}" for some in known]
            single = [replace(item, note=note) for item, note in zip(single, notes, strict=True)]
        differences = {value: _paired([found], [of[reference]]) for value, found in of.items() if value != reference}
        paired = [row(value, some) for value, some in differences.items()]
        paired += [_claimed(item, of, inverse) for item in quantity.contrasts]
        kind, unit = ("ratio", "") if quantity.log else ("difference", f" ({quantity.unit})")
        beside = f"{kind} to {label(factor)} {names[reference]}, same seed{unit}"
        none = float(inverse(0.0))
        kinds = [("runs", single, f"{quantity.name} ({quantity.unit})", quantity.level, quantity.told),
                 (f"{kind}s", paired, beside, none, f"no {'change' if quantity.log else 'difference'}")]  # fmt: skip
        for what, rows, x_title, level, above in kinds:
            if what != "runs" and not any(np.isfinite(item.values).any() for item in rows):
                continue
            ends, n_beyond = strips.strip_ends([] if level is None else [level], rows, log=quantity.log)
            panel = strips.strips_panel(rows, x_title, ends, level=level, told=above, log=quantity.log)
            parts.append(panel)
            if n_beyond:
                beyond.append(f"{n_beyond} of {sum(len(item.values) for item in rows)} {what}")
    logs = any(item.log for item in quantities)
    geometric = "geometric " if logs else ""
    if max(map(len, levels.values())) > 1:
        lines = [f"Dots: single runs; bar: {geometric}mean and its 95 % interval (bootstrap over seeds)."]
    else:
        lines = ["Dots: a single run each, so there is no interval."]
    if len(levels) > 1:
        contrast = "ratio to" if logs else "difference from"
        lines.append(f"Then the {contrast} {label(factor)} {names[reference]} under the same seed.")
    lines += [
        f"Claim {item.claim} compares {_and(item.where, names)} over {_and(item.over, names)}."
        for quantity in quantities
        for item in quantity.contrasts
    ]
    lines += [f"Beyond the axes: {', '.join(beyond)}."] if beyond else []
    width = max(200, 560 - max((part["usermeta"]["aside"] for part in parts), default=0))
    drawn = [{**part, "width": width} for part in parts]
    return figure(title, comparison, factor, [*lines, *told], drawn, 1, most_columns=2)


def _paired(first: Sequence[ByReplicate], second: Sequence[ByReplicate]) -> list[float]:
    """Mean of the first less mean of the second, for the replicates that all have."""
    _, table = matched([*first, *second])  # (R, K)
    found: list[float] = (table[:, : len(first)].mean(axis=1) - table[:, len(first) :].mean(axis=1)).tolist()
    return found


def _claimed(item: Contrast, of: dict[str, Any], inverse: Callable[[Any], Any]) -> Row:
    values = np.array(_paired([of[value] for value in item.where], [of[value] for value in item.over]))
    black: style.Slot = (style.BLACK, style.SOLID)
    mean, (lower, upper) = item.estimate.estimate, item.estimate.interval()
    return Row(f"claim {item.claim}", black, inverse(values), mean, lower, upper)


def _and(values: Iterable[str], names: dict[str, str]) -> str:
    return " and ".join(names[value] for value in values)


def _row(name: str, slot: style.Slot, values: Sequence[float], inverse: Callable[[Any], Any], what: str) -> Row:
    array = np.array([value for value in values if not math.isnan(value)])
    if len(array) < 2:
        mean = float(inverse(array[0])) if len(array) else math.nan
        return Row(name, slot, inverse(array), mean, math.nan, math.nan)
    found = bootstrap(array, np.random.default_rng(zlib.crc32(f"{name}/{what}".encode(errors="replace"))), 2_000)
    mean, lower, upper = (float(inverse(item)) for item in (found.estimate, *found.interval()))
    return Row(name, slot, inverse(array), mean, lower, upper)
