import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.baselines import FILE, MODELS, TYPES, baseline_scores, baselines_table, read_baselines
from pima_hp.analysis.intervals import nadeau_bengio
from pima_hp.data.table import Table
from tests.analysis.conftest import study

RNG = np.random.default_rng(0)
X = RNG.normal(size=(500, 3))
Y = (RNG.random(500) < 1 / (1 + np.exp(-(0.5 + 2 * X[:, 0] - X[:, 1])))).astype(int)
ORDERS = [np.random.default_rng(seed).permutation(500) for seed in range(20)]


def table_of(features, labels, *names):
    return Table(features, labels, names, "", ())


def test_baselines_in_the_given_splits():
    splits = [(order[:400], order[400:]) for order in ORDERS]
    found = pd.DataFrame(baseline_scores(table_of(X, Y, "glucose", "bmi", "age"), splits))
    assert list(found) == list(MODELS)
    shares = [Y[order[400:]].mean() for order in ORDERS]
    assert found["majority class"].tolist() == pytest.approx([max(share, 1 - share) for share in shares])
    majority, every, glucose = found.mean()
    assert majority < glucose < every
    assert np.isnan(baseline_scores(table_of(X, Y, "a", "b", "c"), splits)[MODELS[2]]).all()


def test_separable_rows_and_constant_features_have_a_score_and_one_class_has_none():
    x = np.column_stack([np.arange(40) - 19.5, np.zeros(40)])
    y = (np.arange(40) > 19).astype(int)
    even, odd, first, last = np.arange(0, 40, 2), np.arange(1, 40, 2), np.arange(20), np.arange(20, 40)
    scores = baseline_scores(table_of(x, y, "a", "b"), [(even, odd), (first, last)])
    assert scores["majority class"].tolist() == [0.5, 0]
    assert scores["logistic regression"] == pytest.approx([0.95, np.nan], nan_ok=True)


def baselines(val_fraction=0.0, n=30):
    kind = {"data.test_fraction": 0.2, "data.val_fraction": val_fraction, "data.stratified": False}
    scores = {MODELS[0]: 0.6, MODELS[1]: np.linspace(0.7, 0.8, n), MODELS[2]: np.nan}
    return pd.DataFrame({**kind, "split_seed": range(n), "n_train": 614.0, "n_test": 154.0, **scores})


def test_a_network_is_paired_with_each_baseline_in_the_same_splits():
    levels = np.linspace(0.65, 0.75, 30)
    arms = [({"batch.size": size}, levels[:, None] * np.ones(100) + shift) for size, shift in ((32, 0.01), (10, 0.0))]
    table = baselines_table(study(arms), baselines())
    assert len(table) == 2 * 2  # no row for the baseline that has no scores
    assert table.loc[table["nearest"], "config_id"].unique().tolist() == ["c1"]
    assert table["differing"].tolist() == [""] * 2 + ["batch.size=32"] * 2
    easy, hard = (table[table["nearest"]].set_index("baseline").loc[name] for name in MODELS[:2])
    assert (hard["network"], hard["accuracy"], hard["n_splits"]) == pytest.approx((0.7, 0.75, 30))
    assert list(hard[["difference", "difference_lower", "difference_upper"]]) == pytest.approx([-0.05] * 3)
    expected = nadeau_bengio(levels - 0.6, 614, 154)
    assert (easy["difference_lower"], easy["difference_upper"]) == pytest.approx(expected)
    assert expected[1] - expected[0] > 0.05  # far wider than seeds alone would say: splits share rows


def test_raw_and_standardized_features_are_each_compared_with_the_baselines():
    arms = [({"data.scaling": scaling} | own, np.full((12, 100), level))
            for scaling, level in (("none", 0.7), ("standard", 0.74)) for own in ({}, {"batch.size": 32})]  # fmt: skip
    table = baselines_table(study(arms), baselines())
    nearest = table[table["nearest"] & (table["baseline"] == MODELS[0])]
    assert dict(zip(nearest["scaling"], nearest["difference"], strict=True)) == pytest.approx(
        {"none": 0.1, "standard": 0.14}
    )
    assert nearest["differing"].tolist() == ["", "data.scaling=standard"]


def test_only_splits_in_which_the_network_has_a_score_are_compared():
    frame = study([({}, np.full((12, 100), 0.7))], {(0, 0): "diverged", (0, 1): "failed"})
    assert set(baselines_table(frame, baselines())["n_splits"]) == {10}
    assert baselines_table(frame, baselines()[:0]).empty
    held_back = frame.assign(**{"data.val_fraction": 0.2, "final/test/accuracy": 0.5})
    assert set(baselines_table(held_back, baselines(0.2))["network"]) == {0.5}
    assert baselines_table(frame, baselines(0.2)).empty


def changed(key, value):
    return baselines().astype(object).assign(**{key: value}).to_csv(index=False)


@pytest.mark.parametrize(
    "content",
    ["", "[" * 100_000, "a,b\n1,2\n", "\xff", changed("n_train", 0), changed("split_seed", "x"),
     changed("data.stratified", 7), "," * 2**20],
)  # fmt: skip
def test_a_file_that_holds_no_baselines_is_ignored(tmp_path, content):
    (tmp_path / FILE).write_text(content, encoding="latin-1")
    assert read_baselines(tmp_path).empty
    (tmp_path / FILE).unlink()
    assert list(read_baselines(tmp_path)) == list(TYPES)
    (tmp_path / "elsewhere").write_text(baselines().to_csv(index=False))
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    assert read_baselines(tmp_path).empty


def test_baselines_are_read_as_they_were_written(tmp_path):
    (tmp_path / FILE).write_text(baselines().to_csv(index=False))
    pd.testing.assert_frame_equal(read_baselines(tmp_path), baselines(), rtol=1e-14)
