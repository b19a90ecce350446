"""Cleaning and scaling: statistics of the training rows alone, for one member as for many."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pima_hp.data.prepared import Prepared, Preprocessing, prepare
from pima_hp.data.table import Table
from tests.data.conftest import section, shipped

SCALINGS = [(missing, scaling) for missing in ("keep", "median") for scaling in ("none", "standard", "minmax")]
ZEROS = ["glucose", "blood_pressure", "skin_thickness", "insulin", "bmi"]


def prepared(table: Table | None = None, seed: int = 0, **settings: object) -> Prepared:
    """Prepare the shipped table, or another, for one member in double precision."""
    data = section(label="outcome", zeros=ZEROS, **settings)
    return prepare(table or shipped(), [(data, seed)], torch.float64)


def features(data: Prepared, split: str) -> Tensor:
    return data.tensors(split)[0][0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_members_that_are_prepared_together_get_what_each_gets_alone(dtype: torch.dtype) -> None:
    sections = [
        section(label="outcome", zeros=ZEROS, missing=missing, scaling=scaling, stratified=stratified, val_fraction=0.2)
        for missing, scaling in SCALINGS
        for stratified in (False, True)
    ]
    members = [(data, seed) for seed in (5, 2**32 - 1, 0, 5) for data in sections]
    together = prepare(shipped(), members, dtype)
    assert len(together.preprocessing) == 3 * len(sections), "equal members share their rows"
    for split in ("train", "val", "test"):
        many_features, many_labels = together.tensors(split)
        for place, member in enumerate(members):
            (alone,), (labels,) = prepare(shipped(), [member], dtype).tensors(split)
            assert alone.dtype == labels.dtype == dtype
            assert torch.equal(many_features[place], alone)
            assert torch.equal(many_labels[place], labels)


@pytest.mark.parametrize(("missing", "scaling"), SCALINGS)
@pytest.mark.parametrize("val", [0.0, 0.2])
def test_statistics_come_from_the_training_rows_alone(missing: str, scaling: str, val: float) -> None:
    settings = {"missing": missing, "scaling": scaling, "val_fraction": val, "seed": 3}
    raw, before = prepared(seed=3, val_fraction=val), prepared(**settings)
    train = raw.rows["train"][0].numpy()
    held_back = np.setdiff1d(np.arange(768), train)
    after = prepared(planted(held_back, 1e6), **settings)
    assert torch.equal(features(after, "train"), features(before, "train"))
    assert not torch.equal(features(after, "val"), features(before, "val"))
    changed = prepared(planted(train[:1], 1e6), **settings)
    unseen = torch.equal(features(changed, "train")[1:], features(before, "train")[1:])
    assert unseen is ((missing, scaling) == ("keep", "none")), "a change in the training rows changes the statistics"


def planted(rows: np.ndarray, value: float) -> Table:
    """The shipped table with other numbers in some rows."""
    table = shipped()
    changed = table.features.copy()
    changed[rows] = value
    return replace(table, features=changed)


def test_scaling_is_that_of_scikit_learn() -> None:
    train = features(prepared(scaling="standard"), "train")
    # Means and standard deviations (n in the denominator) of 614 rows, to 1e-12.
    torch.testing.assert_close(train.mean(0), torch.zeros(8, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(train.std(0, correction=0), torch.ones(8, dtype=torch.float64), atol=1e-12, rtol=0)
    train = features(prepared(scaling="minmax"), "train")
    assert (train.amin(0) == 0).all()
    assert (train.amax(0) == 1).all()


def test_missing_values_become_the_median_of_what_was_measured_in_training() -> None:
    kept, imputed = prepared(), prepared(missing="median")
    for split in ("train", "val"):
        for index, name in enumerate(shipped().feature_names):
            raw, clean = features(kept, split)[:, index], features(imputed, split)[:, index]
            train = features(kept, "train")[:, index]
            # torch's median is the lower of two middle values; the mean of both is what numpy's and this one are.
            middle = torch.quantile(train[train != 0], 0.5)
            expected = torch.where(raw == 0, middle, raw) if name in ZEROS else raw
            assert torch.equal(clean, expected)


@pytest.mark.parametrize("scaling", ["standard", "minmax"])
@pytest.mark.parametrize("value", [7.0, 0.1, 1 / 3, 1e-3, 33.6])
def test_a_column_that_is_constant_over_the_training_rows_is_only_shifted(scaling: str, value: float) -> None:
    rows = torch.full((615, 1), value, dtype=torch.float64)
    rows[-1] += 1
    scaled = Preprocessing.fit(rows, ("a",), torch.arange(614), section(scaling=scaling)).transform(rows)
    assert (scaled[:-1] == 0).all()
    assert float(scaled[-1]) == pytest.approx(1)
