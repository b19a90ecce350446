"""The section about the best learning rate: must it change with the batch size, the epochs and other numbers?"""

import numpy as np

from pima_hp.analysis.curves import FINAL_VALIDATION
from pima_hp.analysis.scaling import EQUAL, Scaling, scaling
from pima_hp.formatting import MISSING, label, value_text
from pima_hp.report.charts import Figure, lines, looks_of
from pima_hp.report.comparable import comparable
from pima_hp.report.study import Section, Study
from pima_hp.report.tables import SEED
from pima_hp.report.words import words

# Rules for larger batches -> the exponent of the batch size.
RULES = {"an unchanged rate (0)": 0.0, "square-root scaling (0.5)": 0.5, "linear scaling (1)": 1.0}
RATES = ["best", "lower", "upper"]


def scaling_section(study: Study) -> Section | None:
    """Return how the best learning rate follows the other numbers of a grid; None where the study is no such grid."""
    found = scaling(study.frame, FINAL_VALIDATION, np.random.default_rng(SEED))
    if found is None:
        return None
    powers, rules = found.powers, {}
    for key in powers.index.intersection(["batch.size", EQUAL]):
        _, lower, upper = powers.loc[key]
        agree = [name for name, power in RULES.items() if lower <= power <= upper]
        rules[key] = agree, [name for name in RULES if name not in agree]
    text = words(
        "scaling", rows=comparable(study.frame, []).validation_rows, rules=rules, others=found.others,
        power=lambda key: "{:.2f} [{:.2f}, {:.2f}]".format(*powers.loc[key]).replace("-", "\N{MINUS SIGN}"),
    )  # fmt: skip
    table = found.best.sort_values(found.others, ignore_index=True).astype(dict.fromkeys(RATES, object))
    table[RATES] = table[RATES].map(lambda rate: MISSING if np.isnan(rate) else f"{rate:.2g}")
    return Section("scaling", figures={"best_learning_rate": _figure(found)}, table=table, leads=True, **text)


def _figure(found: Scaling) -> Figure:
    """Draw the best learning rate against the first number, a line for each value of the others."""
    first, *others = sorted(found.others, key=lambda key: key != "batch.size")
    points = found.best.dropna().sort_values([*others, first])
    points["line"] = [
        ", ".join(f"{label(key)} {value_text(row[key])}" for key in others) for _, row in points.iterrows()
    ]
    points[["mean", "low", "high"]] = np.log10(points[RATES])
    axes = {label(first): None, "best learning rate": None}
    chart = lines(points.rename(columns={first: "x"}), looks_of(points["line"].unique()), axes, decades=True)
    caption = "Lines: best learning rate; bands: 95 % intervals over seeds; none where it is not within the grid."
    return Figure(f"Best learning rate against {label(first)}", caption, [chart])
