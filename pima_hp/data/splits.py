"""Which rows train, which are scored every epoch, and which are held back."""

import math

import torch
from torch import Tensor

from pima_hp.config import DataSection


def split_rows(labels: Tensor, data: DataSection, generator: torch.Generator) -> dict[str, Tensor]:
    """Permute the rows and cut them into test, val and train.

    Args:
        labels: (n,) zeros and ones; used when `data.stratified`, which keeps the share of each label
            in every split to within one row.
        data: fractions and `stratified`.
        generator: the run's `split` stream.

    Returns:
        Row numbers of `train`, `val` (the test rows where `val_fraction` is 0) and `test`, in order.
    """
    order = torch.randperm(len(labels), generator=generator)
    n_train, n_val, n_test = data.split_sizes(len(labels))
    if data.stratified:
        positive = labels[order] > 0.5
        split = torch.zeros_like(order)  # 0 train, 1 val, 2 test
        counts = [int((~positive).sum()), int(positive.sum())]
        for label, n_of_test, n_of_val in zip((0, 1), _shares(counts, n_test), _shares(counts, n_val), strict=True):
            of_label = (positive == label).nonzero().squeeze(1)
            split[of_label[: n_of_test + n_of_val]] = 1
            split[of_label[:n_of_test]] = 2
        train, val, test = (order[split == number] for number in (0, 1, 2))
    else:
        test, val, train = order.split_with_sizes([n_test, n_val, n_train])
    return {"train": train, "val": val if n_val else test, "test": test}


def _shares(counts: list[int], total: int) -> list[int]:
    """Divide `total` in proportion to `counts`, by largest remainder."""
    exact = [total * count / sum(counts) for count in counts]
    shares = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda i: shares[i] - exact[i])
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares
