"""What many runs have in common, epoch by epoch: their mean, and the band in which most of them lie."""

import numpy as np
import pandas as pd

from pima_hp.run import Array

BAND = (0.05, 0.95)
"""Quantiles of the band: the spread of single runs, not an interval of their mean."""


def mean(values: Array) -> Array:
    """Return the mean over runs of the values that there are, (R, E) -> (E,); NaN where there is none.

    Where runs diverge it is a mean of the survivors: say so beside it.
    """
    return pd.DataFrame(values).mean().to_numpy()


def quantiles(values: Array, levels: tuple[float, ...] = BAND) -> list[Array]:
    """Return quantiles over runs of the values that there are, (R, E) -> (E,) each; NaN where there is none."""
    with np.errstate(invalid="ignore"):  # between two infinite losses there is no number: a gap
        return [*pd.DataFrame(values).quantile(levels).to_numpy()]
