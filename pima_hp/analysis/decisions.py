"""Decide a claim by its rules, and correct for many claims.

A rule is data: `supported: {all: lower > 0.80}`.

    rule        {target: condition, ...}     every entry must hold
    target      all | any | <name of a part>
    condition   lower | upper | estimate, then < | <= | > | >=, then a bound
                within BOUND                 two one-sided tests: the value lies between -BOUND and BOUND
                outside BOUND                the interval lies beyond -BOUND or beyond BOUND
    bound       a number, or `margin`: that of the claim

lower and upper are bounds of the interval at level 1 - alpha, 95 % unless a family asks for another.
"""

import math
import operator
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pima_hp.analysis.intervals import Inference
from pima_hp.run import Array

ALPHA = 0.05
_FORM = re.compile(r"(?:(lower|upper|estimate)\s*(<=?|>=?)|(within|outside))\s*(margin|[-+.\deE]+)")
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_MOST_REPLICATES = 10**12
Inferences = Mapping[str, Inference | None]
"""The estimate of each part by name; None satisfies no condition."""


class Outcome(StrEnum):
    """The outcome of a verdict."""

    SUPPORTED = "supported"  # intervals lie within the bounds of the claim
    REFUTED = "refuted"  # intervals lie beyond the bounds that refute it
    UNDECIDED = "undecided"  # one straddles a bound
    UNTESTABLE = "untestable"  # runs are missing or on another table, or fewer than 10 distinct replicates are complete


@dataclass(frozen=True)
class Condition:
    """A requirement on one part."""

    quantity: str  # lower, upper, estimate, within or outside
    sign: str  # empty for within and outside
    bound: float

    @classmethod
    def parsed(cls, text: str, margin: float | None = None) -> "Condition":
        """Parse a condition; ValueError where it is not of the grammar."""
        match = _FORM.fullmatch(text.strip())
        bound = match and (margin if match[4] == "margin" else float(match[4]))
        if match is None or bound is None or (match[3] and bound <= 0):
            forms = "`lower > 0.8`, `within 0.1`, or `upper <= margin` where the claim has a margin"
            raise ValueError(f"must be a condition such as {forms}; found {text!r:.60}")
        return cls(match[1] or match[3], match[2] or "", bound)

    def __str__(self) -> str:
        return " ".join(filter(None, [self.quantity, self.sign, f"{self.bound:g}"]))

    def holds(self, inference: Inference | None, alpha: float) -> bool:
        """Return whether it holds at level 1 - alpha."""
        if inference is None:
            return False
        lower, upper = inference.interval(1 - 2 * alpha if self.quantity == "within" else 1 - alpha)
        if self.quantity == "within":
            return -self.bound < lower and upper < self.bound
        if self.quantity == "outside":
            return lower > self.bound or upper < -self.bound
        value = {"lower": lower, "upper": upper, "estimate": inference.estimate}[self.quantity]
        return bool(_COMPARE[self.sign](value, self.bound))


@dataclass(frozen=True)
class Rule:
    """Conditions by target; an empty rule never holds."""

    entries: tuple[tuple[str, Condition], ...] = ()

    def __str__(self) -> str:
        return " and ".join(f"{condition} ({target})" for target, condition in self.entries)

    def holds(self, found: Inferences, alpha: float = ALPHA, *, familywise: bool = False) -> bool:
        """Return whether every entry holds.

        Args:
            found: the parts.
            alpha: 1 - the level of intervals.
            familywise: whether `any` of k parts shares alpha among them, alpha / k each (Bonferroni).
        """

        def entry_holds(target: str, condition: Condition) -> bool:
            level = alpha / len(found) if familywise and target == "any" else alpha
            each = (condition.holds(found[name], level) for name in _names(target, found))
            return any(each) if target == "any" else all(each)

        return bool(self.entries) and all(entry_holds(*entry) for entry in self.entries)

    def meeting(self, found: Inferences) -> list[str]:
        """Return the parts that meet all conditions on them."""
        all_of = {name: [c for target, c in self.entries if name in _names(target, found)] for name in found}
        return [name for name, own in all_of.items() if own and all(c.holds(found[name], ALPHA) for c in own)]

    def needed(self, found: Inferences) -> float:
        """Return the fewest replicates at which the rule holds if the estimates stay; infinite when they must move."""

        def enough(n: int) -> bool:
            return self.holds({name: inference and inference.with_replicates(n) for name, inference in found.items()})

        fewest = min((inference.n for inference in found.values() if inference), default=_MOST_REPLICATES)
        needed = bisect_left(range(_MOST_REPLICATES), True, lo=fewest, key=enough)
        return needed if needed < _MOST_REPLICATES else math.inf

    def p_value(self, found: Inferences) -> tuple[float, bool]:
        """Return the smallest alpha at which the rule holds, and whether it may be smaller still; 1 if none below 0.49.

        A valid p value: the largest of the parts' own for `all`, k times the smallest of k for `any`. It cannot be
        below the `smallest_alpha` of the estimates, which for a bootstrap depends on the resamples.
        """
        smallest = max(
            (inference.smallest_alpha * (len(found) if target == "any" else 1)
             for target, _ in self.entries for name in _names(target, found) if (inference := found[name])),
            default=1.0,
        )  # fmt: skip
        low, high = math.log(smallest), math.log(0.49)  # an equivalence test at 0.5 has no interval left
        if low >= high or not self.holds(found, 0.49, familywise=True):
            return 1.0, False
        if self.holds(found, smallest, familywise=True):
            return smallest, True
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (low, middle) if self.holds(found, math.exp(middle), familywise=True) else (middle, high)
        return math.exp(high), False


def outcome_of(supported: Rule, refuted: Rule, found: Inferences) -> Outcome:
    """Return the outcome by a claim's rules at 95 %; parts without an estimate satisfy nothing."""
    holds = supported.holds(found)
    if holds != refuted.holds(found):
        return Outcome.SUPPORTED if holds else Outcome.REFUTED
    return Outcome.UNTESTABLE if None in found.values() else Outcome.UNDECIDED


def holm(p_values: Sequence[float]) -> Array:
    """Adjust for the family-wise error: max over j <= i of (m - j + 1) p_(j), at most 1 (Holm 1979)."""
    p = np.asarray(p_values, float)
    order, adjusted = np.argsort(p, kind="stable"), np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> Array:
    """Adjust for the false discovery rate: min over j >= i of m p_(j) / j (Benjamini, Hochberg 1995).

    As scipy.stats.false_discovery_control, whose import would double the time that judging a study takes.
    """
    p = np.asarray(p_values, float)
    order, adjusted = np.argsort(-p, kind="stable"), np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    return adjusted


FAMILIES = {"primary": (holm, 0.05, "Holm's"), "exploratory": (benjamini_hochberg, 0.10, "Benjamini's and Hochberg's")}
"""Family -> how its p values are adjusted, the limit for adjusted values, the name of the correction."""


def _names(target: str, found: Inferences) -> list[str]:
    return list(found) if target in ("all", "any") else [target]
