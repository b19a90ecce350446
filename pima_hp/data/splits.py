"""Which rows train, which are watched during training, and which are held back."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pima_hp.config import DataSection
from pima_hp.data.sizes import split_sizes


@dataclass(frozen=True)
class Split:
    """Row numbers of the table, each of shape (n,), in the order in which they are served.

    Attributes:
        train: rows that updates are made of.
        val: rows scored every epoch; the test rows themselves when nothing is set apart for it.
        test: rows held back from training.
    """

    train: Tensor
    val: Tensor
    test: Tensor


def split_rows(labels: Tensor, data: DataSection, generator: torch.Generator) -> Split:
    """Permute the rows and cut them into test, val and train.

    Args:
        labels: (n,) zeros and ones; used when `data.stratified`, which keeps the share of each label
            in every part to within one row.
        data: fractions and `stratified`.
        generator: the run's `split` stream.
    """
    order = torch.randperm(len(labels), generator=generator)
    _, n_val, n_test = split_sizes(len(labels), data)
    part = torch.zeros(len(labels), dtype=torch.long)  # of the permuted rows: 0 train, 1 val, 2 test
    if data.stratified:
        permuted = labels[order]
        positions = [torch.nonzero(permuted == label).squeeze(1) for label in (0, 1)]
        counts = [len(rows) for rows in positions]
        for rows, n_of_test, n_of_val in zip(positions, _shares(counts, n_test), _shares(counts, n_val), strict=True):
            part[rows[:n_of_test]] = 2
            part[rows[n_of_test : n_of_test + n_of_val]] = 1
    else:
        part[:n_test] = 2
        part[n_test : n_test + n_val] = 1
    train, val, test = (order[part == number] for number in (0, 1, 2))
    return Split(train=train, val=val if n_val else test, test=test)


def _shares(counts: list[int], total: int) -> list[int]:
    """Divide `total` in proportion to `counts`, by largest remainder."""
    exact = [total * count / sum(counts) for count in counts]
    shares = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda i: shares[i] - exact[i])
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares
