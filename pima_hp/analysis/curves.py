"""Functionals of learning curves: R replicates by E epochs in, one number per replicate (or epoch) out.

A curve is NaN from the epoch in which its run diverged. Every functional of a replicate then says
"missing" (NaN), or "never" (infinity) for a time: a run that diverged has no final score and has not
reached anything, whatever it did before. Use `selection.conclusive` to
drop runs that were stopped early before calling these functions.
"""

from collections.abc import Iterable

import numpy as np
from scipy import special

from pima_hp.run import Array

WINDOW_EPOCHS = 20
"""The last epochs that final score and volatility look at: epochs 81-100 of 100."""


def aligned(curves: Iterable[Array | None]) -> Array:
    """Curves (E_r,) of replicates as one array (R, E), E the longest, padded with NaN.

    For means and bands against the epoch only: padding reads as divergence to the functionals below.
    None (a failed run has no curve) is a row of NaN.
    """
    rows = [np.empty(0) if curve is None else np.atleast_1d(np.asarray(curve, float)) for curve in curves]
    table = np.full((len(rows), max((len(row) for row in rows), default=0)), np.nan)
    for row, curve in zip(table, rows, strict=True):
        row[: len(curve)] = curve
    return table


def final_score(curves: Array, window_epochs: int = WINDOW_EPOCHS) -> Array:
    """Mean over the last epochs: sum of c_e over W, divided by |W|.

    Shapes: (R, E) -> (R,). A shorter training is averaged over all its epochs. NaN for a run that diverged.
    """
    window = _window(curves, window_epochs)  # (R, W)
    if window.shape[1] == 0:
        return np.full(len(window), np.nan)
    return np.asarray(window.mean(axis=1))


def maximum(curves: Array) -> Array:
    """Highest value of any epoch: max over e of c_e.

    Shapes: (R, E) -> (R,). NaN for a run that diverged, so that it counts neither as above nor as below.
    """
    curves = _checked(curves)
    if curves.shape[1] == 0:
        return np.full(len(curves), np.nan)
    return np.asarray(curves.max(axis=1))


def first_epoch_reaching(curves: Array, threshold: float, sustained_epochs: int = 1) -> Array:
    """First epoch, from 1, with c_e >= threshold (and so for `sustained_epochs` epochs in a row).

    Shapes: (R, E) -> (R,). Infinity when it never happens within the E epochs (right-censored at E), and
    for a run that diverged: misses stay in medians. The comparison is >=, without tolerance.
    Source: time to target (AlgoPerf, Dahl et al. 2023).
    """
    curves = _checked(curves)
    if sustained_epochs < 1:
        raise ValueError(f"sustained_epochs must be at least 1; found {sustained_epochs}")
    if curves.shape[1] < sustained_epochs:
        return np.full(len(curves), np.inf)
    reached = np.lib.stride_tricks.sliding_window_view(curves >= threshold, sustained_epochs, axis=1).all(axis=2)
    found = np.any(reached, axis=1) & ~np.any(np.isnan(curves), axis=1)  # (R,)
    return np.where(found, reached.argmax(axis=1) + 1.0, np.inf)


def volatility(curves: Array, window_epochs: int = WINDOW_EPOCHS) -> Array:
    """Spread about the curve's own trend: sqrt(sum over W of (c_e - line_e)^2 / (|W| - 2)).

    Shapes: (R, E) -> (R,). The line is that of least squares and takes two degrees of freedom: 18 are
    left of 20 epochs. NaN for a run that diverged, and where fewer than 3 epochs leave nothing to measure.
    H4 compares log(V + 0.1 / n_train).
    """
    window = _window(curves, window_epochs)  # (R, W)
    n_epochs = window.shape[1]
    if n_epochs < 3:
        return np.full(len(window), np.nan)
    centred_epochs = np.arange(n_epochs) - (n_epochs - 1) / 2  # (W,)
    centred = window - window.mean(axis=1, keepdims=True)
    slopes = centred @ centred_epochs / (centred_epochs @ centred_epochs)  # (R,)
    residuals = centred - slopes[:, None] * centred_epochs
    return np.asarray(np.sqrt((residuals**2).sum(axis=1) / (n_epochs - 2)))


def log_volatility(curves: Array, n_train: Array | int, window_epochs: int = WINDOW_EPOCHS) -> Array:
    """log(V + 0.1 / n_train): a tenth of one row's accuracy keeps a still curve finite.

    Shapes: (R, E) and training rows (R,) -> (R,).
    """
    return np.asarray(np.log(volatility(curves, window_epochs) + 0.1 / n_train))


def reaches(curves: Array, threshold: float, by_epoch: int | None = None, sustained_epochs: int = 1) -> Array:
    """1 where some epoch up to `by_epoch` has c_e >= threshold, else 0, also for a run that diverged.

    Shapes: (R, E) -> (R,). NaN where the training ended before `by_epoch` without reaching: it may have come later.
    For H8 and H9.
    """
    first = first_epoch_reaching(curves, threshold, sustained_epochs)
    found = np.asarray(first <= (by_epoch or curves.shape[1]), float)
    too_short = (by_epoch or 0) > curves.shape[1]
    return np.where(too_short & np.isinf(first) & ~np.isnan(curves).any(axis=1), np.nan, found)


def exceeds(curves: Array, threshold: float, sustained_epochs: int = 1) -> Array:
    """1 where some epoch has c_e > threshold, else 0, also for a run that diverged. Shapes: (R, E) -> (R,)."""
    return reaches(curves, float(np.nextafter(threshold, np.inf)), sustained_epochs=sustained_epochs)


def never_exceeds(curves: Array, threshold: float, sustained_epochs: int = 1) -> Array:
    """1 where no epoch has c_e > threshold, also for a run that diverged. Shapes: (R, E) -> (R,)."""
    return 1 - exceeds(curves, threshold, sustained_epochs)


def restricted_epochs(curves: Array, threshold: float, sustained_epochs: int = 1) -> Array:
    """min(first epoch with c_e >= threshold, E): its mean over replicates is the restricted mean.

    Shapes: (R, E) -> (R,). A run that never gets there counts E, so the mean is a lower bound of the time.
    """
    return np.minimum(first_epoch_reaching(curves, threshold, sustained_epochs), curves.shape[1])


def entropy(positive_rate: Array | float) -> Array:
    """H(p) in nats: the loss of always predicting the positive rate; 0.647 at 0.349."""
    p = np.asarray(positive_rate, float)
    return np.asarray(special.entr(p) + special.entr(1 - p))


def excess_loss(losses: Array, positive_rate: Array | float, window_epochs: int = WINDOW_EPOCHS) -> Array:
    """Mean loss over W minus H(p), in nats: above 0 where always predicting the positive rate would lose less.

    Shapes: (R, E) and positive rates of the training rows (R,) -> (R,). NaN for a run that diverged.
    """
    return np.asarray(final_score(losses, window_epochs) - entropy(positive_rate))


def learns(
    losses: Array, positive_rate: Array | float, margin_nats: float = 0.02, window_epochs: int = WINDOW_EPOCHS
) -> Array:
    """1 where the excess loss is below -0.02 nats, else 0, also for a run that diverged.

    Shapes: (R, E) and positive rates of the training rows (R,) -> (R,). Accuracy may stay at the majority's
    while loss and AUROC improve. NaN where the rate is not known.
    """
    found = excess_loss(losses, positive_rate, window_epochs) < -margin_nats
    return np.where(np.isnan(np.asarray(positive_rate, float)), np.nan, found)


def slope_on_log2(values: Array, sizes: Array) -> Array:
    """Least-squares slope of a replicate's values on log2 of the K sizes: change per doubling.

    Shapes: (R, K), (K,) -> (R,). For H3.
    """
    doublings = np.log2(np.asarray(sizes, float))
    centred = doublings - doublings.mean()
    return np.asarray(values @ centred / (centred @ centred))


def _window(curves: Array, window_epochs: int) -> Array:
    if window_epochs < 1:
        raise ValueError(f"window_epochs must be at least 1; found {window_epochs}")
    return _checked(curves)[:, -window_epochs:]


def _checked(curves: Array) -> Array:
    curves = np.asarray(curves, float)
    if curves.ndim != 2:
        raise ValueError(f"curves must have the axes (R, E); found the shape {curves.shape}")
    return curves
