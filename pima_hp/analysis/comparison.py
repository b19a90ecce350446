"""Two settings under the same seeds: how often one wins; and many claims at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pima_hp.analysis.bootstrap import Draw, Estimate, Share
from pima_hp.run import Array


@dataclass(frozen=True)
class Effect:
    """P(X > Y) + P(X = Y)/2 over pairs of one seed; `of` says what X and Y are."""

    of: str
    probability: float
    lower: float
    upper: float

    @property
    def reading(self) -> str:
        """Bouthillier et al. (2021): significant when the lower bound > 0.5, meaningful when the upper > 0.75.

        Mirrored where X is mostly the smaller one.
        """
        if self.lower <= 0.5 <= self.upper:
            return "not significant"
        far = self.upper if self.lower > 0.5 else 1 - self.lower
        other = "" if self.lower > 0.5 else " in the other direction"
        return ("significant and meaningful" if far > 0.75 else "significant but not meaningful") + other


def wins(first: Array, second: Array) -> Array:
    """1 where the first is larger, 1/2 where both are equal, 0 elsewhere: (R,), (R,) -> (R,)."""
    return np.asarray((np.sign(np.asarray(first) - np.asarray(second)) + 1) / 2)


def win_probability(won: Array, draw: Draw) -> Estimate:
    """P(X > Y) + P(X = Y)/2 from the `wins` of paired replicates (R,), by bootstrap over pairs.

    Where the same one wins in all pairs there is nothing to resample: Wilson's interval is used.
    """
    if (won == won[0]).all() and won[0] != 0.5:
        return Share(float(won.sum()), len(won))
    return draw(won)


def holm(p_values: Sequence[float]) -> Array:
    """Adjusted for the family-wise error: max over j <= i of (m - j + 1) p_(j), at most 1 (Holm 1979)."""
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> Array:
    """Adjusted for the false discovery rate: min over j >= i of m p_(j) / j (Benjamini, Hochberg 1995)."""
    return np.asarray(stats.false_discovery_control(p_values, method="bh")) if len(p_values) else np.empty(0)
