"""Splits: disjoint, complete, of scikit-learn's sizes, stratified to within a row, a function of their stream."""

import math

import pytest
import torch
from torch import Tensor

from pima_hp.config import DataSection
from pima_hp.data.sizes import split_sizes
from pima_hp.data.splits import Split, split_rows
from pima_hp.seeds import Role, stream


def section(test: float = 0.2, val: float = 0.0, *, stratified: bool = False) -> DataSection:
    return DataSection(
        path=None, label="outcome", features=None, zero_is_missing=[], missing="keep", scaling="none",
        test_fraction=test, val_fraction=val, stratified=stratified,
    )  # fmt: skip


def labels_of(n_rows: int, n_positive: int) -> Tensor:
    return (torch.arange(n_rows) % n_rows < n_positive).double()[
        torch.randperm(n_rows, generator=stream(9, Role.SPLIT))
    ]


def split(labels: Tensor, data: DataSection, seed: int = 0) -> Split:
    return split_rows(labels, data, stream(seed, Role.SPLIT))


SHAPES = [(768, 268), (10, 1), (10, 5), (11, 10), (101, 33), (40, 20)]
FRACTIONS = [(0.2, 0.0), (0.2, 0.2), (0.1, 0.3), (0.5, 0.25), (0.01, 0.0), (1 / 3, 1 / 3)]


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(("n_rows", "n_positive"), SHAPES)
@pytest.mark.parametrize(("test", "val"), FRACTIONS)
def test_the_parts_are_disjoint_and_complete(
    n_rows: int, n_positive: int, test: float, val: float, stratified: bool
) -> None:
    labels, data = labels_of(n_rows, n_positive), section(test, val, stratified=stratified)
    found = split(labels, data)
    parts = [found.train, found.val, found.test] if val else [found.train, found.test]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(n_rows))
    n_train, n_val, n_test = split_sizes(n_rows, data)
    assert [len(part) for part in parts] == [n for n in (n_train, n_val, n_test) if n or n is n_train]
    if not val:
        assert torch.equal(found.val, found.test)
    if stratified:
        for part in parts:
            exact = len(part) * n_positive / n_rows
            # A row of the rounding of test and one of the rounding of val may both fall to the training rows.
            assert abs(float(labels[part].sum()) - exact) < (1 if part is not found.train or not val else 2)


@pytest.mark.parametrize(
    ("n_rows", "fraction"), [(768, 0.2), (10, 0.2), (10, 0.25), (768, 0.1), (100, 0.07), (30, 0.1)]
)
def test_fractions_round_up_as_in_scikit_learn(n_rows: int, fraction: float) -> None:
    n_train, n_val, n_test = split_sizes(n_rows, section(fraction))
    assert n_val == 0
    assert n_test == math.ceil(round(fraction * n_rows, 9))  # 100 * 0.07 is 7.000000000000001 in floating point
    assert n_train == n_rows - n_test


def test_the_article_has_614_and_154_rows() -> None:
    assert split_sizes(768, section(0.2)) == (614, 0, 154)


def test_a_split_is_a_function_of_its_stream_and_in_random_order() -> None:
    labels = labels_of(768, 268)
    first, again, other = (split(labels, section(), seed) for seed in (0, 0, 1))
    assert torch.equal(first.train, again.train)
    assert not torch.equal(first.test.sort().values, other.test.sort().values)
    assert not torch.equal(first.train, first.train.sort().values)


def test_every_row_is_sometimes_in_the_test_rows() -> None:
    labels = labels_of(40, 14)
    for stratified in (False, True):
        counts = torch.zeros(40)
        for seed in range(400):
            counts[split(labels, section(stratified=stratified), seed).test] += 1
        # Expected 80 of 400 each, standard deviation 8: five of them on either side.
        assert counts.min() > 40
        assert counts.max() < 120
