"""A number of each run by value, and its paired differences: the runs of a study in, a figure out."""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.bootstrap import bootstrap
from pima_hp.analysis.selection import baseline, by_seeds
from pima_hp.record import Array
from pima_hp.report import panels, style
from pima_hp.report.chart import Figure, figure
from pima_hp.report.panels import Row
from pima_hp.report.settings import comparable, display_names, label, value_text


@dataclass(frozen=True)
class Quantity:
    """A number of a run, for `spreads`."""

    name: str  # with its unit, as an axis has it
    column: str  # the curve
    functional: Callable[[Array], Array]  # (R, E) -> (R,)
    level: float | None = None  # a reference that runs are held against
    told: str = ""  # what the level is
    log: bool = False  # whether values are compared by their ratio


def spreads(frame: pd.DataFrame, factor: str, quantities: Sequence[Quantity], title: str) -> Figure:
    """Single runs by value, and beside them their paired differences from the baseline's value.

    A row a value, and a row of panels a quantity; the title says what the quantities are.
    """
    comparison = comparable(frame, [factor])
    levels = comparison.levels(factor)
    names, slots = display_names(levels), style.slots(levels)
    usual = value_text(baseline().get(factor))
    reference = usual if usual in levels else next(iter(levels))
    _, width, _ = style.columns_and_size(2)
    parts = []
    for quantity in quantities:
        of = {value: by_seeds(runs, quantity.column, quantity.functional) for value, runs in levels.items()}
        inverse: Callable[[Any], Any] = np.exp if quantity.log else lambda item: item
        single = {value: list(found.values()) for value, found in of.items()}
        usual_of = of.pop(reference)
        paired = {
            value: [found[key] - usual_of[key] for key in found if key in usual_of] for value, found in of.items()
        }
        beside = f"{'ratio' if quantity.log else 'difference'} to {names[reference]}, same seed"
        for shown, x_title, level in [(single, quantity.name, quantity.level), (paired, beside, float(inverse(0.0)))]:
            rows = [_row(names[value], slots[value], some, inverse, x_title) for value, some in shown.items()]
            if rows:
                panel = panels.strips_panel(rows, x_title, level=level, log=quantity.log)
                parts.append({**panel, "width": width + 5})
    logs = any(item.log for item in quantities)
    told = [f"Dots: single runs; bar: {'geometric ' if logs else ''}mean and its 95 % interval (bootstrap over seeds)."]
    if len(levels) > 1:
        contrast = "ratio to" if logs else "difference from"
        told.append(f"Right: the {contrast} {label(factor)} {names[reference]} under the same seed.")
    told += [f"Dashed on the left: {item.told}." for item in quantities if item.level is not None]
    return figure(title, comparison, factor, told, parts, 2)


def _row(name: str, slot: style.Slot, values: Sequence[float], inverse: Callable[[Any], Any], what: str) -> Row:
    array = np.array([value for value in values if not math.isnan(value)])
    if len(array) < 2:
        mean = float(inverse(array[0])) if len(array) else math.nan
        return Row(name, slot, inverse(array), mean, mean, mean)
    found = bootstrap(array, np.random.default_rng(zlib.crc32(f"{name}/{what}".encode(errors="replace"))), 2_000)
    return Row(name, slot, inverse(array), *(float(inverse(item)) for item in (found.estimate, *found.interval())))
