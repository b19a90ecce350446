"""The section about tuning: is the comparison fair?"""

import math

import numpy as np
import pandas as pd

from pima_hp.analysis.fair import Grid, grids, median_band
from pima_hp.analysis.intervals import Share
from pima_hp.formatting import interval_text, label, listed, value_text
from pima_hp.report.charts import Chart, Figure, bars, lines, looks_of
from pima_hp.report.study import Section, Study
from pima_hp.report.tables import SEED, mean_interval

NOTE = (
    "Untuned: at the settings nearest conf/config.yaml. Tuned: at those with the best mean validation accuracy in one "
    "half of the seeds, judged by test accuracy in the other half, and the reverse. Difference: in % of rows, "
    "paired by seed, to the value of conf/config.yaml, both untuned or both tuned; 95 % intervals over seeds given "
    "the settings, for all other values at once (Bonferroni); best minus worst: for all pairs at once, as scores chose "
    "it. Sources: Choi et al. (2019), Sivaprasad et al. (2020)."
)


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
    answer = " ".join(_answer(grid, study.noun) for grid in found)
    return Section("fair_comparison", "Is the comparison fair?", answer, figures, pd.concat(tables), NOTE)


def _table(grid: Grid) -> pd.DataFrame:
    """Return one row a level, untuned and tuned: the settings, test accuracy, paired difference with interval."""
    rows = []
    for place, level in enumerate(grid.levels):
        for kind, scores in grid.scores.items():
            settings = [grid.settings[at] for at in (sorted({*grid.chosen[:, place]}) if kind == "tuned" else [0])]
            texts = [", ".join(f"{label(key)} {value_text(own[key])}" for key in grid.nuisance) for own in settings]
            gain = mean_interval(100 * (scores[place] - scores[grid.reference]), 1 - 0.05 / (len(grid.levels) - 1))
            rows.append((label(grid.factor), level, kind, " or ".join(texts), scores[place].mean(), *gain))
    columns = ["factor", "value", "settings", "chosen", "test_accuracy", "difference", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns)


def _answer(grid: Grid, noun: str) -> str:
    """Return how much of the factor is its nuisance settings, and what tuning makes of its best and worst value."""
    spread, nuisance = grid.spread(np.random.default_rng(SEED)), listed(map(label, grid.nuisance))
    untuned, tuned = (interval_text(*(100 * np.sqrt(row))) for row in spread[:2])
    means, trials = grid.scores["untuned"].mean(axis=1), grid.trials()  # (L,), (L, R, k)
    default = listed(f"{label(key)} {value_text(grid.settings[0][key])}" for key in grid.nuisance)
    share, count = interval_text(*(100 * spread[2])), f"the {len(means)} values"
    lead = f"tuning the {nuisance} removes {share} % of the variance between {count}"
    if np.isnan(spread[2, 0]):
        lead = f"how much of the small differences between {count} tuning the {nuisance} removes is not known"
    best, worst, level = int(means.argmax()), int(means.argmin()), 1 - 0.05 / math.comb(len(means), 2)  # of all pairs
    gains = (mean_interval(100 * (of[best] - of[worst]), level) for of in grid.scores.values())
    one, other = (interval_text(*gain) for gain in gains)
    won = np.heaviside(trials[best] - trials[worst], 0.5).sum(axis=0)  # (k,)
    level = 1 - (1 - level) / len(won)
    shown = [k for k, of in enumerate(won.tolist(), 1) if Share(of, trials.shape[1]).interval(level)[0] > 0.5]
    is_range = len(shown) > 2 and shown[-1] - shown[0] == len(shown) - 1
    trials_text = f"{shown[0]} to {shown[-1]}" if is_range else listed(map(str, shown)) or "none"
    return (
        f"{label(grid.factor).capitalize()}: {lead} (standard deviation {untuned} {noun} per "
        f"100 at the default, {default} for all, {tuned} tuned over {len(grid.settings)} settings; 95 % intervals over "
        f"seeds). {grid.levels[best]}, the best at the default, is {one} above {grid.levels[worst]}, the worst; "
        f"tuned, {other} (95 % for all pairs at once). Numbers of random trials after which it is shown "
        f"to be better in most splits (95 % for all pairs and numbers at once): {trials_text}."
    )


def _curves(grid: Grid) -> Chart:
    """Draw test accuracy by the number of trials."""
    scores = grid.trials().transpose(0, 2, 1)  # (L, k, R)
    n, points = scores.shape[1], median_band(scores, 1 - 0.05 / scores.shape[1]).reshape(-1, 3)  # (L k, 3)
    drawn = pd.DataFrame(points, columns=["mean", "low", "high"]).assign(x=np.tile(np.arange(1, n + 1), len(scores)))
    drawn = drawn.assign(line=np.repeat(grid.levels, n)).sort_values("x")
    return lines(drawn, looks_of(grid.levels), {"random trials": None, "test accuracy (fraction of rows)": None})
