"""The figures of one factor of a study: one function each, which returns charts, a title and a caption."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from pima_hp.analysis import curves
from pima_hp.analysis.claims import Outcome
from pima_hp.analysis.curves import FINAL_TRAINING, FINAL_VALIDATION, Statistic
from pima_hp.analysis.intervals import Share
from pima_hp.analysis.selection import conclusive, differing
from pima_hp.analysis.verdicts import Verdict
from pima_hp.formatting import label, with_labels
from pima_hp.ledger.ledger import mean, quantiles
from pima_hp.report.charts import TRAINING, VALIDATION, Figure, lines, looks_of, rounded, strips
from pima_hp.report.comparable import Comparison, evenly_spaced, missing
from pima_hp.run import Array

# Epochs drawn of a curve; a longer one is drawn at so many evenly spaced ones.
MAX_EPOCHS = 120


def figures_of(compared: Comparison, verdicts: Sequence[Verdict]) -> dict[str, Figure]:
    """Return the figures of a factor by name, the outcomes of the claims that they show in their captions.

    Claims about other tables are left out. A number of many values has figures of its own: `factors`.
    """
    (factor,), figures = compared.factors, {}
    digests = set(compared.runs["data_digest"])
    about = [of for of in verdicts if factor not in of.claim.where and all(map(of.claim.is_about, digests))]
    named = [
        (part.statistic, of)
        for of in about
        for part in of.claim.parts
        if part.statistic and any(factor in arm for arm in part.where)
    ]
    few, n_values = len(compared.levels), len(compared.places)
    drawn = [f"Drawn: {few} of {n_values:,} values, evenly spaced."] if few < n_values else []
    for kind, (draw, statistics) in FIGURES.items():
        shown = [pair for pair in named if pair[0].name in statistics]
        figure = draw(compared, [statistic for statistic, _ in shown])
        if figure and figure.charts:
            judged = [of for _, of in shown if of.outcome != Outcome.UNTESTABLE]
            outcomes = [f"Claim {of.claim.id}, {of.outcome}: {with_labels(of.reason)}." for of in judged]
            caption = " ".join(dict.fromkeys([figure.caption, *drawn, compared.caption, *outcomes]))
            figures[kind] = replace(figure, title=f"{figure.title}, by {label(factor)}", caption=caption)
    return figures


def learning_curves(compared: Comparison, _: Sequence[Statistic]) -> Figure:
    """Draw accuracy against epoch, a chart a value: training and validation rows, mean and 5-95 % band."""
    validation, majority = compared.validation_rows, compared.majority
    points = pd.concat(
        points_of(curves.aligned(runs[key]), line).assign(level=name)
        for name, runs in compared.levels.items()
        for key, line in (("train/accuracy", "training"), ("val/accuracy", validation))
    )
    n_epochs = points["x"].max() if len(points) else 1
    settled = points[points["x"] > n_epochs / 20]
    ends = rounded([*settled["low"], *points["high"], majority or np.nan])
    axes = {"epoch": (1, max(n_epochs, 2)), "accuracy (fraction of rows)": ends}
    looks = {"training": TRAINING, validation: VALIDATION}
    size = (165, 150) if len(compared.levels) > 1 else (400, 270)
    charts = []
    for name, runs in compared.levels.items() if len(points) else ():
        of, title = points[points["level"] == name], f"{label(compared.factors[0])} {name}"
        charts.append(lines(of, looks, axes, majority=majority, title=title, subtitle=missing(runs), size=size))
    caption = (
        "Lines: mean over replicates, of training rows their running accuracy; bands: 5-95 % of single runs. "
        f"The first twentieth of the epochs may be cut. {compared.majority_text}"
    )
    return Figure(f"Accuracy on training and {validation} rows", caption, charts)


def waiting_times(compared: Comparison, statistics: Sequence[Statistic]) -> Figure | None:
    """Draw the share of runs whose running training accuracy has not reached, or exceeded, a threshold, by epoch."""
    threshold = statistics[0].threshold if statistics else compared.reach
    if threshold is None:
        return None
    strictly = bool(statistics) and "exceeds" in statistics[0].name
    bound, verb = (float(np.nextafter(threshold, np.inf)), "exceeded") if strictly else (threshold, "reached")
    points = []
    for name, runs in compared.levels.items():
        table = curves.aligned(conclusive(runs)["train/accuracy"])  # (R, E)
        first = curves.first_epoch_reaching(table, bound)
        for epoch in [0, *(evenly_spaced(table.shape[1], MAX_EPOCHS) + 1).tolist()] if len(table) else []:
            share = Share(float((first > epoch).sum()), len(first))
            points.append((name, epoch, share.estimate, *share.interval()))
    drawn = pd.DataFrame(points, columns=["line", "x", "mean", "low", "high"])
    axes = {"epoch": (0, drawn["x"].max()), f"share of runs that have not {verb} {threshold:.2f}": (0, 1)}
    caption = (
        f"Survival curves: a run leaves at the first epoch whose running training accuracy has {verb} {threshold:.2f}; "
        "a run that diverged never does. Bands: 95 % intervals over seeds (Wilson)."
    )
    charts = [lines(drawn, looks_of(compared.levels), axes, interpolate="step-after")] if points else []
    return Figure(f"Epochs until training accuracy has {verb} {threshold:.2f}", caption, charts)


def who_learns(compared: Comparison, statistics: Sequence[Statistic]) -> Figure | None:
    """Draw the final training loss of each run minus the entropy of its labels, where a claim is about it."""
    caption = (
        "A run learns when its mean loss over the last 20 epochs is more than 0.02 nats (dashed) below the entropy of "
        "its own training labels, the loss of always predicting their positive rate."
    )
    scores = {"final training loss minus entropy of the labels": Statistic(name="excess_loss", curve="train/loss")}
    return _spread(compared, "Who learns: final training loss", caption, scores, "nats", -0.02) if statistics else None


def volatility(compared: Comparison, statistics: Sequence[Statistic]) -> Figure | None:
    """Draw how much the training accuracy of each run moves about its trend, where a claim is about it."""
    caption = "Volatility: standard deviation of the last 20 epochs about their own line."
    scores = {"volatility of training accuracy": Statistic(name="volatility", curve="train/accuracy")}
    return _spread(compared, "Volatility", caption, scores, "fraction of rows", None) if statistics else None


def final_accuracy(compared: Comparison, _: Sequence[Statistic]) -> Figure:
    """Draw the final accuracy of each run on training and validation rows."""
    scores = {
        "final training accuracy": FINAL_TRAINING,
        f"final {compared.validation_rows} accuracy": FINAL_VALIDATION,
    }
    caption = f"Final: mean over the last 20 epochs, each measured at its end. {compared.majority_text}"
    return _spread(compared, "Final accuracy", caption, scores, "fraction of rows", compared.majority)


# Name of a figure -> its function, and the statistics of claims that it shows.
FIGURES = {
    "curves": (learning_curves, ()),
    "waiting": (waiting_times, ("exceeds", "never_exceeds", "reaches", "restricted_epochs")),
    "learns": (who_learns, ("learns",)),
    "volatility": (volatility, ("volatility", "log_volatility")),
    "final": (final_accuracy, ("final_score",)),
}


def _spread(
    compared: Comparison, title: str, caption: str, scores: Mapping[str, Statistic], unit: str, level: float | None
) -> Figure:
    """Draw single runs by value, and after them their paired differences from the value of the default settings."""
    (factor, *_), levels, charts = compared.factors, compared.levels, []
    usual = [name for name, runs in levels.items() if not differing({factor: runs[factor].iloc[0]})]
    reference = [*usual, *levels][0]
    against = f"{label(factor)} {reference}"
    for name, statistic in scores.items():
        single = compared.scores(statistic)
        differences = (single - single.loc[reference]).drop(reference)
        for rows, x_title, dashed in ((single, name, level), (differences, f"difference to {against}", 0)):
            if rows.notna().any(axis=None):
                charts.append(strips(rows, looks_of(levels), f"{x_title} ({unit})", dashed))
    is_averaged = any(single.shape[1] < len(conclusive(runs)) for runs in levels.values())
    ticks = f"Ticks: {'means by split' if is_averaged else 'single runs'}; "
    ticks += "bar: mean and its 95 % interval over seeds (bootstrap)."
    return Figure(title, f"{ticks} Then the difference from {against} under the same seed. {caption}", charts)


def points_of(table: Array, line: str, center: Callable[[Array], Array] = mean) -> pd.DataFrame:
    """Return what is drawn of the curves of some runs, (R, E): center and 5-95 % band at each epoch that has values."""
    drawn = evenly_spaced(table.shape[1], MAX_EPOCHS)
    low, high = quantiles(table[:, drawn])
    points = {"line": line, "x": drawn + 1, "mean": center(table[:, drawn]), "low": low, "high": high}
    return pd.DataFrame(points).dropna()
