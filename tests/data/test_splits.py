"""Splits: disjoint, complete, of scikit-learn's sizes, stratified to within a row, a function of their stream."""

import math

import pytest
import torch
from torch import Tensor

from pima_hp.config import DataSection
from pima_hp.data.prepared import split_rows
from pima_hp.seeds import Role, stream
from tests.data.conftest import section

SHAPES = [(768, 268), (10, 1), (10, 5), (11, 10), (101, 33), (40, 20)]
FRACTIONS = [(0.2, 0.0), (0.2, 0.2), (0.1, 0.3), (0.5, 0.25), (0.01, 0.0), (1 / 3, 1 / 3)]


def labels_of(n_rows: int, n_positive: int) -> Tensor:
    return (torch.arange(n_rows) < n_positive).double()[torch.randperm(n_rows, generator=stream(9, Role.SPLIT))]


def split(labels: Tensor, data: DataSection, seed: int = 0) -> dict[str, Tensor]:
    return split_rows(labels, data, stream(seed, Role.SPLIT))


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(("n_rows", "n_positive"), SHAPES)
@pytest.mark.parametrize(("test", "val"), FRACTIONS)
def test_splits_are_disjoint_complete_and_of_the_sizes_announced(
    n_rows: int, n_positive: int, test: float, val: float, stratified: bool
) -> None:
    labels = labels_of(n_rows, n_positive)
    data = section(test_fraction=test, val_fraction=val, stratified=stratified)
    found = split(labels, data)
    assert data.splits == (("train", "val", "test") if val else ("train", "val"))
    rows = [found[name] for name in data.splits]
    assert torch.equal(torch.cat(rows).sort().values, torch.arange(n_rows))
    n_train, n_val, n_test = data.split_sizes(n_rows)
    assert [len(each) for each in rows] == ([n_train, n_val, n_test] if val else [n_train, n_test])
    if not val:
        assert torch.equal(found["val"], found["test"])
    if stratified:
        for name, each in found.items():
            exact = len(each) * n_positive / n_rows
            # A row of the rounding of test and one of the rounding of val may both fall to the training rows.
            assert abs(float(labels[each].sum()) - exact) < (2 if name == "train" and val else 1)


@pytest.mark.parametrize(
    ("n_rows", "fraction"), [(768, 0.2), (10, 0.2), (10, 0.25), (768, 0.1), (100, 0.07), (30, 0.1)]
)
def test_fractions_round_up_as_in_scikit_learn(n_rows: int, fraction: float) -> None:
    n_test = math.ceil(round(fraction * n_rows, 9))  # 100 * 0.07 is 7.000000000000001 in floating point
    assert section(test_fraction=fraction).split_sizes(n_rows) == (n_rows - n_test, 0, n_test)


def test_the_article_has_614_and_154_rows() -> None:
    assert section(test_fraction=0.2).split_sizes(768) == (614, 0, 154)


def test_a_split_is_a_function_of_its_stream_and_in_random_order() -> None:
    labels = labels_of(768, 268)
    first, again, other = (split(labels, section(), seed) for seed in (0, 0, 1))
    assert torch.equal(first["train"], again["train"])
    assert not torch.equal(first["test"].sort().values, other["test"].sort().values)
    assert not torch.equal(first["train"], first["train"].sort().values)


@pytest.mark.parametrize("stratified", [False, True])
def test_every_row_is_sometimes_in_the_test_rows(stratified: bool) -> None:
    labels, counts = labels_of(40, 14), torch.zeros(40)
    for seed in range(400):
        counts[split(labels, section(stratified=stratified), seed)["test"]] += 1
    # Expected 80 of 400 each, standard deviation 8: five of them on either side.
    assert 40 < counts.min() <= counts.max() < 120
