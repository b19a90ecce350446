"""How many rows each part of a split has; without torch, so that a bad request is refused at once."""

import math

from pima_hp.config import DataSection


def split_sizes(n_rows: int, data: DataSection) -> tuple[int, int, int]:
    """Return the numbers of train, val and test rows; fractions round up, as scikit-learn rounds them.

    `val` is 0 when the test rows are the watched ones.
    """
    n_test, n_val = (math.ceil(round(fraction * n_rows, 9)) for fraction in (data.test_fraction, data.val_fraction))
    return n_rows - n_val - n_test, n_val, n_test
