"""Decide a claim from the intervals of its parts, and correct for many claims."""

import math
from bisect import bisect_left
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BeforeValidator

from pima_hp.analysis.intervals import Inference, Interval, Share

ALPHA = 0.05


def _limits(value: Any) -> Any:
    if not isinstance(value, dict) or not value or {*value} - {"above", "below"}:
        raise ValueError(f"must say where all of the interval lies, such as {{above: 0.80}}; found {value!r:.60}")
    return value


# Where all of an interval must lie: `{above: 0.80}`, `{below: 0.50}`, or between both.
Limits = Annotated[dict[str, float], BeforeValidator(_limits)]

_MOST_REPLICATES = 10**12
_LARGEST_ALPHA, _STEPS = 0.49, 2**24


class Outcome(StrEnum):
    """The outcome of a claim or of one of its parts."""

    SUPPORTED = "supported"  # the interval lies within the limits that support it
    REFUTED = "refuted"  # the interval lies within the limits that refute it
    MIXED = "mixed"  # shown not to be supported, and not shown to be refuted: holds in 55 % of runs
    UNDECIDED = "undecided"  # none of these
    # Runs are missing or on another table, fewer than 10 distinct replicates are complete, or no curve moves.
    UNTESTABLE = "untestable"


# A claim of several parts has the first of these that one of its parts has.
PRECEDENCE = (Outcome.REFUTED, Outcome.UNTESTABLE, Outcome.MIXED, Outcome.UNDECIDED, Outcome.SUPPORTED)


def outcome_of(parts: Collection[Outcome]) -> Outcome:
    """Return the outcome of a claim from those of its parts."""
    return next(outcome for outcome in PRECEDENCE if outcome in parts)


def within(limits: Limits | None, interval: Interval) -> bool:
    """Return whether an interval lies within the limits; never where there are none."""
    lower, upper = interval
    return limits is not None and limits.get("above", -math.inf) < lower and upper < limits.get("below", math.inf)


def holds(limits: Limits | None, inference: Inference, alpha: float = ALPHA) -> bool:
    """Return whether the interval at level 1 - alpha lies within the limits; never where there are none."""
    return within(limits, inference.interval(1 - alpha))


def p_value(limits: Limits | None, inference: Inference) -> float:
    """Return the smallest alpha at which the limits hold; 1 if it is above 0.49.

    At least `inference.smallest_alpha`: the p value of a bootstrap is an upper bound where it reaches that.
    """
    smallest, ratio = inference.smallest_alpha, _LARGEST_ALPHA / inference.smallest_alpha
    steps = range(_STEPS + 1)
    step = bisect_left(steps, True, key=lambda step: holds(limits, inference, smallest * ratio ** (step / _STEPS)))
    return smallest * ratio ** (step / _STEPS) if step in steps else 1.0


def needed(limits: Limits | None, inference: Inference) -> float:
    """Return the fewest replicates at which the limits hold if the estimate stays; infinite when it must move."""
    numbers = range(_MOST_REPLICATES)
    n = bisect_left(numbers, True, inference.n, key=lambda n: holds(limits, inference.with_replicates(n)))
    return n if n in numbers else math.inf


def fewest(limits: Limits | None, inference: Inference) -> float:
    """Return the fewest replicates at which a share can meet the limits, all agreeing; 0 where they suffice or cannot.

    >>> fewest({"above": 0.80}, Share(10, 12))
    16
    """
    if not isinstance(inference, Share):
        return 0
    least = min(needed(limits, Share(agreeing * inference.n, inference.n)) for agreeing in (0, 1))
    return least if inference.n < least < math.inf else 0


def holm(p_values: Sequence[float]) -> "pd.Series[float]":
    """Adjust for the family-wise error: max over j <= i of (m - j + 1) p_(j), at most 1 (Holm 1979)."""
    p = pd.Series(p_values, dtype=float).sort_values()
    return (p * np.arange(len(p), 0, -1)).cummax().clip(upper=1).sort_index()


def benjamini_hochberg(p_values: Sequence[float]) -> "pd.Series[float]":
    """Adjust for the false discovery rate: min over j >= i of m p_(j) / j (Benjamini, Hochberg 1995).

    As scipy.stats.false_discovery_control, whose import would double the time that judging a study takes.
    """
    p = pd.Series(p_values, dtype=float).sort_values(ascending=False)
    return (p * len(p) / np.arange(len(p), 0, -1)).cummin().sort_index()


# Family -> how its p values are adjusted, the limit for adjusted values, the name of the correction.
FAMILIES = {"primary": (holm, 0.05, "Holm's"), "exploratory": (benjamini_hochberg, 0.10, "Benjamini's and Hochberg's")}
