"""The section about tuning: is the comparison fair?"""

import math
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.fair import Grid, grids, median_band
from pima_hp.analysis.intervals import Share
from pima_hp.formatting import label, value_text
from pima_hp.report.charts import Chart, Figure, bars, lines, looks_of
from pima_hp.report.study import Section, Study
from pima_hp.report.tables import SEED, mean_interval
from pima_hp.report.words import words


def fair_section(study: Study) -> Section | None:
    """Return what tuning changes about each factor with named values; None where none is crossed with another."""
    if not (found := grids(study.frame)):
        return None
    found.sort(key=lambda grid: -np.var(grid.scores["untuned"].mean(axis=1)))  # the largest differences first
    tables, figures = [_table(grid) for grid in found], dict[str, Figure]()
    for grid, table in zip(found, tables, strict=True):
        what, stem, reference = label(grid.factor), f"fair_{grid.factor.replace('.', '_')}", grid.levels[grid.reference]
        size = f"{len(grid.settings)} settings, {grid.test.shape[2]} replicates."
        size += f" {grid.n_diverged} runs diverged and count as the majority class." if grid.n_diverged else ""
        columns = {"value": "name", "settings": "line", "difference": "value", "lower": "low", "upper": "high"}
        drawn = table[table["value"] != reference].drop(columns="test_accuracy").rename(columns=columns)
        chart = bars(drawn, f"difference to {what} {reference} ({study.noun} per 100)")
        caption = f"Test accuracy minus that of {reference} under the same seed; lines: 95 % intervals. {size}"
        figures[stem] = Figure(f"{what.capitalize()}: untuned and tuned", caption, [chart])
        caption = (
            "Expected test accuracy of the best of k random settings by validation accuracy on the same split. Lines: "
            "medians over splits; bands: 95 % by order statistics, for any distribution and all k at once."
        )
        figures[f"{stem}_trials"] = Figure(f"{what.capitalize()}: after k random trials", caption, [_curves(grid)])
    text = words("fair", noun=study.noun, grids=[_numbers(grid) for grid in found])
    return Section("fair_comparison", figures=figures, table=pd.concat(tables), **text)


def _table(grid: Grid) -> pd.DataFrame:
    """Return one row a level, untuned and tuned: the settings, test accuracy, paired difference with interval."""
    rows = []
    for place, level in enumerate(grid.levels):
        for kind, scores in grid.scores.items():
            chosen = sorted({*grid.chosen[:, place]}) if kind == "tuned" else [0]
            settings = " or ".join(", ".join(_settings(grid, at)) for at in chosen)
            gain = mean_interval(100 * (scores[place] - scores[grid.reference]), 1 - 0.05 / (len(grid.levels) - 1))
            rows.append((label(grid.factor), level, kind, settings, scores[place].mean(), *gain))
    columns = ["factor", "value", "settings", "chosen", "test_accuracy", "difference", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns)


def _settings(grid: Grid, place: int) -> list[str]:
    """Return the texts of one of the combinations of settings: `learning rate 0.001`."""
    return [f"{label(key)} {value_text(grid.settings[place][key])}" for key in grid.nuisance]


def _numbers(grid: Grid) -> dict[str, Any]:
    """Return how much of the factor is its nuisance settings, and what tuning makes of its best and worst value."""
    untuned, tuned, share = grid.spread(np.random.default_rng(SEED))  # each with its interval
    means, trials = grid.scores["untuned"].mean(axis=1), grid.trials()  # (L,), (L, R, k)
    best, worst, level = int(means.argmax()), int(means.argmin()), 1 - 0.05 / math.comb(len(means), 2)  # of all pairs
    won = np.heaviside(trials[best] - trials[worst], 0.5).sum(axis=0)  # (k,)
    of_each = 1 - (1 - level) / len(won)
    shown = [k for k, of in enumerate(won.tolist(), 1) if Share(of, trials.shape[1]).interval(of_each)[0] > 0.5]
    return {
        "factor": label(grid.factor), "n_values": len(means), "best": grid.levels[best], "worst": grid.levels[worst],
        "tuned": [*map(label, grid.nuisance)], "n_settings": len(grid.settings), "default": _settings(grid, 0),
        "sd": [100 * np.sqrt(untuned), 100 * np.sqrt(tuned)], "share": 100 * share, "trials": shown,
        "gain": [mean_interval(100 * (of[best] - of[worst]), level) for of in grid.scores.values()],
    }  # fmt: skip


def _curves(grid: Grid) -> Chart:
    """Draw test accuracy by the number of trials."""
    scores = grid.trials().transpose(0, 2, 1)  # (L, k, R)
    n, points = scores.shape[1], median_band(scores, 1 - 0.05 / scores.shape[1]).reshape(-1, 3)  # (L k, 3)
    drawn = pd.DataFrame(points, columns=["mean", "low", "high"]).assign(x=np.tile(np.arange(1, n + 1), len(scores)))
    drawn = drawn.assign(line=np.repeat(grid.levels, n)).sort_values("x")
    return lines(drawn, looks_of(grid.levels), {"random trials": None, "test accuracy (fraction of rows)": None})
