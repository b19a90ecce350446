"""The same claims in two studies side by side, paired by seed where the studies share seeds."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.intervals import Share, bootstrap
from pima_hp.analysis.selection import matched
from pima_hp.analysis.verdicts import FEWEST_REPLICATES, Estimate, Verdict
from pima_hp.report.page import SEED

SHOWN = ["claim", "estimate", "outcome_1", "value_1", "outcome_2", "value_2", "difference", "difference_lower",
         "difference_upper", "n_shared"]  # fmt: skip
"""Columns that a terminal has room for."""


def side_by_side(first: Sequence[Verdict], second: Sequence[Verdict]) -> pd.DataFrame:
    """Return the estimates of the same claims in two studies, with their differences, second minus first.

    A difference is the mean over the replicates that both studies have, with a bootstrap interval: of shares, means,
    slopes, and of logarithms for a ratio. There is none for studies that share
    fewer than 10. A descriptive estimate has no outcome.
    """
    rows = []
    for one, other in zip(first, second, strict=True):
        for estimate, twin in zip(one.estimates, other.estimates, strict=True):
            if estimate.inference is None or twin.inference is None:
                continue
            row: dict[str, Any] = {"claim": one.claim.id, "estimate": estimate.part.name, "unit": estimate.row["unit"]}
            for number, verdict, of in ((1, one, estimate), (2, other, twin)):
                row[f"outcome_{number}"] = "" if of.part.descriptive else str(verdict.outcome)
                row |= {f"{key}_{number}": of.row[key] for key in ("value", "lower", "upper", "n_replicates")}
            rows.append(row | _difference(estimate, twin))
    return pd.DataFrame(rows)


def _difference(one: Estimate, other: Estimate) -> dict[str, Any]:
    """Return the difference of two estimates and what it rests on."""
    shared, table = matched([one.numbers, other.numbers])  # (R, 2)
    d = lower = upper = math.nan
    if len(shared) >= FEWEST_REPLICATES:
        found = bootstrap(table[:, 1] - table[:, 0], np.random.default_rng(SEED))
        d, (lower, upper) = found.estimate, found.interval()
        if one.part.contrast == "share" and lower == upper:
            reach = Share(0, len(shared)).interval()[1]  # no pair differs: as many may as Wilson allows
            lower, upper = d - reach, d + reach
    return {"difference": d, "difference_lower": lower, "difference_upper": upper, "n_shared": len(shared)}
