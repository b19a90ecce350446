"""The section of a factor: what does it do to the final score?

A number of many values is an axis: its scores are drawn against the value, alone and with each other factor.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import FINAL_TRAINING, FINAL_VALIDATION, Statistic
from pima_hp.analysis.selection import conclusive
from pima_hp.analysis.verdicts import Verdict
from pima_hp.formatting import interval_text, label, shown, value_order, value_text
from pima_hp.ledger.ledger import BAND
from pima_hp.report.charts import TRAINING, VALIDATION, Figure, Looks, is_log, lines, looks_of
from pima_hp.report.comparable import Comparison, comparable
from pima_hp.report.figures import figures_of, learning_curves
from pima_hp.report.heat import heat
from pima_hp.report.study import Section, Study
from pima_hp.report.tables import mean_interval, summary
from pima_hp.run import Array

# Values that come first in a table of more than twice as many; the worst follow.
MOST_BEST = 6
# Values drawn on an axis, where more are averaged in bins of equal width; lines in a figure.
MOST_PLACES, MOST_LINES = 40, 13
# Means this close to the highest are called as good.
WITHIN = 0.01
NOTE = (
    "Final: mean over the last 20 epochs, each measured at its end; ±: standard deviation over runs; "
    "epochs are those of the running training accuracy."
)


def factor_section(study: Study, verdicts: Sequence[Verdict], factor: str, taken: Sequence[str]) -> Section:
    """Return the section of a factor of a study; `taken` are the names of other sections."""
    name = re.sub("[^a-z0-9]+", "_", label(factor).lower())[:60]
    name = f"{name}_{len(taken)}" if name in taken else name
    compared = comparable(study.frame, [factor])
    if compared.is_axis:
        answer, figures = number_answer(study.frame, factor, study.factors)
    else:
        answer, figures = effect_in_words(compared, study.noun), figures_of(study.frame, verdicts, factor)
    figures = {f"{name}_{kind}": figure for kind, figure in figures.items()}
    question = f"What {'do' if label(factor) == 'epochs' else 'does'} the {label(factor)} do?"
    table, note = summary(study.frame, [factor]), NOTE
    if len(table) > 2 * MOST_BEST:
        ranked = table.sort_values(f"final_{compared.validation_rows}_accuracy_mean".replace(" ", "_"), ascending=False)
        table = pd.concat([ranked[:MOST_BEST], ranked[MOST_BEST:][::-1]])
        note = f"The {MOST_BEST} best values, then the others from the worst to the best. {NOTE}"
    return Section(name, question, answer, figures, table, note, shared=compared.caption)


def effect_in_words(compared: Comparison, noun: str) -> str:
    """Return which value has the best mean final score, which the worst, and their paired difference.

    Best and worst are chosen among k values, so the interval is at level 1 - 0.05/(k (k - 1)/2) (Bonferroni): it holds
    for all pairs at once.
    """
    factor, rows = label(compared.factors[0]), compared.validation_rows
    scores = compared.scores(FINAL_VALIDATION)
    means = scores.mean(axis=1).dropna()
    if len(means) < 2:
        return f"Not known yet: finished runs of two values of the {factor} are needed."
    best, worst = str(means.idxmax()), str(means.idxmin())
    found = (
        f"{compared.context} final {rows} accuracy is highest with {factor} {best} ({means[best]:.3f}) "
        f"and lowest with {worst} ({means[worst]:.3f})"
    )
    gains = np.asarray(100 * (scores.loc[best] - scores.loc[worst]).dropna(), float)
    if len(gains) < 2:
        return f"{found}; whether that is more than chance takes more replicates."
    n_pairs = math.comb(len(means), 2)
    gain, lower, upper = mean_interval(gains, 1 - 0.05 / n_pairs)
    kind = f"95 % interval over seeds, paired{f', for all {n_pairs} pairs at once' if n_pairs > 1 else ''}"
    chance = "" if lower > 0 else " That may be chance."
    number = f"{gain:.1f} [{lower:.1f}, {upper:.1f}]".replace("-", "\N{MINUS SIGN}")
    return f"{found}: {number} more of 100 {noun} are classified correctly ({kind}).{chance}"


def single_section(study: Study) -> Section | None:
    """Return how well the one configuration of a study learns; None where there are several or no runs."""
    if study.factors or study.frame.empty:
        return None
    compared = comparable(study.frame, ["activation"])
    scores = FINAL_VALIDATION.of(conclusive(compared.runs))
    known, figure = scores[np.isfinite(scores)], learning_curves(compared, [])
    if not len(known):
        return None
    kind = " (95 % interval over seeds)" if len(known) > 1 else "; one run says nothing about chance"
    level = "" if compared.majority is None else f" Always predicting the majority class has {compared.majority:.3f}."
    answer = f"Its final {compared.validation_rows} accuracy is {interval_text(*mean_interval(known))}{kind}.{level}"
    figure = replace(figure, caption=f"{figure.caption} {compared.caption}")
    table, figures = summary(study.frame, []), {"learning_curves": figure}
    return Section("learning", "How well does it learn?", answer, figures, table, NOTE, shared=compared.caption)


def number_answer(frame: pd.DataFrame, factor: str, factors: Sequence[str]) -> tuple[str, dict[str, Figure]]:
    """Return at which values of a number the final score is best, alone and by other factors, and the figures."""
    alone, name = comparable(frame, [factor]), label(factor)
    scores = scored(alone, FINAL_VALIDATION)
    means = scores.groupby("x")["score"].mean()
    if len(means) < 2:
        return f"Not known yet: finished runs of two values of the {name} are needed.", {}
    highest = mean_interval(scores.loc[scores["x"] == means.idxmax(), "score"].to_numpy())
    kind = " (95 % interval over seeds)" if np.isfinite(highest[1]) else ""
    good = means.index[means >= means.max() - WITHIN]
    answer = (
        f"{alone.context} final {alone.validation_rows} accuracy is highest at {name} {means.idxmax():.3g}: "
        f"{interval_text(*highest)}{kind}, and lowest at {means.idxmin():.3g}: {means.min():.3f}."
        + (f" From {good.min():.3g} to {good.max():.3g}, it is within 0.01 of the highest." if len(good) > 1 else "")
    )
    figures = dict[str, Figure]()
    for other in (other for other in factors if other != factor):
        compared, kind = comparable(frame, [other, factor]), f"with_{other.replace('.', '_').lower()}"
        by_other = scored(compared, FINAL_VALIDATION)
        table = by_other.pivot_table("score", "x", "line")
        if compared.is_axis:
            if factors.index(other) > factors.index(factor):  # one map of a pair
                figures[kind] = over_two(compared, table.T, by_other)
            continue
        table = table.loc[:, table.count() > 2]
        if 1 < len(table.columns) <= MOST_LINES:
            shown_scores = by_other[by_other["line"].isin(table.columns)]
            looks = looks_of(shown_scores["line"].unique())
            figures[kind] = against(compared, shown_scores.sort_values(["line", "x"]), looks)
            best = table.max().sort_values(ascending=False, kind="stable")
            texts = (f"{line} {table[line].idxmax():.3g} ({score:.3f})" for line, score in best.items())
            answer += f" The best {name} by {label(other)}: {', '.join(texts)}."
    both = [scored(alone, FINAL_TRAINING).assign(line="training"), scores.assign(line=alone.validation_rows)]
    rows: Looks = {"training": TRAINING, alone.validation_rows: VALIDATION}
    return answer, figures | {"final": against(alone, pd.concat(both), rows)}


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
