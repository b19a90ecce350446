"""Accuracy against the epoch, and how long runs take: the runs of a study in, a figure out."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis import curves
from pima_hp.analysis.intervals import Share
from pima_hp.analysis.selection import conclusive
from pima_hp.ledger.bands import mean, quantiles
from pima_hp.report import panels, style
from pima_hp.report.chart import Figure, figure, missing
from pima_hp.report.panels import Spec
from pima_hp.report.settings import comparable, display_names, label, watched_rows

MAX_EPOCHS = 120
"""Epochs drawn of a curve; a longer one is drawn at so many evenly spaced ones."""


def learning_curves(frame: pd.DataFrame, factor: str, *, majority: float | None = None) -> Figure:
    """Accuracy against epoch, a panel a value: training and watched rows, mean and 5-95 % band.

    Of the other settings one combination is drawn (see `comparable`). A dashed line is at `majority`: the accuracy
    of always predicting the more frequent class.
    """
    comparison = comparable(frame, [factor])
    levels = comparison.levels(factor)
    watched = watched_rows(comparison)
    names = {"train/accuracy": "training (running)", "val/accuracy": watched}
    colours = {names["train/accuracy"]: style.TRAINING_COLOUR, watched: style.WATCHED_COLOUR}
    shown = {
        value: [p for key, name in names.items() for p in _points(runs[key], name)] for value, runs in levels.items()
    }
    ends, cut = _ends([point for points in shown.values() for point in points], majority)
    n_columns, width, height = style.columns_and_size(len(levels))
    several = max(map(len, levels.values())) > 1
    n_epochs = max(np.size(curve) for runs in levels.values() for key in names for curve in runs[key])
    parts = []
    for index, (value, name) in enumerate(display_names(levels).items()):
        heading = {"text": f"{label(factor)} {name}", "limit": width + 80}
        if lost := missing(levels[value]) or ("" if shown[value] else "no run has a value"):
            heading["subtitle"] = lost
        y_title = None if index else "accuracy (fraction of rows)"
        panel = panels.curves_panel(_within(shown[value], ends), colours, ends, n_epochs, majority, y_title,
                                    f"hover{index}")  # fmt: skip
        parts.append({**panel, "width": width, "height": height, "title": heading})
    if len(parts) > 1 and len(parts) % 2:  # no hole among the panels
        notes = {f"{name}, mean": {"type": "rule", "strokeWidth": 2.5, "color": ink} for name, ink in colours.items()}
        if several:
            notes |= {f"{name.partition(' (')[0]}, 5-95 % of runs":
                      {"type": "rule", "strokeWidth": 11, "color": style.TINTS[ink]}
                      for name, ink in colours.items()}  # fmt: skip
        if majority is not None:
            notes["always the majority class"] = {"type": "rule", "strokeDash": [4, 4], "color": style.SOFT}
        parts.append({**panels.key_panel(notes), "width": width, "height": height})
    band = "Lines: mean over replicates; bands: 5-95 % of single runs."
    told = [band if several else "Lines: a single run each, so there is no band."]
    if majority is not None:
        told.append(f"Dashed: always predicting the majority class ({majority:.3f}).")
    if n_epochs > MAX_EPOCHS:
        told.append(f"Drawn at {MAX_EPOCHS} evenly spaced epochs.")
    if cut:
        told.append(f"Not shown: values below {ends[0]:.2f} in the first epochs.")
    select = {"type": "point", "encodings": ["x"], **panels.NEAREST}
    at = {"name": "at", "select": select, "views": [f"hover{number}" for number in range(len(levels))]}
    title = f"Accuracy on training and {watched} rows"
    return figure(title, comparison, factor, told, parts, n_columns, params=[at])


def waiting_times(frame: pd.DataFrame, factor: str, threshold: float, *, strictly: bool = False) -> Figure:
    """Share of runs whose training accuracy has not yet reached a threshold, against epoch: survival curves.

    A line a value; training accuracy is the running one. `strictly`: it must exceed the threshold, not only reach it.
    """
    comparison = comparable(frame, [factor])
    levels = comparison.levels(factor)
    names = display_names(levels)
    bound = float(np.nextafter(threshold, np.inf)) if strictly else threshold
    points, n_epochs = [], 1
    for value, runs in levels.items():
        table = curves.aligned(conclusive(runs)["train/accuracy"])  # (R, E)
        n_epochs = max(n_epochs, table.shape[1])
        first = curves.first_epoch_reaching(table, bound)
        for epoch in [0, *(style.evenly_spaced(table.shape[1], MAX_EPOCHS) + 1).tolist()] if len(table) else []:
            waiting = Share(float((first > epoch).sum()), len(first))
            low, high = waiting.interval()
            shares = {"share": waiting.estimate, "low": low, "high": high}
            rounded = {key: round(item, 4) for key, item in shares.items()}
            points.append({"line": names[value], "epoch": epoch, **rounded})
    slots = {names[value]: slot for value, slot in style.slots(levels).items()}
    drawn = {name: slots[name] for name in names.values()}
    verb = "exceeded" if strictly else "reached"
    panel = panels.waiting_panel(points, drawn, n_epochs, f"share of runs that have not {verb} {threshold:.2f}",
                                 label(factor))  # fmt: skip
    parts, (_, width, height) = [panel], style.columns_and_size(1)
    if len(drawn) > panels.MOST_DIRECT:
        marks = {
            name: {"type": "rule", "color": ink, "strokeDash": list(dash), "strokeWidth": 2.2}
            for name, (ink, dash) in drawn.items()
        }
        parts, width = [panel, panels.key_panel(marks)], 300
    told = [
        f"Survival curves: a run leaves at the first epoch whose running training accuracy has {verb} {threshold:.2f}; "
        "a run that diverged never does.",
        "Bands: 95 % intervals (Wilson), from the first run that leaves."
        if len(drawn) <= panels.MOST_DIRECT
        else "Of so many values no bands are drawn.",
    ]
    title = f"Epochs until training accuracy has {verb} {threshold:.2f}"
    return figure(title, comparison, factor, told, [{**part, "width": width, "height": height} for part in parts],
                  len(parts))  # fmt: skip


def _points(runs: "pd.Series[Any]", name: str) -> list[Spec]:
    """What is drawn of some curves: a point for each epoch that has a value."""
    table = curves.aligned(runs)  # (R, E)
    drawn = style.evenly_spaced(table.shape[1], MAX_EPOCHS)
    points = []
    for epoch, *values in zip((drawn + 1).tolist(), mean(table[:, drawn]), *quantiles(table[:, drawn]), strict=True):
        if math.isfinite(values[0]):
            centre, low, high = (round(float(value), 4) for value in values)  # one row of 614 is 0.0016
            band = {"low": low, "high": high} if len(runs) > 1 else {}
            points.append({"line": name, "epoch": epoch, "mean": centre, **band})
    return points


def _within(points: Sequence[Spec], ends: panels.Ends) -> list[Spec]:
    """Points whose mean is on the axis, bands cut at its ends."""
    kept = [point for point in points if point["mean"] >= ends[0]]
    return [{key: max(item, ends[0]) if key == "low" else item for key, item in point.items()} for point in kept]


def _ends(points: Sequence[Spec], majority: float | None) -> tuple[tuple[float, float], bool]:
    """Ends of the accuracy axis, whole twentieths; what only the first twentieth of epochs has may fall below."""
    last = max((point["epoch"] for point in points), default=1)
    heights = [
        (point["epoch"] > last / 20, point[key]) for point in points for key in ("mean", "low", "high") if key in point
    ]
    heights += [] if majority is None else [(True, majority)]
    low = min((item for late, item in heights if late), default=0.0)
    high = max((item for _, item in heights), default=1.0)
    ends = max(0.0, math.floor(low * 20 - 0.2) / 20), min(1.0, math.ceil(high * 20 + 0.2) / 20)
    return ends, any(item < ends[0] for _, item in heights)
