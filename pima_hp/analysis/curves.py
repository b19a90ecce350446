"""Statistics of learning curves: R runs by E epochs in, one number per run out.

A curve is NaN from the epoch in which its run diverged. A statistic of such a run is missing (NaN), or infinite for a
time: a run that diverged has no final score and has not reached anything, whatever it did before. Leave out runs that
were stopped early before calling these functions (`selection.conclusive`).
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import special

from pima_hp.config import Section
from pima_hp.run import Array

# Places of runs, and their curves, for each length of a curve: `by_length`.
Tables = Sequence[tuple[NDArray[np.intp], Array]]

# The last epochs that final score and volatility look at: epochs 81-100 of 100.
WINDOW_EPOCHS = 20
# A run learns if it is better than always predicting the majority by so many nats, or by so much accuracy.
MARGIN = 0.02


def aligned(curves: Iterable[Array | None]) -> Array:
    """Return curves (E_r,) of runs as one array (R, E), E the longest and at least 1, padded with NaN.

    The statistics below take padding for divergence. None (a failed run has no curve) is a row of NaN.
    """
    rows = [np.atleast_1d(np.asarray(curve, float)) for curve in curves]
    table = np.full((len(rows), max([1, *map(len, rows)])), np.nan)
    for row, curve in zip(table, rows, strict=True):
        row[: len(curve)] = curve
    return table


def by_length(curves: "pd.Series[Any]") -> Tables:
    """Return the curves of each length: their places among all R, and the curves (R_l, E_l)."""
    groups = pd.Series(range(len(curves))).groupby(curves.map(np.size).to_numpy()).indices
    return [(np.asarray(rows), aligned(curves.iloc[rows])) for rows in groups.values()]


def final_score(curves: Array, window_epochs: int = WINDOW_EPOCHS) -> Array:
    """Return the mean over the last epochs: sum of c_e over W, divided by |W|.

    Shapes: (R, E) -> (R,). A shorter training is averaged over all its epochs. NaN for a run that diverged.
    """
    return np.asarray(curves[:, -window_epochs:].mean(axis=1))


def first_epoch_reaching(curves: Array, threshold: float, sustained_epochs: int = 1) -> Array:
    """Return the first epoch, from 1, with c_e >= threshold (and so for `sustained_epochs` epochs in a row).

    Shapes: (R, E) -> (R,). Infinity where it never happens within the E epochs (right-censored at E), and
    for a run that diverged: misses stay in medians. The comparison is >=, without tolerance.
    Source: time to target (AlgoPerf, Dahl et al. 2023).
    """
    if curves.shape[1] < sustained_epochs:
        return np.full(len(curves), np.inf)
    reached = np.lib.stride_tricks.sliding_window_view(curves >= threshold, sustained_epochs, axis=1).all(axis=2)
    found = np.any(reached, axis=1) & ~np.any(np.isnan(curves), axis=1)  # (R,)
    return np.where(found, reached.argmax(axis=1) + 1.0, np.inf)


def volatility(curves: Array, window_epochs: int = WINDOW_EPOCHS) -> Array:
    """Return the spread about the curve's own trend: sqrt(sum over W of (c_e - line_e)^2 / (|W| - 2)).

    Shapes: (R, E) -> (R,). The line is that of least squares and takes two degrees of freedom: 18 are
    left of 20 epochs. NaN for a run that diverged, and where fewer than 3 epochs leave nothing to measure.
    """
    window = curves[:, -window_epochs:]  # (R, W)
    n_epochs = window.shape[1]
    if n_epochs < 3:
        return np.full(len(window), np.nan)
    epochs, centered = np.arange(n_epochs) - (n_epochs - 1) / 2, window - window.mean(axis=1, keepdims=True)
    residuals = centered - slopes(centered, epochs)[:, None] * epochs
    return np.asarray(np.sqrt((residuals**2).sum(axis=1) / (n_epochs - 2)))


def log_volatility(curves: Array, n_train: Array | int, window_epochs: int = WINDOW_EPOCHS) -> Array:
    """Return log(V + 0.1 / n_train): a tenth of one row's accuracy keeps a still curve finite.

    Shapes: (R, E) and training rows (R,) -> (R,).
    """
    return np.asarray(np.log(volatility(curves, window_epochs) + 0.1 / n_train))


def reaches(curves: Array, threshold: float, by_epoch: int | None = None, sustained_epochs: int = 1) -> Array:
    """Return 1 where some epoch up to `by_epoch` has c_e >= threshold, else 0, also for a run that diverged.

    Shapes: (R, E) -> (R,). NaN where training ended before `by_epoch` without reaching it: it may have come later.
    """
    first = first_epoch_reaching(curves, threshold, sustained_epochs)
    found = np.asarray(first <= (by_epoch or curves.shape[1]), float)
    too_short = (by_epoch or 0) > curves.shape[1]
    return np.where(too_short & np.isinf(first) & ~np.isnan(curves).any(axis=1), np.nan, found)


def exceeds(curves: Array, threshold: float, sustained_epochs: int = 1) -> Array:
    """Return 1 where some epoch has c_e > threshold, else 0, also for a run that diverged. Shapes: (R, E) -> (R,)."""
    return reaches(curves, float(np.nextafter(threshold, np.inf)), sustained_epochs=sustained_epochs)


def restricted_epochs(curves: Array, threshold: float, sustained_epochs: int = 1) -> Array:
    """Return min(first epoch with c_e >= threshold, E): its mean over runs is the restricted mean.

    Shapes: (R, E) -> (R,). A run that never gets there counts E, so the mean is a lower bound of the time.
    """
    return np.minimum(first_epoch_reaching(curves, threshold, sustained_epochs), curves.shape[1])


def entropy(positive_rate: Array | float) -> Array:
    """Return H(p) in nats: the loss of always predicting the positive rate; 0.647 at 0.349."""
    p = np.asarray(positive_rate, float)
    return np.asarray(special.entr(p) + special.entr(1 - p))


def excess_loss(curves: Array, positive_rate: Array | float, window_epochs: int = WINDOW_EPOCHS) -> Array:
    """Return the mean loss over W minus H(p), in nats: above 0 where always predicting the positive rate loses less.

    Shapes: losses (R, E) and positive rates of the training rows (R,) -> (R,). NaN for a run that diverged.
    """
    return np.asarray(final_score(curves, window_epochs) - entropy(positive_rate))


def learns(
    curves: Array, positive_rate: Array | float, window_epochs: int = WINDOW_EPOCHS, *, by_accuracy: bool = False
) -> Array:
    """Return 1 where the excess loss is below -0.02 nats, else 0, also for a run that diverged.

    By accuracy: 1 where its mean over W is more than 0.02 above that of always predicting the majority; accuracy may
    stay at the majority's while loss and AUROC improve. NaN where the positive rate is not known.

    Shapes: losses or accuracies (R, E) and positive rates of the training rows (R,) -> (R,).
    """
    rate = np.asarray(positive_rate, float)
    is_above_majority = final_score(curves, window_epochs) > np.maximum(rate, 1 - rate) + MARGIN
    found = is_above_majority if by_accuracy else excess_loss(curves, rate, window_epochs) < -MARGIN
    return np.where(np.isnan(rate), np.nan, found)


def plateau_length(losses: Array, positive_rate: Array) -> Array:
    """Return the first epoch with loss < H(p) - 0.02, infinite where there is none: how long the plateau lasts.

    Shapes: (R, E) and (R,) -> (R,). H(p) is the loss of always predicting the positive rate. Source: Saxe et al. 2014.
    """
    return first_epoch_reaching(entropy(positive_rate)[:, None] - MARGIN - losses, np.nextafter(0, 1))


def log_scalar(curves: Array) -> Array:
    """Return the natural logarithm of a score that a run has once, -708 for 0. Shapes: (R, 1) -> (R,)."""
    return np.asarray(np.log(np.maximum(curves[:, -1], np.finfo(float).tiny)))


def slopes(values: Array, places: Array) -> Array:
    """Return the least-squares slope of each run's values on K different places. Shapes: (R, K), (K,) -> (R,)."""
    centered = places - places.mean()
    return np.asarray(values @ centered / (centered @ centered))


_Function = Callable[..., Array]
_FUNCTIONS: tuple[_Function, ...] = (
    exceeds, learns, reaches,
    excess_loss, final_score, first_epoch_reaching, log_scalar, log_volatility, restricted_epochs, volatility,
)  # fmt: skip
# Statistics that are 1 where an event does not happen -> the event.
_OPPOSITES: dict[str, _Function] = {
    "does_not_learn": learns,
    "never_exceeds": exceeds,
    "never_reaches": reaches,
}
STATISTICS = {function.__name__: function for function in _FUNCTIONS} | _OPPOSITES
# Statistics that are 1 (yes) or 0 (no).
EVENTS = sorted([*_OPPOSITES, "exceeds", "learns", "reaches"])
_FACTS = ("n_train", "positive_rate")  # arguments that are columns of the ledger: what is known of the training rows
_Epochs = Annotated[int, Field(ge=1)]


class Statistic(Section):
    """A statistic by name, the curve that it is computed from, and the arguments that it has."""

    name: str
    curve: str
    threshold: float | None = None
    by_epoch: _Epochs | None = None
    sustained_epochs: _Epochs = 1
    window_epochs: _Epochs = WINDOW_EPOCHS

    @property
    def by_accuracy(self) -> bool:
        """Return whether the curve is an accuracy."""
        return "accuracy" in self.curve

    @property
    def arguments(self) -> dict[str, Any]:
        """Return all arguments of the function; curves and facts are None."""
        return {key: getattr(self, key, None) for key in inspect.signature(STATISTICS[self.name]).parameters}

    @property
    def unit(self) -> str:
        """Return the unit of its values."""
        if self.name in EVENTS:
            return "share of runs"
        if self.name.startswith("log_"):
            return "logarithm"
        of_curve = "nats" if "loss" in self.curve else self.curve.rpartition("/")[2].removesuffix("_end")
        return "epochs" if "epoch" in self.name else of_curve

    def of(self, runs: pd.DataFrame, tables: Tables | None = None) -> Array:
        """Return the statistic of each run of a study's frame, (R,); `tables` are `by_length` of its curve."""
        arguments, values = self.arguments, np.full(len(runs), np.nan)
        for rows, curves in by_length(runs[self.curve]) if tables is None else tables:
            facts = {fact: runs[fact].iloc[rows].to_numpy(float) for fact in _FACTS if fact in arguments}
            values[rows] = STATISTICS[self.name](**arguments | facts | {"curves": curves})
        return 1 - values if self.name in _OPPOSITES else values

    @model_validator(mode="after")
    def _fits_the_function(self) -> Self:
        if self.name not in STATISTICS:
            raise ValueError(f"name: must be one of {', '.join(STATISTICS)}; found {self.name!r:.60}")
        if unused := self.model_fields_set - {"name", "curve"} - self.arguments.keys():
            raise ValueError(f"{self.name} has no {' and no '.join(sorted(unused))}")
        if self.threshold is None and "threshold" in self.arguments:
            raise ValueError(f"{self.name} must have a threshold")
        return self


FINAL_TRAINING = Statistic(name="final_score", curve="train/accuracy_end")
# The final accuracy of training and of validation rows, each measured at the end of its epochs.
FINAL_VALIDATION = Statistic(name="final_score", curve="val/accuracy")
