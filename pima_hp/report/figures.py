"""The figures of one factor of a study: what they draw and what their captions say."""

import math
from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from altair.utils.schemapi import debug_mode

from pima_hp.analysis import curves
from pima_hp.analysis.claims import Claim
from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.decisions import Outcome
from pima_hp.analysis.intervals import Share
from pima_hp.analysis.selection import by_seeds, conclusive, differing, matched
from pima_hp.analysis.verdicts import Verdict
from pima_hp.formatting import label, with_labels
from pima_hp.ledger import mean, quantiles
from pima_hp.report import charts, style
from pima_hp.report.charts import Figure
from pima_hp.report.comparable import Comparison, comparable, missing

MAX_EPOCHS = 120
"""Epochs drawn of a curve; a longer one is drawn at so many evenly spaced ones."""
POINT = ("line", "ink", "dash", "epoch", "mean", "low", "high")
SHOWS = {
    "curves": (),
    "waiting": ("exceeds", "never_exceeds", "reaches", "restricted_epochs"),
    "learns": ("learns",),
    "volatility": ("volatility", "log_volatility"),
    "final": ("final_score", "maximum"),
}
"""Figure -> the statistics of claims that it shows."""
SPREADS = {
    "learns": ("Who learns: final training loss", "A run learns when its mean loss over the last 20 epochs is more "
               "than 0.02 nats below the entropy of its own training labels, the loss of always predicting their "
               "positive rate.",
               [("final training loss minus entropy of the labels", "nats", "excess_loss", "train/loss")]),
    "volatility": ("Volatility", "Volatility: standard deviation of the last 20 epochs about their own line.",
                   [("volatility of training accuracy", "fraction of rows", "volatility", "train/accuracy")]),
    "final": ("Final accuracy", "Final: mean over the last 20 epochs, each measured at its end.",
              [("final training accuracy", "fraction of rows", "final_score", "train/accuracy_end"),
               ("final validation accuracy", "fraction of rows", "final_score", "val/accuracy")]),
}  # fmt: skip
"""Figure of one number a run -> its title, the end of its caption, and the numbers: name, unit, statistic, curve."""


@debug_mode(False)  # of Altair: it checks each part of a chart as it is made, and doubles the time
def figures_of(frame: pd.DataFrame, verdicts: Sequence[Verdict], factor: str) -> dict[str, Figure]:
    """Return the article's figure of a factor, then those of the statistics that claims about it name, by name.

    The captions give the outcomes of the claims. Claims about other tables are left out.
    """
    compared = comparable(frame, [factor])
    about = [verdict for verdict in verdicts if _is_about(verdict.claim, factor, set(compared.runs["data_digest"]))]
    named = [(part.statistic, verdict) for verdict in about for part in verdict.claim.parts if part.statistic]
    shown = {kind: [pair for pair in named if pair[0].name in names] for kind, names in SHOWS.items()}
    figures = {"curves": learning_curves(compared, factor)}
    if shown["waiting"]:
        statistic = shown["waiting"][0][0]
        figures["waiting"] = waiting_times(compared, statistic.value("threshold"), strictly="exceeds" in statistic.name)
    elif compared.reach is not None and not about:
        figures["waiting"] = waiting_times(compared, compared.reach)
    figures |= {kind: spreads(compared, factor, kind) for kind in SPREADS if shown[kind] or kind == "final"}
    for kind, figure in figures.items():
        judged = [of for _, of in shown[kind] if of.outcome != Outcome.UNTESTABLE]
        outcomes = [f"Claim {of.claim.id}, {of.outcome}: {with_labels(of.reason)}." for of in judged]
        caption = " ".join(dict.fromkeys([figure.caption, compared.caption, *outcomes]))
        figures[kind] = replace(figure, title=f"{figure.title}, by {label(factor)}", caption=caption)
    return {kind: figure for kind, figure in figures.items() if figure.panels}


def learning_curves(compared: Comparison, factor: str) -> Figure:
    """Draw accuracy against epoch, a panel a value: training and validation rows, mean and 5-95 % band."""
    validation, majority = compared.validation_rows, compared.majority
    points = {
        value: _points(runs["train/accuracy"], "training (running)", style.TRAINING_COLOR)
        + _points(runs["val/accuracy"], validation, style.VALIDATION_COLOR)
        for value, runs in compared.levels.items()
    }
    drawn = [point for some in points.values() for point in some]
    n_epochs = max((point["epoch"] for point in drawn), default=1)
    dashed = [] if majority is None else [majority]
    low = min([point["low"] for point in drawn if point["epoch"] > n_epochs / 20] + dashed, default=0)
    high = max([point["high"] for point in drawn] + dashed, default=1)
    ends = max(0.0, math.floor(20 * low - 0.2) / 20), min(1.0, math.ceil(20 * high + 0.2) / 20)
    accuracy, panels = "accuracy (fraction of rows)", []
    for value, name in compared.names.items():
        within = [point | {"low": max(point["low"], ends[0])} for point in points[value] if point["mean"] >= ends[0]]
        title, subtitle = f"{label(factor)} {name}", missing(compared.levels[value])
        panels.append(
            charts.lines_panel(within, accuracy, ends, n_epochs, title=title, subtitle=subtitle, majority=majority)
        )
    caption = "Lines: mean over replicates; bands: 5-95 % of single runs. The first twentieth of the epochs may be cut."
    level = "" if majority is None else f" Dashed: always predicting the majority class ({majority:.3f})."
    return Figure(f"Accuracy on training and {validation} rows", caption + level, panels)


def waiting_times(compared: Comparison, threshold: float, *, strictly: bool = False) -> Figure:
    """Draw the share of runs whose running training accuracy has not reached (or exceeded) a threshold, by epoch."""
    bound, verb = (np.nextafter(threshold, np.inf), "exceeded") if strictly else (threshold, "reached")
    points, slots = [], style.slots(compared.levels)
    for value, runs in compared.levels.items():
        table = curves.aligned(conclusive(runs)["train/accuracy"])  # (R, E)
        first = curves.first_epoch_reaching(table, float(bound))
        for epoch in [0, *(style.evenly_spaced(table.shape[1], MAX_EPOCHS) + 1).tolist()] if len(table) else []:
            share = Share(float((first > epoch).sum()), len(first))
            row = (compared.names[value], *slots[value], epoch, share.estimate, *share.interval())
            points.append(dict(zip(POINT, row, strict=True)))
    n_epochs = max((point["epoch"] for point in points), default=1)
    y_title = f"share of runs that have not {verb} {threshold:.2f}"
    panel = charts.lines_panel(points, y_title, (0.0, 1.0), n_epochs, survival=True)
    caption = (
        f"Survival curves: a run leaves at the first epoch whose running training accuracy has {verb} {threshold:.2f}; "
        "a run that diverged never does. Bands: 95 % intervals (Wilson), from the first run that leaves."
    )
    return Figure(f"Epochs until training accuracy has {verb} {threshold:.2f}", caption, [panel])


def spreads(compared: Comparison, factor: str, kind: str) -> Figure:
    """Draw single runs by value, and after them their paired differences from the value of the default settings."""
    title, caption, numbers = SPREADS[kind]
    levels = {"learns": (-0.02, "learns below \N{MINUS SIGN}0.02")}
    if compared.majority is not None:
        levels["final"] = (compared.majority, f"majority class {compared.majority:.3f}")
    names = compared.names
    reference = next((value for value in names if not differing({factor: value})), next(iter(names)))
    against = f"{label(factor)} {names[reference]}"
    colors, panels = {value: color for value, (color, _) in style.slots(compared.levels).items()}, []
    for name, unit, statistic, curve in numbers:
        of_runs = Statistic(name=statistic, curve=curve).of
        of = {value: by_seeds(runs, of_runs) for value, runs in compared.levels.items()}
        single = {value: np.array(list(found.values())) for value, found in of.items()}
        pairs = {value: matched([found, of[reference]])[1] for value, found in of.items() if value != reference}
        differences = {value: table[:, 0] - table[:, 1] for value, table in pairs.items()}
        x_title = f"{name.replace('validation', compared.validation_rows)} ({unit})"
        none = (f"difference to {against}, same seed ({unit})", 0.0, "no difference")
        for runs, texts in ((single, (x_title, *levels.get(kind, (math.nan, "")))), (differences, none)):
            known = {names[value]: some[np.isfinite(some)] for value, some in runs.items()}
            if any(map(len, known.values())):
                panels.append(charts.strips_panel(known, [colors[value] for value in runs], *texts))
    dots = "Dots: single runs; bar: mean and its 95 % interval (bootstrap over seeds)."
    return Figure(title, f"{dots} Then the difference from {against} under the same seed. {caption}", panels)


def _points(series: "pd.Series[Any]", name: str, color: str) -> list[dict[str, Any]]:
    """Return what is drawn of some curves: a point for each epoch that has a value."""
    table = curves.aligned(series)  # (R, E)
    drawn = style.evenly_spaced(table.shape[1], MAX_EPOCHS)
    numbers = np.round([mean(table[:, drawn]), *quantiles(table[:, drawn])], 4).tolist()  # one row of 614 is 0.0016
    rows = zip((drawn + 1).tolist(), *numbers, strict=True)
    return [dict(zip(POINT, (name, color, [1, 0], *row), strict=True)) for row in rows if math.isfinite(row[1])]


def _is_about(claim: Claim, factor: str, tables: Set[str]) -> bool:
    """Return whether a claim is about these tables, and has configurations that differ in a factor."""
    arms = [arm for part in claim.parts for arm in part.where]
    return factor not in claim.where and any(factor in arm for arm in arms) and all(map(claim.is_about, tables))
