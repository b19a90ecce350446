"""The section of a factor: what does it do to the final score?

A number of many values is an axis: its scores are drawn against the value, alone and with each other factor.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import FINAL_TRAINING, FINAL_VALIDATION, Statistic
from pima_hp.analysis.selection import conclusive
from pima_hp.analysis.verdicts import Verdict
from pima_hp.formatting import label, shown, value_order, value_text
from pima_hp.ledger.ledger import BAND
from pima_hp.report.charts import TRAINING, VALIDATION, Figure, Looks, is_log, lines, looks_of
from pima_hp.report.comparable import Comparison, comparable
from pima_hp.report.figures import figures_of, learning_curves
from pima_hp.report.heat import heat
from pima_hp.report.study import Section, Study
from pima_hp.report.tables import mean_interval, summary
from pima_hp.report.words import words
from pima_hp.run import Array

# Values that come first in a table of more than twice as many; the worst follow.
MOST_BEST = 6
# Values drawn on an axis, where more are averaged in bins of equal width; lines in a figure.
MOST_PLACES, MOST_LINES = 40, 13
# Means this close to the highest are called as good.
WITHIN = 0.01


def factor_section(study: Study, verdicts: Sequence[Verdict], factor: str, taken: Sequence[str]) -> Section:
    """Return the section of a factor of a study; `taken` are the names of other sections."""
    name = re.sub("[^a-z0-9]+", "_", label(factor).lower())[:60]
    name = f"{name}_{len(taken)}" if name in taken else name
    compared, table = comparable(study.frame, [factor]), summary(study.frame, [factor])
    if compared.is_axis:
        found, figures = over_axis(study, compared)
    else:
        found, figures = effect(compared), figures_of(compared, verdicts)
    n_best = MOST_BEST if len(table) > 2 * MOST_BEST else 0
    if n_best:
        ranked = table.sort_values(f"final_{compared.validation_rows}_accuracy_mean".replace(" ", "_"), ascending=False)
        table = pd.concat([ranked[:n_best], ranked[n_best:][::-1]])
    text = words(
        "factor", what=label(factor), context=compared.context, rows=compared.validation_rows, noun=study.noun,
        is_axis=compared.is_axis, within=WITHIN, n_best=n_best, **found,
    )  # fmt: skip
    figures = {f"{name}_{kind}": figure for kind, figure in figures.items()}
    return Section(name, figures=figures, table=table, shared=compared.caption, **text)


def effect(compared: Comparison) -> dict[str, Any]:
    """Return the mean final score of each value, which value has the best, which the worst, their paired difference.

    Best and worst are chosen among k values, so the interval is at level 1 - 0.05/(k (k - 1)/2) (Bonferroni): it holds
    for all pairs at once.
    """
    scores = compared.scores(FINAL_VALIDATION)
    means = scores.mean(axis=1).dropna()
    if len(means) < 2:
        return {"means": means}
    best, worst, n_pairs = str(means.idxmax()), str(means.idxmin()), math.comb(len(means), 2)
    gains = np.asarray(100 * (scores.loc[best] - scores.loc[worst]).dropna(), float)
    gain = mean_interval(gains, 1 - 0.05 / n_pairs)
    return {"means": means, "best": best, "worst": worst, "gain": gain, "n_pairs": n_pairs}


def single_section(study: Study) -> Section | None:
    """Return how well the one configuration of a study learns; None where there are several or no runs."""
    if study.factors or study.frame.empty:
        return None
    compared = comparable(study.frame, ["activation"])
    scores = FINAL_VALIDATION.of(conclusive(compared.runs))
    known, figure = scores[np.isfinite(scores)], learning_curves(compared, [])
    if not len(known):
        return None
    text = words("learning", rows=compared.validation_rows, score=mean_interval(known), majority=compared.majority)
    figures = {"learning_curves": replace(figure, caption=f"{figure.caption} {compared.caption}")}
    return Section("learning", figures=figures, table=summary(study.frame, []), shared=compared.caption, **text)


def over_axis(study: Study, alone: Comparison) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Return at which values of a number the final score is best, alone and by other factors, and the figures."""
    (factor,), figures, by = alone.factors, dict[str, Figure](), dict[str, list[str]]()
    scores = scored(alone, FINAL_VALIDATION)
    means = scores.groupby("x")["score"].mean()
    if len(means) < 2:
        return {"means": means}, figures
    for other in (other for other in study.factors if other != factor):
        compared, kind = comparable(study.frame, [other, factor]), f"with_{other.replace('.', '_').lower()}"
        by_other = scored(compared, FINAL_VALIDATION)
        table = by_other.pivot_table("score", "x", "line")
        if compared.is_axis:
            if study.factors.index(other) > study.factors.index(factor):  # one map of a pair
                figures[kind] = over_two(compared, table.T, by_other)
            continue
        table = table.loc[:, table.count() > 2]
        if 1 < len(table.columns) <= MOST_LINES:
            drawn = by_other[by_other["line"].isin(table.columns)]
            looks = looks_of(drawn["line"].unique())
            figures[kind] = against(compared, drawn.sort_values(["line", "x"]), looks)
            ranked = table.max().sort_values(ascending=False, kind="stable")
            by[label(other)] = [f"{line} {table[line].idxmax():.3g} ({score:.3f})" for line, score in ranked.items()]
    both = [scored(alone, FINAL_TRAINING).assign(line="training"), scores.assign(line=alone.validation_rows)]
    rows: Looks = {"training": TRAINING, alone.validation_rows: VALIDATION}
    figures["final"] = against(alone, pd.concat(both), rows)
    best, worst, good = means.idxmax(), means.idxmin(), [*means.index[means >= means.max() - WITHIN]]
    highest = mean_interval(scores.loc[scores["x"] == best, "score"].to_numpy())
    found = {"means": means, "best": best, "worst": worst, "highest": highest, "good": good, "by_other": by}
    return found, figures


def scored(compared: Comparison, statistic: Statistic) -> pd.DataFrame:
    """Return a statistic of the runs that have it (`score`): by value of the first factor (`line`) and the last (`x`).

    A number is where it is drawn, unless it takes few values and is the first.
    """
    runs = conclusive(compared.runs).sort_values(compared.factors[0], key=lambda of: of.map(value_order), kind="stable")
    first, numbers = runs[compared.factors[0]], runs[compared.factors[-1]].to_numpy(float)
    line = places_of(first.to_numpy(float)) if compared.is_axis else [shown(value_text(value), 34) for value in first]
    table = {"line": line, "number": numbers, "x": places_of(numbers), "score": statistic.of(runs)}
    return pd.DataFrame(table).dropna(subset="score")


def against(compared: Comparison, scores: pd.DataFrame, looks: Looks) -> Figure:
    """Draw final accuracy against a number: of training and validation rows, or a line a value of another factor."""
    *others, name = map(label, compared.factors)
    score = f"final {compared.validation_rows} accuracy" if others else "final accuracy"
    band = partial(mean_interval, n_resamples=1_000) if others else spread
    bands = "95 % interval of the mean over seeds" if others else "5-95 % of single runs"
    runs = scores.groupby(["line", "x"], sort=False)["score"]
    rows = [(*of, *band(found.to_numpy())) for of, found in runs]
    points = pd.DataFrame(rows, columns=["line", "x", "mean", "low", "high"])
    points = points.fillna(dict.fromkeys(("low", "high"), points["mean"]))  # of a single run
    chart = lines(points, looks, {name: None, f"{score} (fraction of rows)": None}, majority=compared.majority)
    caption = f"Lines: mean over runs; bands: {bands}. Final: mean over the last 20 epochs. {compared.majority_text}"
    title = f"{score.capitalize()} against {', by '.join([name, *others])}"
    return Figure(title, f"{caption} {_binned(scores, name)}{compared.caption}", [chart])


def over_two(compared: Comparison, means: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """Draw the mean final validation accuracy over two numbers: a heat map with contour lines."""
    highest, (second, first) = means.max(), map(label, compared.factors)
    x = highest.idxmax()
    y = means[x].idxmax()
    caption = (
        f"Color: mean over runs, {means.min().min():.3f} (dark) to {highest.max():.3f} (bright); white lines: "
        f"contours; ring: the highest, at {first} {x:.3g} and {second} {y:.3g}; blank: no run with a final score."
    )
    title = f"Final {compared.validation_rows} accuracy over {first} and {second}"
    chart = heat(means, (first, second))
    return Figure(title, f"{caption} {_binned(scores, first)}{compared.caption}", [chart])


def spread(scores: Array) -> tuple[float, float, float]:
    """Return the mean of some runs and the quantiles between which most of them lie."""
    return float(scores.mean()), *np.quantile(scores, BAND)


def places_of(numbers: Array) -> Array:
    """Return where numbers are drawn, (R,): very many in the centers of bins of equal width on their axis."""
    if len(np.unique(numbers)) <= MOST_PLACES:
        return numbers
    log = is_log(numbers)
    at = np.log(numbers) if log else numbers
    centers = at.min() + (pd.cut(at, MOST_PLACES, labels=False) + 0.5) * np.ptp(at) / MOST_PLACES
    return np.asarray(np.exp(centers) if log else centers)


def _binned(scores: pd.DataFrame, name: str) -> str:
    n_values, n_places = scores["number"].nunique(), scores["x"].nunique()
    return f"{n_values:,} values of the {name} in {n_places} bins. " if n_places < n_values else ""
