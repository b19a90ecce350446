"""The section about the spread between runs: how many seeds does a study need?"""

import math

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.fair import TEST, VALIDATION
from pima_hp.analysis.importance import JOINT
from pima_hp.analysis.variance import REST, budgets
from pima_hp.formatting import interval_text, listed
from pima_hp.report.charts import Figure, bars
from pima_hp.report.study import Section, Study
from pima_hp.report.tables import SEED

# Of a mean accuracy, in % of rows.
STANDARD_ERROR = 0.5
NOTE = (
    "sd: standard deviation in % of rows. Share of the variance in %, with a 95 % interval: bootstrap over the "
    "seeds of each stream. Rest: the interaction of all streams. Differences are between configurations under the same "
    "seeds. Intervals of numbers of runs: from the same resamples. For new patients: the standard deviation times "
    "sqrt(n_test / n_train) (Nadeau, Bengio 2003). Random-effects analysis of variance, method of moments, negative "
    "estimates as 0 (Bouthillier et al. 2021)."
)


def variance_section(study: Study) -> Section | None:
    """Return what the spread between runs is made of; None where no streams are crossed."""
    score = TEST if TEST in study.frame and (study.frame["data.val_fraction"] > 0).any() else VALIDATION
    table = budgets(study.frame, Statistic(name="final_score", curve=score), np.random.default_rng(SEED))
    if table.empty:
        return None
    table["sd"] = 100 * np.sqrt(table["variance"])
    table[["share", "lower", "upper"]] *= 100
    columns = {"configuration": "line", "component": "name", "share": "value", "lower": "low", "upper": "high"}
    drawn = bars(table[~table["is_difference"]].rename(columns=columns), "share of the variance between runs (%)")
    caption = "Final test accuracy; lines: 95 % intervals, bootstrap over the seeds of each stream."
    figures = {"variance_shares": Figure("What the spread between runs is made of", caption, [drawn])}
    shown = table[["configuration", "component", "sd", "share", "lower", "upper"]].round(1)
    return Section("variance", "How many seeds does a study need?", _answer(study, table), figures, shown, NOTE)


def _answer(study: Study, table: pd.DataFrame) -> str:
    """Return how much runs of the first configuration differ, by what, and how many runs a mean needs."""
    columns = {"variance": "sum", "total_lower": "first", "total_upper": "first"}
    totals = 1e4 * table.groupby("configuration", sort=False).agg(columns)  # in % of rows, squared
    counts = zip(totals.index, np.ceil(totals.to_numpy() / STANDARD_ERROR**2), strict=True)
    needed = {name: "{:.0f} [{:.0f}, {:.0f}]".format(*count) for name, count in counts}
    base, total = totals.index[0], float(totals["variance"].iloc[0])
    rows = table[table["configuration"] == base].set_index("component").drop(REST)
    mains = rows[~rows.index.str.contains(JOINT)].sort_values("variance", ascending=False)
    shares = zip(mains.index, mains[["share", "lower", "upper"]].to_numpy(), strict=True)
    parts = ", ".join(f"the {name} accounts for {interval_text(*share)} %" for name, share in shares)
    top, largest = mains.index[0], 1e4 * float(mains["variance"].iloc[0])
    n_five = math.ceil((largest + (total - largest) / 5) / STANDARD_ERROR**2)
    answer = (
        f"Test accuracy varies between runs of {base!r} by a standard deviation of {math.sqrt(total):.1f} {study.noun} "
        f"per 100. Of its variance, {parts}, interactions and the rest {100 - mains['share'].sum():.0f} %. "
        f"A mean with a standard error of {STANDARD_ERROR} per 100 over seeds needs {needed[base]} runs, each with "
        f"other seeds of all streams (with five runs for each {top}: {n_five} times 5); with one {top} for all, "
        f"{math.sqrt(largest):.1f} remain, however many runs."
    )
    fractions = study.frame[["data.test_fraction", "data.val_fraction"]].drop_duplicates().to_numpy(float)
    if any("split" in name for name in mains.index) and len(fractions) == 1:
        floor = math.sqrt(total * fractions[0, 0] / (1 - fractions.sum()))  # of ever more splits, which share rows
        answer += f" For new patients the standard error never falls below about {floor:.1f}, as splits share rows."
    if pairs := [f"{name} {needed[name]}" for name in table.loc[table["is_difference"], "configuration"].unique()]:
        answer += f" A difference needs pairs of runs with the same seeds: {listed(pairs)}."
    return answer
