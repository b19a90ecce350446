"""Which rows train, which are watched during training, and which are held back."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pima_hp.config import DataSection
from pima_hp.data.sizes import split_sizes


@dataclass(frozen=True)
class Split:
    """Row numbers of the table, each of shape (n,) or (S, n), in the order in which they are served.

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
    return cut(torch.randperm(len(labels), generator=generator), labels, data)


def cut(orders: Tensor, labels: Tensor, data: DataSection) -> Split:
    """Cut permutations of the rows, (n,) or S of them (S, n); see `split_rows`."""
    n_rows = len(labels)
    n_train, n_val, n_test = split_sizes(n_rows, data)
    if data.stratified:
        positive = labels[orders] > 0.5
        part = torch.zeros_like(orders)  # 0 train, 1 val, 2 test
        counts = [n_rows - int((labels > 0.5).sum()), int((labels > 0.5).sum())]
        for label, n_of_test, n_of_val in zip((0, 1), _shares(counts, n_test), _shares(counts, n_val), strict=True):
            is_label = positive == label
            place = is_label.cumsum(-1)  # among the rows of this label, from 1
            part[is_label & (place <= n_of_test + n_of_val)] = 1
            part[is_label & (place <= n_of_test)] = 2
        train, val, test = (orders[part == number].view(*orders.shape[:-1], -1) for number in (0, 1, 2))
    else:
        test, val, train = orders.split_with_sizes([n_test, n_val, n_train], dim=-1)
    return Split(train=train, val=val if n_val else test, test=test)


def _shares(counts: list[int], total: int) -> list[int]:
    """Divide `total` in proportion to `counts`, by largest remainder."""
    exact = [total * count / sum(counts) for count in counts]
    shares = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda i: shares[i] - exact[i])
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares
