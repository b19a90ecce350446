"""How the best learning rate changes with batch size, epochs and other numbers: the exponents of a power law."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.intervals import resampled, with_intervals
from pima_hp.analysis.selection import by_configuration, varying_settings
from pima_hp.run import Array

RATE = "optimizer.lr"
UPDATES = ["batch.size", "trainer.max_epochs"]  # both doubled, the number of updates stays the same
EQUAL = "equal updates"
FEWEST_RATES, FEWEST_VALUES, FEWEST_SEEDS = 5, 3, 5


@dataclass(frozen=True)
class Scaling:
    """How the best learning rate follows other numbers; 95 % intervals over seeds.

    Attributes:
        best: one row a combination of the other numbers: these, the best learning rate and its interval (`best`,
            `lower`, `upper`); NaN where the highest mean score is at an end of the grid.
        powers: factor -> the exponent of the best learning rate and its interval (`power`, `lower`, `upper`); at equal
            updates, in the row of that name, the sum of those of batch size and epochs.
    """

    best: pd.DataFrame
    powers: pd.DataFrame

    @property
    def others(self) -> list[str]:
        """Return the other numbers."""
        return [*self.best.columns[:-3]]


def scaling(
    frame: pd.DataFrame, score: Statistic, rng: np.random.Generator, n_resamples: int = 1_000
) -> Scaling | None:
    """Return how the best learning rate follows the other numbers of a complete grid; high scores are good.

    Least squares of log(best learning rate) on the logarithms of the other numbers. The best learning rate is that of
    the parabola through the highest mean score and its two neighbors, over the logarithm. Where the highest is at an
    end of the grid, the best may lie beyond: such combinations are left out. Intervals: seeds resampled, the same ones
    for all settings; a resample whose highest score is at an end has the rate there. Simulated coverage of a nominal
    95 % with 15 combinations, 7 rates and 20 seeds: 99 % and more, as a resample's highest mean is as noisy again.

    None for other designs: a factor that is not a positive number, fewer than 5 rates, fewer than 3 values of another
    factor, fewer than 5 seeds, missing scores, or too few combinations whose best rate lies within the grid.
    """
    numbers = varying_settings(frame).apply(pd.to_numeric, errors="coerce").astype(float)
    others, levels = [str(key) for key in numbers if key != RATE], numbers.nunique()
    if not others or RATE not in numbers or len(numbers) != levels.prod() or not (numbers > 0).all(axis=None):
        return None
    numbers = numbers.sort_values([*others, RATE])
    scores = by_configuration(frame, score.of(frame)).loc[numbers.index].to_numpy()  # (C, R)
    n_rates, n_seeds = levels[RATE], scores.shape[1]
    is_small = n_rates < FEWEST_RATES or levels[others].min() < FEWEST_VALUES or n_seeds < FEWEST_SEEDS
    if is_small or np.isnan(scores).any():
        return None
    weights = resampled(n_seeds, rng, n_resamples) / n_seeds  # (1 + S, R)
    rates = np.log(numbers[RATE].to_numpy()[:n_rates])
    best = peaks(rates, (weights @ scores.T).reshape(len(weights), -1, n_rates))  # (1 + S, combinations)
    combinations, is_within = numbers[others].iloc[::n_rates], (best[0] > rates[0]) & (best[0] < rates[-1])
    x = np.column_stack([np.ones(is_within.sum()), np.log(combinations[is_within])])
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return None
    powers = pd.DataFrame(np.linalg.lstsq(x, best[:, is_within].T)[0][1:].T, columns=others)  # (1 + S, k)
    if {*UPDATES} <= {*others}:
        powers[EQUAL] = powers[UPDATES].sum(axis=1)
    table = pd.DataFrame(with_intervals(powers.to_numpy(), n_seeds), powers.columns, ["power", "lower", "upper"])
    ends = np.exp(np.where(is_within[:, None], with_intervals(best, n_seeds), np.nan))
    found = pd.DataFrame(ends, combinations.index, ["best", "lower", "upper"])
    return Scaling(combinations.join(found), table)


def peaks(rates: Array, means: Array) -> Array:
    """Return where the parabola through each highest mean and its neighbors is highest, or the end of the grid.

    Shapes: (n,), (..., n) -> (...).
    """
    at = means.argmax(axis=-1)
    places = np.clip(at, 1, len(rates) - 2)[..., None] + [-1, 0, 1]
    before, x, after = np.moveaxis(rates[places], -1, 0)
    left, y, right = np.moveaxis(np.take_along_axis(means, places, axis=-1), -1, 0)
    rise, fall = (x - before) * (y - right), (after - x) * (y - left)
    with np.errstate(invalid="ignore", divide="ignore"):  # at the ends, which are not used
        peak = x - ((x - before) * rise - (after - x) * fall) / (2 * (rise + fall))
    return np.asarray(np.where((at > 0) & (at < len(rates) - 1), peak, rates[at]))
