"""The section about the spread between runs: how many seeds does a study need?"""

import math

import numpy as np

from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.fair import TEST, VALIDATION
from pima_hp.analysis.importance import JOINT
from pima_hp.analysis.variance import REST, budgets
from pima_hp.formatting import interval_text
from pima_hp.report.charts import Figure, bars
from pima_hp.report.study import Section, Study
from pima_hp.report.tables import SEED
from pima_hp.report.words import words

# Of a mean accuracy, in % of rows.
STANDARD_ERROR = 0.5


def variance_section(study: Study) -> Section | None:
    """Return what the spread between runs is made of; None where no streams are crossed."""
    score = TEST if TEST in study.frame and (study.frame["data.val_fraction"] > 0).any() else VALIDATION
    table = budgets(study.frame, Statistic(name="final_score", curve=score), np.random.default_rng(SEED))
    if table.empty:
        return None
    table["sd"] = 100 * np.sqrt(table["variance"])
    table[["share", "lower", "upper"]] *= 100
    columns = {"variance": "sum", "total_lower": "first", "total_upper": "first"}
    totals = 1e4 * table.groupby("configuration", sort=False).agg(columns)  # in % of rows, squared
    counts = zip(totals.index, np.ceil(totals.to_numpy() / STANDARD_ERROR**2), strict=True)
    needed = {name: "{:.0f} [{:.0f}, {:.0f}]".format(*count) for name, count in counts}
    base, total = totals.index[0], float(totals["variance"].iloc[0])
    rows = table[table["configuration"] == base].set_index("component").drop(REST)
    mains = rows[~rows.index.str.contains(JOINT)].sort_values("variance", ascending=False)
    shares = zip(mains.index, mains[["share", "lower", "upper"]].to_numpy(), strict=True)
    largest = 1e4 * float(mains["variance"].iloc[0])
    fractions = study.frame[["data.test_fraction", "data.val_fraction"]].drop_duplicates().to_numpy(float)
    has_floor = any("split" in name for name in mains.index) and len(fractions) == 1
    text = words(
        "variance", noun=study.noun, error=STANDARD_ERROR, base=repr(base), needed=needed[base],
        sd=math.sqrt(total), top=mains.index[0], top_sd=math.sqrt(largest), rest=100 - mains["share"].sum(),
        shares={name: interval_text(*share) for name, share in shares},
        n_five=math.ceil((largest + (total - largest) / 5) / STANDARD_ERROR**2),
        floor=math.sqrt(total * fractions[0, 0] / (1 - fractions[0].sum())) if has_floor else None,
        pairs=[f"{name} {needed[name]}" for name in table.loc[table["is_difference"], "configuration"].unique()],
    )  # fmt: skip
    columns = {"configuration": "line", "component": "name", "share": "value", "lower": "low", "upper": "high"}
    drawn = bars(table[~table["is_difference"]].rename(columns=columns), "share of the variance between runs (%)")
    caption = "Final test accuracy; lines: 95 % intervals, bootstrap over the seeds of each stream."
    figures = {"variance_shares": Figure("What the spread between runs is made of", caption, [drawn])}
    shown = table[["configuration", "component", "sd", "share", "lower", "upper"]].round(1)
    return Section("variance", figures=figures, table=shown, **text)
