"""Cleaning and scaling: statistics of the training rows alone, what is missing, what the tensors are."""

from dataclasses import replace

import pytest
import torch

from pima_hp.config import Config
from pima_hp.config.options import options
from pima_hp.data.prepared import DTYPES, Prepared, prepare, table_of
from pima_hp.data.preprocessing import Preprocessing
from pima_hp.data.splits import Split
from pima_hp.data.table import Table
from pima_hp.errors import StudyError
from tests.conftest import job_of
from tests.data.conftest import given

CHOICES = [f"data={option}" for option in options("data")]
SCALINGS = [(missing, scaling) for missing in ("keep", "median") for scaling in ("none", "standard", "minmax")]


def planted(table: Table, rows: torch.Tensor, value: float) -> Table:
    features = table.features.copy()
    features[rows.numpy()] = value
    return replace(table, features=features)


def one_split(table: Table, configuration: Config, split_seed: int) -> Prepared:
    """The data of one split, rows numbered (n,)."""
    dtype = DTYPES[configuration.trainer.precision]
    data = prepare(table, configuration.data, [split_seed], dtype)
    return replace(data, split=Split(*(getattr(data.split, part)[0] for part in ("train", "val", "test"))))


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("stratified", [False, True])
def test_splits_that_are_prepared_together_are_those_that_are_prepared_alone(choice: str, stratified: bool) -> None:
    configuration = job_of(*given(choice), f"data.stratified={str(stratified).lower()}").config
    table = table_of(configuration)
    together = prepare(table, configuration.data, [5, 2**32 - 1, 0], torch.float32)
    for place, seed in enumerate((5, 2**32 - 1, 0)):
        alone = one_split(table, configuration, seed)
        for part in ("train", "val", "test"):
            ours, theirs = getattr(together.split, part)[place], getattr(alone.split, part)
            assert torch.equal(together.features[ours], alone.features[theirs])
            assert torch.equal(together.labels[ours], alone.labels[theirs])


@pytest.mark.parametrize(("missing", "scaling"), SCALINGS)
@pytest.mark.parametrize("val", [0.0, 0.2])
def test_statistics_come_from_the_training_rows_alone(missing: str, scaling: str, val: float) -> None:
    settings = (f"data.missing={missing}", f"data.scaling={scaling}", f"data.val_fraction={val}")
    configuration = job_of(*settings, "trainer.precision=64").config
    table = table_of(configuration)
    before = one_split(table, configuration, 3)
    held_back = torch.cat([before.split.val, before.split.test])
    after = one_split(planted(table, held_back, 1e6), configuration, 3)
    train = before.split.train
    assert torch.equal(after.split.train, train)
    assert torch.equal(after.features[train], before.features[train])
    assert not torch.equal(after.features[held_back], before.features[held_back])
    changed = one_split(planted(table, train[:1], 1e6), configuration, 3)
    same_rest = torch.equal(changed.features[train[1:]], before.features[train[1:]])
    assert same_rest is ((missing, scaling) == ("keep", "none")), (
        "a change in the training rows is seen by the statistics"
    )


def test_standard_scaling_is_that_of_scikit_learn() -> None:
    data = prepare_of("data.scaling=standard", "trainer.precision=64")
    train = data.features[data.split.train]
    # Means and standard deviations (n in the denominator) of 614 rows, to 1e-12.
    torch.testing.assert_close(train.mean(0), torch.zeros(8, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(train.std(0, correction=0), torch.ones(8, dtype=torch.float64), atol=1e-12, rtol=0)


def test_minmax_scaling_maps_the_training_rows_to_the_unit_interval() -> None:
    data = prepare_of("data.scaling=minmax", "trainer.precision=64")
    train = data.features[data.split.train]
    assert torch.equal(train.amin(0), torch.zeros(8, dtype=torch.float64))
    assert torch.equal(train.amax(0), torch.ones(8, dtype=torch.float64))


def prepare_of(*overrides: str, split_seed: int = 0):
    configuration = job_of(*overrides).config
    return one_split(table_of(configuration), configuration, split_seed)


def test_missing_values_become_the_median_of_what_was_measured_in_training() -> None:
    kept, imputed = (prepare_of(f"data.missing={way}", "trainer.precision=64") for way in ("keep", "median"))
    configuration = job_of().config
    names, train = table_of(configuration).feature_names, kept.split.train
    for index, name in enumerate(names):
        raw, clean = kept.features[:, index], imputed.features[:, index]
        if name not in configuration.data.zero_is_missing:
            assert torch.equal(clean, raw)
            continue
        measured = raw[train][raw[train] != 0]
        # torch's median is the lower of two middle values; the mean of both is what numpy's and this one are.
        middle = torch.quantile(measured, 0.5)
        assert (raw == 0).any()
        assert torch.equal(clean[raw == 0], middle.expand(int((raw == 0).sum())))
        assert torch.equal(clean[raw != 0], raw[raw != 0])


def test_a_column_that_is_constant_in_training_is_only_shifted() -> None:
    for scaling in ("standard", "minmax"):
        configuration = job_of(f"data.scaling={scaling}", "trainer.precision=64").config
        table = table_of(configuration)
        split = one_split(table, configuration, 0).split
        table.features[split.train.numpy(), 2] = 7.0
        table.features[split.test.numpy(), 2] = 9.0
        data = one_split(table, configuration, 0)
        assert torch.equal(data.features[split.train, 2], torch.zeros(614, dtype=torch.float64))
        assert torch.equal(data.features[split.test, 2], torch.full((154,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("bits", [32, 64])
def test_features_and_labels_are_finite_and_in_the_precision_asked_for(choice: str, bits: int) -> None:
    data = prepare_of(*given(choice), f"trainer.precision={bits}")
    dtype = {32: torch.float32, 64: torch.float64}[bits]
    assert data.features.dtype == data.labels.dtype == dtype
    assert torch.isfinite(data.features).all()
    assert set(data.labels.tolist()) == {0.0, 1.0}
    assert data.features.shape == (768, 8)


def test_the_table_of_a_configuration_must_still_be_that_file(tmp_path) -> None:
    path = tmp_path / "t.csv"
    rows = "".join(f"{n},{n * 7 % 5},{n % 2}\n" for n in range(20))
    path.write_text("a,b,y\n" + rows, encoding="utf-8")
    own = ("data=csv", f"data.path={path}", "data.label=y", "batch.size=4")
    configuration = job_of(*own).config
    assert table_of(configuration).digest == configuration.data_digest
    path.write_text("a,b,y\n" + rows.replace("3,1,1", "3,2,1"), encoding="utf-8")
    with pytest.raises(StudyError, match=f"must not change within a study; digest {configuration.data_digest[:12]} "):
        table_of(configuration)


@pytest.mark.parametrize("scaling", ["standard", "minmax"])
@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-3, 33.6])
def test_a_column_that_is_constant_over_the_training_rows_is_only_shifted(scaling, value):
    features = torch.full((615, 1), value, dtype=torch.float64)
    features[-1] += 1
    section = job_of(f"data.scaling={scaling}").config.data
    scaled = Preprocessing.fit(features, ("a",), torch.arange(614), section).transform(features)
    assert (scaled[:-1] == 0).all()
    assert float(scaled[-1]) == pytest.approx(1)
