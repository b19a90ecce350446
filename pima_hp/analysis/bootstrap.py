"""Intervals over replicates: Wilson for shares, BCa bootstrap for the rest, Nadeau-Bengio for new patients.

An estimate gives its interval at any level, so that equivalence (90 %) and the corrections for many claims
ask the same resamples. The uncertainty is that of seeds on one table, but for `nadeau_bengio`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from scipy import stats

from pima_hp.record import Array

Interval = tuple[float, float]
_NORMAL = NormalDist()
_NUMBERS_AT_ONCE = 2**22  # 32 MiB of resampled values


@dataclass(frozen=True)
class Share:
    """Share k/n of replicates with the interval of Wilson (1927): what a score test would not reject.

    >>> low, high = Share(0, 100).interval()
    >>> round(low, 3), round(high, 3)
    (0.0, 0.037)
    """

    successes: float
    n: int

    @property
    def estimate(self) -> float:
        """k/n."""
        return self.successes / self.n if self.n else math.nan

    def interval(self, level: float = 0.95) -> Interval:
        """(p + z²/2n ± z sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n); 0 to 1 without replicates."""
        if not self.n:
            return 0.0, 1.0
        share, z2 = self.estimate, _NORMAL.inv_cdf((1 + level) / 2) ** 2 / self.n
        centre, half = share + z2 / 2, math.sqrt(z2 * (share * (1 - share) + z2 / 4))
        return max(0.0, (centre - half) / (1 + z2)), min(1.0, (centre + half) / (1 + z2))


@dataclass(frozen=True)
class Resamples:
    """A statistic of n replicates, its bootstrap resamples (S,), and the corrections of BCa (NaN: undefined)."""

    estimate: float
    n: int
    values: Array
    bias: float
    acceleration: float

    def interval(self, level: float = 0.95) -> Interval:
        """Bias-corrected and accelerated (Efron 1987); plain quantiles where the corrections are undefined."""
        tails = [(1 - level) / 2, (1 + level) / 2]
        if math.isfinite(self.bias + self.acceleration):
            tails = [self._corrected(tail) for tail in tails]
        low, high = np.quantile(self.values, tails)
        return float(low), float(high)

    def mapped(self, increasing: Callable[[Array], Array]) -> "Resamples":
        """The same of an increasing function of the statistic: BCa carries over."""
        value = float(increasing(np.array(self.estimate)))
        return replace(self, estimate=value, values=increasing(self.values))

    def _corrected(self, tail: float) -> float:
        shifted = self.bias + _NORMAL.inv_cdf(tail)
        divisor = 1 - self.acceleration * shifted
        return _NORMAL.cdf(self.bias + shifted / divisor) if divisor > 0 else float(shifted > 0)


Estimate = Share | Resamples


def mean(samples: Array) -> Array:
    """Mean over the replicates: (S, R) -> (S,)."""
    return np.asarray(samples.mean(axis=1))


def bootstrap(
    values: Array, rng: np.random.Generator, n_resamples: int = 10_000, statistic: Callable[[Array], Array] = mean
) -> Resamples:
    """Resample replicates as blocks: the K values of one seed stay together, so contrasts stay paired.

    Constant values give an interval that is a point (scipy.stats.bootstrap gives NaN, and no second level).

    Args:
        values: (R,) or (R, K).
        rng: the same state gives the same interval.
        n_resamples: S.
        statistic: (S, R) or (S, R, K) -> (S,), vectorised over resamples.
    """
    values = np.asarray(values, float)
    n = len(values)
    estimate = float(statistic(values[None])[0])
    if (values == values[:1]).all():
        return Resamples(estimate, n, np.array([estimate]), math.nan, math.nan)
    size = max(1, _NUMBERS_AT_ONCE // values.size)
    sizes = [min(size, n_resamples - start) for start in range(0, n_resamples, size)]
    resamples = np.concatenate([statistic(values[rng.integers(n, size=(rows, n))]) for rows in sizes])
    below = float(np.mean(resamples < estimate) + np.mean(resamples <= estimate)) / 2  # ties count half
    bias = _NORMAL.inv_cdf(below) if 0 < below < 1 else math.nan
    kept, every = np.arange(n - 1), np.arange(n)[:, None]
    blocks = [every[start : start + size] for start in range(0, n, size)]
    left_out = np.concatenate([statistic(values[kept + (kept >= block)]) for block in blocks])  # (R,) jackknife
    deviations = left_out.mean() - left_out
    squares = float((deviations**2).sum())
    undefined = squares <= 1e-24 * float((left_out**2).sum())
    acceleration = math.nan if undefined else float((deviations**3).sum()) / (6 * squares**1.5)
    return Resamples(estimate, n, resamples, bias, acceleration)


def nadeau_bengio(scores: Array, n_train: int, n_test: int, level: float = 0.95) -> Interval:
    """Interval of a mean test score over R random splits (R,), as a statement about new patients.

    mean ± t(R - 1) sqrt((1/R + n_test/n_train) s²): splits share rows, so the spread of their mean does not
    vanish with more of them. Source: Nadeau, Bengio (2003), "Inference for the generalization error".
    """
    if len(scores) < 2:
        raise ValueError(f"scores must be of at least 2 splits; found {len(scores)}")
    centre, variance = float(np.mean(scores)), float(np.var(scores, ddof=1))
    quantile = float(stats.t.ppf((1 + level) / 2, len(scores) - 1))
    half = quantile * math.sqrt((1 / len(scores) + n_test / n_train) * variance)
    return centre - half, centre + half
