"""Tables of a study: the results of each setting, the verdicts on the claims, and those of two studies side by side."""

import math
import re
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.claims import Outcome
from pima_hp.analysis.curves import FINAL_TRAINING, FINAL_VALIDATION, Statistic
from pima_hp.analysis.intervals import Share, bootstrap
from pima_hp.analysis.selection import COUNTED, conclusive, matched
from pima_hp.analysis.verdicts import FEWEST_REPLICATES, Estimate, Verdict
from pima_hp.formatting import LABELS, MISSING, interval_text, shown, value_text
from pima_hp.report.comparable import comparable
from pima_hp.run import Array

# Seed of the resamples: the same ledger gives the same report.
SEED = 0
# Characters of a text in a table below which numbers give way too.
LEAST_TEXT = 7
# Columns of a comparison that a terminal has room for.
SHOWN = ["claim", "estimate", "outcome_1", "value_1", "outcome_2", "value_2", "difference", "difference_lower",
         "difference_upper", "n_shared"]  # fmt: skip


def summary(frame: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    """Return one row a setting: its runs, how they ended, final accuracies, first epoch at a training accuracy.

    The first columns hold the factors' values as text, under their keys (`batch.size`). A final accuracy is the mean
    over the last 20 epochs, each measured at its end; means and standard deviations (n - 1) are over the runs that
    completed. First epochs are those of the running training accuracy; their median is over the runs that completed
    or diverged, infinite where most do not get there. Copies are counted once. Other settings are held fixed as in
    `comparable`: give all of `varying_settings(frame)` for every setting of the study.
    """
    compared = comparable(frame, factors)
    places, rows, reach = compared.places, compared.validation_rows.replace(" ", "_"), compared.reach
    setting = np.empty(len(compared.runs), int)
    for number, of in enumerate(places.values()):
        setting[of] = number
    runs = compared.runs.set_axis(setting)
    kept = conclusive(runs)
    table = pd.DataFrame([[*map(value_text, values)] for values in places], columns=[*factors])
    table["n_runs"] = runs.groupby(level=0).size()
    for name, status in COUNTED.items():
        table[name] = (runs["status"] == status).groupby(level=0).sum()
    for name, statistic in (("training", FINAL_TRAINING), (rows, FINAL_VALIDATION)):
        scores = pd.Series(statistic.of(kept), kept.index).groupby(level=0)
        table[f"final_{name}_accuracy_mean"], table[f"final_{name}_accuracy_sd"] = scores.mean(), scores.std()
    if reach is not None:
        reaching = Statistic(name="first_epoch_reaching", curve="train/accuracy", threshold=reach)
        first = pd.Series(reaching.of(kept), kept.index)
        table[f"median_epoch_at_{reach:.2f}"] = first.groupby(level=0).median()
        table[f"share_that_reached_{reach:.2f}"] = (first < np.inf).groupby(level=0).mean()
    return table


def mean_interval(values: Array, level: float = 0.95, n_resamples: int = 10_000) -> tuple[float, float, float]:
    """Return the mean of one number per seed and its bootstrap interval: NaN where there are too few."""
    if len(values) < 2:
        return float(np.sum(values)) if len(values) else math.nan, math.nan, math.nan
    found = bootstrap(values, np.random.default_rng(SEED), n_resamples)
    return (found.estimate, *found.interval(level))


def verdict_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return one row per claim that can be tested, with its decisive estimate: fits a terminal."""
    rows = [
        (f"{verdict.claim.id}: {verdict.claim.sentence}", "; ".join([verdict.headline, *verdict.qualifiers]),
         f"{of.part.name} {interval_text(of.value, of.lower, of.upper)}", of.n_replicates)
        for verdict in verdicts if verdict.outcome != Outcome.UNTESTABLE for of in [verdict.decisive]
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["claim", "verdict", "estimate, 95% over seeds", "n"])


def estimates_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return one row per estimate of a claim: everything that a check of the number needs.

    A descriptive estimate, which no rule is about, has no outcome.
    """
    rows = [
        {**verdict.row, **of.row, "outcome": "" if of.part.descriptive else verdict.outcome,
         "config_ids": " ".join(of.config_ids)}
        for verdict in verdicts for of in verdict.estimates
    ]  # fmt: skip
    return pd.json_normalize(rows, sep="_")


def side_by_side(first: Sequence[Verdict], second: Sequence[Verdict]) -> pd.DataFrame:
    """Return the estimates of the same claims in two studies, with their differences, second minus first.

    A difference is the mean over the replicates that both studies have, with a bootstrap interval: of shares, means,
    slopes, and of logarithms for a ratio. There is none for studies that share fewer than 10. A descriptive
    estimate has no outcome.
    """
    one, other = ([of for verdict in verdicts for of in verdict.estimates] for verdicts in (first, second))
    differences = [_difference(*pair) for pair in zip(one, other, strict=True)]
    columns = ["outcome", "value", "lower", "upper", "n_replicates"]
    tables = estimates_table(first), estimates_table(second)
    numbered = [table[columns].add_suffix(f"_{number}") for number, table in enumerate(tables, 1)]
    named = tables[0][["claim", "name", "unit"]].rename(columns={"name": "estimate"})
    table = named.join([*numbered, pd.DataFrame(differences)])
    return table.dropna(subset=["value_1", "value_2"])


def counts_text(verdicts: Sequence[Verdict]) -> str:
    """Return how many headlines there are of each kind: `4 supported, 1 untestable, 2 that depend on choices`."""
    words = [verdict.word for verdict in verdicts]
    depend = f"that depend{'s' if words.count('depends') == 1 else ''} on choices"
    texts = {outcome: outcome for outcome in map(str, Outcome)} | {"depends": depend}
    return ", ".join(f"{words.count(word)} {text}" for word, text in texts.items() if word in words)


def cells(table: pd.DataFrame, longest: int = 60) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows as they are displayed: labels, `mean±sd` in one cell, three decimals at most.

    Counts of runs that diverged, stopped or failed are left out where they are 0 in all rows.
    """
    table = table.drop(columns=[name for name in COUNTED if name in table and not table[name].any()])
    columns = {str(key): _cells(list(column), longest) for key, column in table.items()}
    if "p" in table:
        columns["p"] = ["<0.001" if p < 0.001 else text for p, text in zip(table["p"], columns["p"], strict=True)]
    for key in [key for key in columns if key.endswith("_mean") and f"{key[:-4]}sd" in columns]:
        pairs = zip(columns[key], columns.pop(f"{key[:-4]}sd"), strict=True)
        columns[key] = [mean if sd == MISSING else f"{mean}±{sd}" for mean, sd in pairs]
    names = [LABELS.get(key, key).removesuffix("_mean").removeprefix("n_").replace("_", " ") for key in columns]
    return [shown(name) for name in names], [list(row) for row in zip(*columns.values(), strict=True)]


def text_table(table: pd.DataFrame, width: int = 100) -> str:
    """Return a table in at most `width` columns: headings and long cells are wrapped, numbers stand right.

    Texts give way first: a name that is broken can be read, a number that is broken misleads.
    """
    headings, rows = cells(table, 500)
    columns = list(zip(headings, *rows, strict=True))
    widths = [max(map(len, [*column[1:], *column[0].split()])) for column in columns]
    numeric = [all(re.fullmatch(rf"never|{MISSING}|[-+.\de±]+", cell) for cell in column[1:]) for column in columns]
    while sum(widths) + 2 * len(widths) - 2 > width and max(widths) > 1:
        can_give = [widths[n] > LEAST_TEXT and not numeric[n] for n in range(len(widths))]
        widths[max(range(len(widths)), key=lambda n: (can_give[n], widths[n]))] -= 1
    line = "  ".join(f"{{:{'>' if right else '<'}{most}}}" for right, most in zip(numeric, widths, strict=True))
    lines = []
    for row in (headings, ["-" * most for most in widths], *rows):
        wrapped = [textwrap.wrap(cell, most) for cell, most in zip(row, widths, strict=True)]
        lines += [line.format(*parts).rstrip() for parts in zip_longest(*wrapped, fillvalue="")]
    return "\n".join(lines)


def _difference(one: Estimate, other: Estimate) -> dict[str, Any]:
    """Return the difference of two estimates and what it rests on."""
    shared, table = matched([one.numbers, other.numbers])  # (R, 2)
    d = lower = upper = math.nan
    if len(shared) >= FEWEST_REPLICATES:
        d, lower, upper = mean_interval(table[:, 1] - table[:, 0])
        if one.part.contrast == "share" and lower == upper:
            reach = Share(0, len(shared)).interval()[1]  # no pair differs: as many may as Wilson allows
            lower, upper = d - reach, d + reach
    return {"difference": d, "difference_lower": lower, "difference_upper": upper, "n_shared": len(shared)}


def _cells(column: Sequence[Any], longest: int) -> list[str]:
    """Return the texts of a column: its numbers have three decimals, or fewer if these say all."""
    known = [value for value in column if isinstance(value, float) and math.isfinite(value)]
    decimals = next((n for n in (0, 1) if np.allclose(known, np.round(known, n), atol=1e-9)), 3)

    def text(value: Any) -> str:
        if not isinstance(value, float):
            return shown(value_text(value), longest)
        if not math.isfinite(value):
            return MISSING if math.isnan(value) else "never"
        return f"{value:.1e}" if 0 < abs(value) < 0.5 * 10**-decimals else f"{value:.{decimals}f}"

    return [*map(text, column)]
