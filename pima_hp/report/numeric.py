"""A numeric factor of many values: its final scores against the value, alone and with each other factor."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import FINAL_TRAINING, FINAL_VALIDATION
from pima_hp.analysis.selection import conclusive
from pima_hp.formatting import interval_text, label, shown, value_order, value_text
from pima_hp.report.charts import TRAINING, VALIDATION, Figure, Looks, lines, looks_of
from pima_hp.report.comparable import Comparison, comparable
from pima_hp.report.heat import heat
from pima_hp.report.tables import mean_interval
from pima_hp.run import Array

# Values drawn on an axis, where more are averaged in bins of equal width; lines in a figure.
MOST_PLACES, MOST_LINES = 40, 13
# Means this close to the highest are called as good.
WITHIN = 0.01
SCORES = {
    "training": FINAL_TRAINING,
    "validation": FINAL_VALIDATION,
}


def number_answer(frame: pd.DataFrame, factor: str, factors: Sequence[str]) -> tuple[str, dict[str, Figure]]:
    """Return at which values of a number the final score is best, alone and by other factors, and the figures."""
    alone, name = comparable(frame, [factor]), label(factor)
    table = scored(alone)
    means = table.groupby("place")["validation"].mean().dropna()
    if len(means) < 2:
        return f"Not known yet: finished runs of two values of the {name} are needed.", {}
    highest = mean_interval(table.loc[table["place"] == means.idxmax(), "validation"].dropna().to_numpy())
    kind = " (95 % interval over seeds)" if np.isfinite(highest[1]) else ""
    good = means.index[means >= means.max() - WITHIN]
    answer = (
        f"{alone.context} final {alone.validation_rows} accuracy is highest at {name} {means.idxmax():.3g}: "
        f"{interval_text(*highest)}{kind}, and lowest at {means.idxmin():.3g}: {means.min():.3f}."
        + (f" From {good.min():.3g} to {good.max():.3g}, it is within 0.01 of the highest." if len(good) > 1 else "")
    )
    figures, final = dict[str, Figure](), against(alone, table)
    for other in (other for other in factors if other != factor):
        compared, kind = comparable(frame, [other, factor]), f"with_{other.replace('.', '_').lower()}"
        table = scored(compared)
        by_level = table.groupby(["level", "place"])["validation"].mean().dropna().groupby("level")
        best = {str(level): (of.droplevel(0).idxmax(), of.max()) for level, of in by_level if len(of) > 2}
        if compared.is_axis and factors.index(other) > factors.index(factor):
            figures[kind] = over_two(compared, table)
        elif not compared.is_axis and 1 < len(best) <= MOST_LINES:
            figures[kind] = against_by_level(compared, table, best)
            ranked = sorted(best.items(), key=lambda of: -of[1][1])
            texts = (f"{level} {place:.3g} ({score:.3f})" for level, (place, score) in ranked)
            answer += f" The best {name} by {label(other)}: {', '.join(texts)}."
    return answer, figures | {"final": final}


def against(compared: Comparison, table: pd.DataFrame) -> Figure:
    """Draw the final accuracy of training and validation rows against a number."""
    looks, points = {"training": TRAINING, compared.validation_rows: VALIDATION}, []
    for key, line in zip(SCORES, looks, strict=True):
        of = table.groupby("place")[key]
        low, mean, high = of.quantile(0.05), of.mean(), of.quantile(0.95)
        points.append(pd.DataFrame({"line": line, "mean": mean, "low": low, "high": high}).reset_index(names="x"))
    return _figure(compared, table, pd.concat(points), looks, "5-95 % of single runs")


def against_by_level(compared: Comparison, table: pd.DataFrame, levels: Collection[str]) -> Figure:
    """Draw the final validation accuracy against a number, a line a value of the other factor."""
    runs = table[table["level"].isin(levels)].dropna().groupby(["level", "place"])["validation"]
    rows = [(*of, *mean_interval(scores.to_numpy(), n_resamples=1_000)) for of, scores in runs]
    points = pd.DataFrame(rows, columns=["line", "x", "mean", "low", "high"])
    points = points.fillna(dict.fromkeys(("low", "high"), points["mean"]))  # of a single run
    looks = looks_of(dict.fromkeys(level for level in table["level"] if level in levels))
    return _figure(compared, table, points, looks, "95 % interval of the mean over seeds")


def over_two(compared: Comparison, table: pd.DataFrame) -> Figure:
    """Draw the mean final validation accuracy over two numbers: a heat map with contour lines."""
    numbers = [table["number"].to_numpy(), table["value"].to_numpy(float)]
    means = table.assign(y=places_of(numbers[1])).groupby(["place", "y"])["validation"].mean().dropna()
    cells = means.rename("value").rename_axis(["x", "y"]).reset_index()
    highest, (second, first) = cells.nlargest(1, "value").iloc[0], map(label, compared.factors)
    caption = (
        f"Color: mean over runs, {cells['value'].min():.3f} (dark) to {highest['value']:.3f} (bright); white lines: "
        f"contours; ring: the highest, at {first} {highest['x']:.3g} and {second} {highest['y']:.3g}; "
        "blank: no run with a final score."
    )
    chart = heat(cells, (first, second), log=(is_log(numbers[0]), is_log(numbers[1])))
    title = f"Final {compared.validation_rows} accuracy over {first} and {second}"
    return Figure(title, f"{caption} {_binned(table, first)}{compared.caption}", [chart])


def scored(compared: Comparison) -> pd.DataFrame:
    """Return the final scores of runs, the value and level of the first factor, the number and place of the last."""
    runs = conclusive(compared.runs).sort_values(compared.factors[0], key=lambda of: of.map(value_order), kind="stable")
    values, numbers = runs[compared.factors[0]].tolist(), runs[compared.factors[-1]].to_numpy(float)
    table = pd.DataFrame({key: statistic.of(runs) for key, statistic in SCORES.items()})
    levels = [shown(value_text(value), 34) for value in values]
    return table.assign(level=levels, value=values, number=numbers, place=places_of(numbers))


def is_log(numbers: Array) -> bool:
    """Return whether the spacing of numbers is more even on a logarithmic axis."""
    known = np.unique(numbers)
    if len(known) < 3 or known[0] <= 0:
        return False
    linear, log = (float(gaps.std() / gaps.mean()) for gaps in (np.diff(known), np.diff(np.log(known))))
    return log < linear


def places_of(numbers: Array) -> Array:
    """Return where numbers are drawn, (R,): very many in the centers of bins of equal width on their axis."""
    if len(np.unique(numbers)) <= MOST_PLACES:
        return numbers
    log = is_log(numbers)
    at = np.log(numbers) if log else numbers
    edges = np.linspace(at.min(), at.max(), MOST_PLACES + 1)
    centers = ((edges[1:] + edges[:-1]) / 2)[np.clip(np.searchsorted(edges, at) - 1, 0, MOST_PLACES - 1)]
    return np.asarray(np.exp(centers) if log else centers)


def _binned(table: pd.DataFrame, name: str) -> str:
    n_values, n_places = table["number"].nunique(), table["place"].nunique()
    return f"{n_values:,} values of the {name} in {n_places} bins. " if n_places < n_values else ""


def _figure(compared: Comparison, table: pd.DataFrame, points: pd.DataFrame, looks: Looks, bands: str) -> Figure:
    """Draw lines against the number, and the majority class."""
    *others, name = map(label, compared.factors)
    caption = f"Lines: mean over runs; bands: {bands}. Final: mean over the last 20 epochs. {compared.majority_text}"
    score = f"final {f'{compared.validation_rows} ' if others else ''}accuracy"
    axes, log = {name: None, f"{score} (fraction of rows)": None}, is_log(table["number"].to_numpy())
    title = f"{score.capitalize()} against {name}{', by ' if others else ''}{''.join(others)}"
    chart = lines(points, looks, axes, majority=compared.majority, log=log)
    return Figure(title, f"{caption} {_binned(table, name)}{compared.caption}", [chart])
