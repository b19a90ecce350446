"""The rule of a claim as data: `supported: {all: lower > 0.80}`.

    rule        {target: condition, ...}     every entry must hold
    target      all | any | <name of a part>
    condition   lower | upper | estimate, then < | <= | > | >=, then a bound
                within BOUND                 two one-sided tests: it is between -BOUND and BOUND
                outside BOUND                the interval is beyond -BOUND or beyond BOUND
    bound       a number, or `margin`: that of the claim

lower and upper are bounds of the interval at level 1 - alpha, 95 % unless a family asks for another.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pima_hp.analysis.bootstrap import Estimate, Share

ALPHA = 0.05
_FORM = re.compile(r"(?:(lower|upper|estimate)\s*(<=?|>=?)|(within|outside))\s*(\S+)")
_MOST_REPLICATES = 10**12
Estimates = Mapping[str, Estimate | None]
"""Estimate of each part by name; None where there is none, which satisfies nothing."""


class Word(StrEnum):
    """A verdict."""

    SUPPORTED = "supported"  # intervals lie where the claim says
    REFUTED = "refuted"  # they lie where they must not
    UNDECIDED = "undecided"  # one straddles a bound
    UNTESTABLE = "untestable"  # runs are missing or on another table, or fewer than 10 distinct replicates are complete


@dataclass(frozen=True)
class Condition:
    """What must be so of `quantity`: lower, upper, estimate, within or outside."""

    quantity: str
    sign: str
    bound: float

    @classmethod
    def parsed(cls, text: str, margin: float | None = None) -> "Condition":
        """Read a condition.

        Raises:
            ValueError: it is not of the grammar.
        """
        match = _FORM.fullmatch(text.strip())
        if match and match[4] == "margin" and margin is None:
            raise ValueError("must not name the margin of a claim without one; add `margin:`")
        try:
            bound = math.nan if match is None else float(margin if match[4] == "margin" else match[4])  # type: ignore[arg-type]
        except ValueError:
            bound = math.nan
        if match is None or not math.isfinite(bound) or (match[3] and bound <= 0):
            raise ValueError(
                "must be a condition such as `lower > 0.8`, `upper <= margin`, `within 0.1` or `outside margin`; "
                f"found {text!r}"
            )
        return cls(match[1] or match[3], match[2] or "", bound)

    def __str__(self) -> str:
        return " ".join(filter(None, [self.quantity, self.sign, f"{self.bound:g}"]))

    def holds(self, estimate: Estimate | None, alpha: float) -> bool:
        """Whether it is so at level 1 - alpha."""
        if estimate is None:
            return False
        distances = self._distances(estimate, alpha)
        distance = max(distances) if self.quantity == "outside" else min(distances)
        return distance >= 0 if "=" in self.sign else distance > 0

    def needed(self, estimate: Estimate | None, alpha: float) -> float:
        """Replicates until it holds if the estimate stays where it is; infinite when it must move.

        For a share p, the smallest n at which Wilson's interval of p would do. For a mean, n (h/d)² with the
        distance d to the bound and the half of the interval that faces it, h.
        """
        if estimate is None:
            return math.inf
        if self.holds(estimate, alpha):
            return estimate.n
        if isinstance(estimate, Share):
            return self._needed_of_share(estimate, alpha)
        value = estimate.estimate
        pairs = zip(self._distances(estimate, alpha), self._from(value, value, value), strict=True)
        numbers = [math.ceil(estimate.n * ((d - now) / d) ** 2) if d > 0 else math.inf for now, d in pairs]
        return max(estimate.n + 1, min(numbers) if self.quantity == "outside" else max(numbers))

    def _needed_of_share(self, share: Share, alpha: float) -> float:
        def enough(n: int) -> bool:
            return self.holds(Share(share.estimate * n, n), alpha)

        low, high = share.n, 2 * share.n
        while not enough(high):
            low, high = high, 2 * high
            if high > _MOST_REPLICATES:
                return math.inf
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high

    def _distances(self, estimate: Estimate, alpha: float) -> tuple[float, ...]:
        lower, upper = estimate.interval(1 - 2 * alpha if self.quantity == "within" else 1 - alpha)
        return self._from(lower, estimate.estimate, upper)

    def _from(self, lower: float, estimate: float, upper: float) -> tuple[float, ...]:
        """How far each of its ends lies on the right side of a bound."""
        if self.quantity == "within":
            return lower + self.bound, self.bound - upper
        if self.quantity == "outside":
            return lower - self.bound, -self.bound - upper
        value = {"lower": lower, "upper": upper, "estimate": estimate}[self.quantity]
        return (value - self.bound if self.sign.startswith(">") else self.bound - value,)


@dataclass(frozen=True)
class Rule:
    """Conditions by what they are about; an empty rule never holds."""

    entries: tuple[tuple[str, Condition], ...] = ()

    def __str__(self) -> str:
        return " and ".join(f"{condition} ({target})" for target, condition in self.entries)

    def holds(self, estimates: Estimates, alpha: float = ALPHA, *, familywise: bool = False) -> bool:
        """Whether every entry is so.

        Args:
            estimates: of each part.
            alpha: 1 - the level of intervals.
            familywise: whether `any` of k parts shares alpha among them, alpha / k each (Bonferroni).
        """

        def entry(target: str, condition: Condition) -> bool:
            names = _parts(target, estimates)
            if target != "any":
                return all(condition.holds(estimates[name], alpha) for name in names)
            shared = alpha / len(names) if familywise else alpha
            return any(condition.holds(estimates[name], shared) for name in names)

        return bool(self.entries) and all(entry(*item) for item in self.entries)

    def meeting(self, estimates: Estimates) -> list[str]:
        """Parts for which all conditions that concern them are so."""
        concerned = {
            name: [condition for target, condition in self.entries if target in ("all", "any", name)]
            for name in estimates
        }
        return [
            name
            for name, conditions in concerned.items()
            if conditions and all(condition.holds(estimates[name], ALPHA) for condition in conditions)
        ]

    def needed(self, estimates: Estimates) -> float:
        """Replicates until the rule holds if the estimates stay where they are; infinite when they must move."""
        numbers = []
        for target, condition in self.entries:
            of_parts = [condition.needed(estimates[name], ALPHA) for name in _parts(target, estimates)]
            numbers.append(min(of_parts) if target == "any" else max(of_parts))
        return math.inf if self.holds(estimates) else max(numbers, default=math.inf)

    def p_value(self, estimates: Estimates) -> tuple[float, bool]:
        """The smallest alpha at which the rule holds, and whether it may be smaller still; 1 where none below 0.49.

        A valid p value: the largest of the parts' own for `all`, k times the smallest of k for `any`. It cannot be
        told below the `smallest_alpha` of the estimates, which for a bootstrap depends on the resamples.
        """
        smallest = 0.0
        for target, _ in self.entries:
            names = _parts(target, estimates)
            found = [estimate.smallest_alpha for name in names if (estimate := estimates[name])]
            smallest = max([smallest, *found]) if target != "any" else max(smallest, len(names) * max(found, default=0))
        low, high = math.log(smallest or 1), math.log(0.49)  # an equivalence test at 0.5 has no interval left
        if low >= high or not self.holds(estimates, 0.49, familywise=True):
            return 1.0, False
        if self.holds(estimates, smallest, familywise=True):
            return smallest, True
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (low, middle) if self.holds(estimates, math.exp(middle), familywise=True) else (middle, high)
        return math.exp(high), False


def word_of(supported: Rule, refuted: Rule, estimates: Estimates) -> Word:
    """The word by a claim's rules at 95 %; parts without runs satisfy nothing."""
    holds = supported.holds(estimates)
    if holds != refuted.holds(estimates):
        return Word.SUPPORTED if holds else Word.REFUTED
    return Word.UNTESTABLE if None in estimates.values() else Word.UNDECIDED


def _parts(target: str, estimates: Estimates) -> list[str]:
    return list(estimates) if target in ("all", "any") else [target]
