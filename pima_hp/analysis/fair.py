"""Fair comparison: the values of a factor at the default of all other settings, and each tuned at the same budget.

Sources: Sivaprasad et al. (2020), "Optimizer Benchmarking Needs to Account for Hyperparameter Tuning"; Choi et al.
(2019), "On Empirical Comparisons of Optimizers"; Dodge et al. (2019), "Show Your Work".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import special

from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.importance import noise_free
from pima_hp.analysis.intervals import resampled, with_intervals
from pima_hp.analysis.selection import Settings, by_configuration, default_settings, differing, varying_settings
from pima_hp.run import Array, RunStatus

VALIDATION, TEST = "val/accuracy", "final/test/accuracy"
FEWEST_SEEDS, MOST_TRIALS = 10, 20


@dataclass(frozen=True)
class Grid:
    """A factor of L levels crossed with K combinations of other settings, R replicates each.

    Attributes:
        factor: its key.
        levels: its L values.
        settings: the K combinations, of all settings that vary; the first is nearest `conf/config.yaml`.
        validation: (L, K, R) accuracy on validation rows, mean over the last 20 epochs.
        test: (L, K, R) accuracy on test rows, of the last weights.
        n_diverged: runs that count as always predicting the majority class, in both.
    """

    factor: str
    levels: Sequence[str]
    settings: Sequence[Settings]
    validation: Array
    test: Array
    n_diverged: int

    @property
    def nuisance(self) -> list[str]:
        """Return the keys of the settings that are tuned."""
        return [key for key in self.settings[0] if len({own[key] for own in self.settings}) > 1]

    @property
    def reference(self) -> int:
        """Return the place of the level that others are compared with: that of `conf/config.yaml`, or the first."""
        usual = default_settings().get(self.factor)
        return self.levels.index(usual) if usual in self.levels else 0

    @cached_property
    def chosen(self) -> Array:
        """Return the place of the settings with the best mean validation score in each half of the seeds: (2, L)."""
        return np.stack([self.validation[:, :, half::2].mean(axis=2).argmax(axis=1) for half in (0, 1)])

    @cached_property
    def scores(self) -> dict[str, Array]:
        """Return the test scores (L, R) at the default settings (`untuned`) and at the chosen ones (`tuned`).

        Each half of the seeds is judged at the settings that the other half chose: given these, seeds are independent,
        and none judges a choice that it was part of. Simulated coverage of the interval of a paired difference: 93 to
        97 %.
        """
        tuned = np.empty_like(self.test[:, 0])
        for half in (0, 1):
            tuned[:, half::2] = self.test[range(len(tuned)), self.chosen[1 - half], half::2]
        return {"untuned": self.test[:, 0], "tuned": tuned}

    def spread(self, rng: np.random.Generator, n_resamples: int = 2_000) -> Array:
        """Return the variance between levels untuned and tuned, and the share of it that tuning removes: (3, 3).

        A row: estimate, lower and upper end; noise is removed. The intervals are about the seeds that judge, given the
        chosen settings: untuned scores depend on no choice and use pairs of all seeds, tuned ones pairs of each half.
        The share is NaN where the interval of the variance at the default includes 0. Simulated coverage of a nominal
        95 % with 10 to 40 replicates: 94 to 100 %, the most where levels differ little.
        """
        products = {key: (of - of.mean(axis=0)).T @ (of - of.mean(axis=0)) / len(of) for key, of in self.scores.items()}
        weights, halves = np.ones((n_resamples + 1, self.test.shape[2])), [slice(0, None, 2), slice(1, None, 2)]
        for half in halves:
            weights[:, half] = resampled(weights[0, half].size, rng, n_resamples)
        parts = [noise_free(products["tuned"][None, half, half], weights[:, half]) for half in halves]
        found = np.hstack([noise_free(products["untuned"][None], weights), sum(parts) / 2])
        found = found[np.isfinite(found).all(axis=1)]
        with np.errstate(divide="ignore", invalid="ignore"):  # no difference at all
            every = np.column_stack([found.clip(min=0), np.minimum(1, 1 - found[:, 1] / found[:, 0])])
        rows = with_intervals(every, self.test.shape[2] // 2)  # seeds of the smaller half
        rows[2] = np.nan if rows[0, 1] <= 0 else rows[2]
        return rows

    def trials(self) -> Array:
        """Return the expected test score after k = 1, 2, ... random trials in each replicate: (L, R, k).

        A trial is another of the K settings, at random, on the replicate's own split (runs of one replicate are not
        independent, so replicates are not pooled). The one with the best validation score is kept.
        """
        return np.stack([expected_best(*of) for of in zip(self.validation.mT, self.test.mT, strict=True)])  # of (R, K)


def expected_best(chosen_by: Array, judged_by: Array, most: int = MOST_TRIALS) -> Array:
    """Return the expected score of the best of k different ones among K, for k = 1, 2, ...: (R, K) twice -> (R, k).

    The unbiased order-statistic estimator: one of them is the best of k with probability (C(m, k) - C(l, k)) / C(K, k)
    where m scores are not above its own and l are below it; ties share the probability. With one score for both, this
    is `u_tuning_curve` of opda (Lourie, Cho, He 2023).
    """
    n, steps = chosen_by.shape[1], np.arange(min(most, chosen_by.shape[1]))
    m, lower = (of(chosen_by[:, None], chosen_by[..., None]).sum(axis=2) for of in (np.less_equal, np.less))  # (R, K)
    upto, below = (np.cumprod(np.maximum(of[..., None] - steps, 0) / (n - steps), axis=2) for of in (m, lower))
    return np.asarray(np.einsum("rik,ri->rk", (upto - below) / (m - lower)[..., None], judged_by))


def median_band(values: Array, level: float) -> Array:
    """Return the median of R independent values and its distribution-free interval: (..., R) -> (..., 3).

    Its ends are the r-th lowest and highest, r the largest with 2 P(Binomial(R, 1/2) < r) <= 1 - level, which holds for
    any distribution; the lowest and highest where R is too small for that.
    """
    n, ordered = values.shape[-1], np.sort(values, axis=-1)
    r = max(1, int((2 * special.bdtr(np.arange(n // 2), n, 0.5) <= 1 - level).sum()))
    return np.stack([np.median(values, axis=-1), ordered[..., r - 1], ordered[..., n - r]], axis=-1)


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the factors with named values (optimizer, activation) that are crossed with other settings.

    Only runs with validation rows of their own take part. A factor is left out that has fewer than two levels, two
    settings of all levels, or `FEWEST_SEEDS` complete replicates of these; so is a study whose data settings vary.
    """
    frame = frame[frame.get("data.val_fraction", pd.Series(0.0, frame.index)) > 0]
    cells = varying_settings(frame)
    if TEST not in frame or len(cells.columns) < 2 or any(str(key).startswith("data.") for key in cells):
        return []
    is_diverged, scores, found = (frame["status"] == RunStatus.DIVERGED).to_numpy(), [], []
    majority = np.maximum(rate := frame["positive_rate"].to_numpy(float), 1 - rate)
    for curve in (VALIDATION, TEST):
        known = np.where(is_diverged, majority, Statistic(name="final_score", curve=curve).of(frame))
        scores.append(by_configuration(frame, known))
    for factor in map(str, cells):
        others, of_ids = [str(key) for key in cells if key != factor], cells.assign(id=cells.index)
        table = of_ids.pivot_table("id", others, factor, aggfunc="first").dropna()  # (K, L)
        if min(table.shape) < 2 or not all(isinstance(level, str) for level in table):
            continue
        settings = [{str(key): of for key, of in own.items()} for own in table.index.to_frame().to_dict("records")]
        order = np.argsort([distance(of) for of in settings], kind="stable")
        ids = table.to_numpy()[order].T.ravel()
        both = np.stack([of.loc[ids].to_numpy() for of in scores])  # (2, L K, R)
        both = both[:, :, ~np.isnan(both).any(axis=(0, 1))].reshape(2, *table.T.shape, -1)
        n_diverged = int(is_diverged[frame["config_id"].isin(ids)].sum())
        if both.shape[-1] >= FEWEST_SEEDS:
            found.append(Grid(factor, [*table], [settings[at] for at in order], both[0], both[1], n_diverged))
    return found


def distance(settings: Settings) -> float:
    """Return how far settings are from `conf/config.yaml`: rates and sizes by the logarithm of their ratio."""
    total, usual = 0.0, default_settings()
    for key, own in differing(settings).items():
        pair = [float(of) if isinstance(of, int | float) else 0.0 for of in (own, usual[key])]
        total += abs(math.log(pair[0] / pair[1])) if min(pair) > 0 else 9.0
    return total
