"""The rule of a claim as data: `supported: {all: lower > 0.80}`.

    rule        {target: condition, ...}                  every entry must hold
    target      all | any | <name of a part>
    condition   comparison [and comparison ...]
    comparison  lower | upper | estimate, then < | <= | > | >=, then a bound
                within BOUND     two one-sided tests say that the quantity is between -BOUND and BOUND
                outside BOUND    the interval lies beyond -BOUND or beyond BOUND
    bound       a number, or `margin`: that of the claim

lower and upper are those of the interval at level 1 - alpha, 95 % unless a family asks for another.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pima_hp.analysis.bootstrap import Estimate
from pima_hp.analysis.comparison import equivalent, replicates_needed

FORM = "`lower > 0.8`, `upper <= margin`, `estimate < 3`, `within 0.1` or `outside margin`, joined by `and`"
_COMPARISON = re.compile(r"(?:(lower|upper|estimate)\s*(<=?|>=?)|(within|outside))\s*(\S+)")
Rule = Mapping[str, str]
Estimates = Mapping[str, Estimate | None]
"""Estimate of each part by name; None where runs are missing."""


@dataclass(frozen=True)
class Comparison:
    """One comparison: `quantity` is a bound of the interval, the estimate, `within` or `outside`."""

    quantity: str
    sign: str
    bound: float

    def holds(self, estimate: Estimate, alpha: float) -> bool:
        """Whether it is so at level 1 - alpha."""
        if self.quantity == "within":
            return equivalent(estimate, self.bound, alpha)
        lower, upper = estimate.interval(1 - alpha)
        if self.quantity == "outside":
            return lower > self.bound or upper < -self.bound
        value = {"lower": lower, "upper": upper, "estimate": estimate.estimate}[self.quantity]
        if self.sign.endswith("=") and value == self.bound:
            return True
        return value > self.bound if self.sign[0] == ">" else value < self.bound

    def needed(self, estimate: Estimate, alpha: float) -> float:
        """Replicates until it holds if the estimate stays where it is."""
        if self.holds(estimate, alpha):
            return estimate.n
        if self.quantity == "estimate":
            return math.inf
        distance = {
            "within": self.bound - abs(estimate.estimate),
            "outside": abs(estimate.estimate) - self.bound,
        }.get(self.quantity, (estimate.estimate - self.bound) * (1 if self.sign.startswith(">") else -1))
        lower, upper = estimate.interval(1 - 2 * alpha if self.quantity == "within" else 1 - alpha)
        return replicates_needed(estimate.n, (upper - lower) / 2, distance)


def parsed(condition: str, margin: float | None) -> list[Comparison]:
    """Comparisons of a condition.

    Raises:
        ValueError: it is not of the grammar.
    """
    found = []
    for text in condition.split(" and "):
        match = _COMPARISON.fullmatch(text.strip())
        bound = _number(match[4], margin) if match else None
        if match is None or bound is None:
            raise ValueError(f"must be a condition such as {FORM}; found {text.strip()!r}")
        if match[4] == "margin" and margin is None:
            raise ValueError("must not name the margin of a claim without one; add `margin:`")
        if match[3] and not bound > 0:
            raise ValueError(f"must have a bound above 0 after {match[3]}; found {match[4]}")
        found.append(Comparison(match[1] or match[3], match[2] or "", bound))
    return found


def holds(rule: Rule, margin: float | None, estimates: Estimates, alpha: float) -> bool:
    """Whether every entry of the rule is so; a part without runs satisfies nothing."""
    return not any(failing(rule, margin, estimates, alpha).values())


def failing(rule: Rule, margin: float | None, estimates: Estimates, alpha: float) -> dict[str, list[str]]:
    """By target, the parts that keep it from holding; empty lists where it holds."""
    found = {}
    for target, condition in rule.items():
        comparisons, names = parsed(condition, margin), _parts(target, estimates)
        short = [name for name in names if not _all_hold(comparisons, estimates[name], alpha)]
        found[target] = [] if target == "any" and len(short) < len(names) else short
    return found


def satisfying(rule: Rule, margin: float | None, estimates: Estimates, alpha: float) -> list[str]:
    """Parts for which a condition that concerns them holds."""
    return [
        name
        for name, estimate in estimates.items()
        if any(
            name in _parts(target, estimates) and _all_hold(parsed(condition, margin), estimate, alpha)
            for target, condition in rule.items()
        )
    ]


def needed(rule: Rule, margin: float | None, estimates: Estimates, alpha: float) -> float:
    """Replicates until the rule holds if the estimates stay where they are; infinite when they must move."""
    most = 0.0
    for target, condition in rule.items():
        comparisons = parsed(condition, margin)
        numbers = [
            math.inf if estimate is None else max(item.needed(estimate, alpha) for item in comparisons)
            for estimate in (estimates[name] for name in _parts(target, estimates))
        ]
        most = max(most, min(numbers) if target == "any" else max(numbers))
    return most


def _parts(target: str, names: Iterable[str]) -> list[str]:
    return list(names) if target in ("all", "any") else [target]


def _all_hold(comparisons: list[Comparison], estimate: Estimate | None, alpha: float) -> bool:
    return estimate is not None and all(item.holds(estimate, alpha) for item in comparisons)


def _number(text: str, margin: float | None) -> float | None:
    if text == "margin":
        return margin if margin is not None else 1.0
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
