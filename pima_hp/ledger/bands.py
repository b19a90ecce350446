"""What many runs have in common, epoch by epoch: their mean, and the band in which most of them lie."""

import numpy as np

from pima_hp.run import Array

BAND = (0.05, 0.95)
"""Quantiles of the band: the spread of single runs, not an interval of their mean."""


def mean(values: Array) -> Array:
    """Mean over the first axis, of the values that there are: (R, ...) -> (...); NaN where there is none.

    Where runs diverge it is a mean of the survivors: say so beside it.
    """
    present = ~np.isnan(values)
    counts = present.sum(axis=0)
    total: Array = np.where(present, values, 0.0).sum(axis=0)
    means: Array = np.divide(total, counts, out=np.full(total.shape, np.nan), where=counts > 0)
    return means


def quantiles(values: Array, levels: tuple[float, ...] = BAND) -> list[Array]:
    """Quantiles over the first axis, of the values that there are, linearly interpolated: (R, ...) -> (...) each.

    As numpy's nanquantile, and much faster; NaN where there is no value.
    """
    ordered = np.sort(values, axis=0)  # NaN last
    last = np.maximum((~np.isnan(values)).sum(axis=0) - 1, 0)
    found = []
    for level in levels:
        below = np.floor(level * last).astype(int)
        low, high = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (below, np.minimum(below + 1, last)))
        with np.errstate(invalid="ignore"):  # between two infinite losses there is no number: a gap
            found.append(low + (high - low) * (level * last - below))
    return found
