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

from pima_hp.analysis.bootstrap import Estimate
from pima_hp.analysis.comparison import replicates_needed

_FORM = re.compile(r"(?:(lower|upper|estimate)\s*(<=?|>=?)|(within|outside))\s*(\S+)")
Rule = Mapping[str, str]
Estimates = Mapping[str, Estimate | None]
"""Estimate of each part by name; None where there is none, which satisfies nothing."""


@dataclass(frozen=True)
class Condition:
    """What must be so of `quantity`: lower, upper, estimate, within or outside."""

    quantity: str
    sign: str
    bound: float

    @classmethod
    def parsed(cls, text: str, margin: float | None) -> "Condition":
        """Read a condition.

        Raises:
            ValueError: it is not of the grammar.
        """
        match = _FORM.fullmatch(text.strip())
        try:
            bound = math.nan if match is None else margin if match[4] == "margin" else float(match[4])
        except ValueError:
            bound = math.nan
        if bound is None:
            raise ValueError("must not name the margin of a claim without one; add `margin:`")
        if match is None or not math.isfinite(bound) or (match[3] and bound <= 0):
            raise ValueError(
                "must be a condition such as `lower > 0.8`, `upper <= margin`, `within 0.1` or `outside margin`; "
                f"found {text!r}"
            )
        return cls(match[1] or match[3], match[2] or ">", bound)

    def holds(self, estimate: Estimate | None, alpha: float) -> bool:
        """Whether it is so at level 1 - alpha."""
        if estimate is None:
            return False
        lower, upper = self._interval(estimate, alpha)
        gap = self._gap(lower, estimate.estimate, upper)
        return gap >= 0 if "=" in self.sign else gap > 0

    def needed(self, estimate: Estimate | None, alpha: float) -> float:
        """Replicates until it holds if the estimate stays where it is; infinite when it must move."""
        if estimate is None:
            return math.inf
        if self.holds(estimate, alpha):
            return estimate.n
        (lower, upper), value = self._interval(estimate, alpha), estimate.estimate
        return replicates_needed(estimate.n, (upper - lower) / 2, self._gap(value, value, value))

    def _interval(self, estimate: Estimate, alpha: float) -> tuple[float, float]:
        return estimate.interval(1 - 2 * alpha if self.quantity == "within" else 1 - alpha)

    def _gap(self, lower: float, estimate: float, upper: float) -> float:
        """How far it is on the right side of the bound."""
        if self.quantity == "within":
            return min(lower + self.bound, self.bound - upper)
        if self.quantity == "outside":
            return max(lower - self.bound, -self.bound - upper)
        value = {"lower": lower, "upper": upper, "estimate": estimate}[self.quantity]
        return value - self.bound if self.sign.startswith(">") else self.bound - value


def holds(rule: Rule, margin: float | None, estimates: Estimates, alpha: float) -> bool:
    """Whether every entry of the rule is so; an empty rule never is."""
    found = [(target, meeting({target: rule[target]}, margin, estimates, alpha)) for target in rule]
    return bool(found) and all(
        bool(names) if target == "any" else len(names) == len(_parts(target, estimates)) for target, names in found
    )


def meeting(rule: Rule, margin: float | None, estimates: Estimates, alpha: float) -> list[str]:
    """Parts for which all conditions that concern them are so."""
    concerned = {
        name: [text for target, text in rule.items() if name in _parts(target, estimates)] for name in estimates
    }
    return [
        name
        for name, texts in concerned.items()
        if texts and all(Condition.parsed(text, margin).holds(estimates[name], alpha) for text in texts)
    ]


def needed(rule: Rule, margin: float | None, estimates: Estimates, alpha: float) -> float:
    """Replicates until the rule holds if the estimates stay where they are; infinite when they must move."""
    numbers = []
    for target, text in rule.items():
        condition = Condition.parsed(text, margin)
        of_parts = [condition.needed(estimates[name], alpha) for name in _parts(target, estimates)]
        numbers.append(min(of_parts) if target == "any" else max(of_parts))
    return max(numbers, default=math.inf)


def _parts(target: str, estimates: Estimates) -> list[str]:
    return list(estimates) if target in ("all", "any") else [target]
