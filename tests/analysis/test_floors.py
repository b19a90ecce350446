import numpy as np
import pytest

from pima_hp.analysis.bootstrap import nadeau_bengio
from pima_hp.analysis.floors import Splits, floor_scores, floors_table, logistic_regression
from tests.analysis.conftest import study

RNG = np.random.default_rng(0)
X = RNG.normal(size=(500, 3))
Y = (RNG.random(500) < 1 / (1 + np.exp(-(0.5 + 2 * X[:, 0] - X[:, 1])))).astype(float)


def test_logistic_regression_is_where_the_gradient_vanishes():
    design = np.column_stack([np.ones(500), X])
    weights = logistic_regression(design, Y, ridge=0)
    assert design.T @ (Y - 1 / (1 + np.exp(-design @ weights))) == pytest.approx(np.zeros(4), abs=1e-8)
    assert weights == pytest.approx([0.5, 2, -1, 0], abs=0.5)


def test_separable_rows_and_constant_features_stay_finite():
    design = np.column_stack([np.ones(20), np.arange(20) - 9.5, np.zeros(20)])
    assert np.isfinite(logistic_regression(design, (np.arange(20) > 9).astype(float))).all()


SPLITS = [np.split(np.random.default_rng(seed).permutation(500), [400]) for seed in range(20)]


def test_floors_in_the_given_splits():
    found = floor_scores(X, Y, ["glucose", "bmi", "age"], SPLITS)
    assert list(found) == ["majority class", "logistic regression", "logistic regression on glucose alone"]
    majority, every, glucose = map(np.mean, found.values())
    assert found["majority class"] == pytest.approx([max(Y[test].mean(), 1 - Y[test].mean()) for _, test in SPLITS])
    assert majority < glucose < every
    assert {len(scores) for scores in found.values()} == {20}
    assert len(floor_scores(X, Y, ["a", "b", "c"], SPLITS)) == 2


KIND = Splits(
    {"data.test_fraction": 0.2}, range(30), 614, 154, {"easy": [0.6] * 30, "hard": list(np.linspace(0.7, 0.8, 30))}
)


def test_a_network_is_paired_with_each_rule_in_the_same_splits():
    levels = np.linspace(0.65, 0.75, 30)
    arms = [({"batch.size": size}, levels[:, None] * np.ones(100) + shift) for size, shift in ((32, 0.01), (10, 0.0))]
    table = floors_table(study(arms), [KIND])
    assert len(table) == 2 * 2
    assert table.loc[table["nearest"], "config_id"].unique().tolist() == ["c1"]
    assert table["differing"].tolist() == ["batch.size=32"] * 2 + [""] * 2
    hard = table[(table["rule"] == "hard") & table["nearest"]].iloc[0]
    assert (hard["network"], hard["rule_accuracy"], hard["n_splits"]) == (pytest.approx(0.7), pytest.approx(0.75), 30)
    assert list(hard[["difference", "difference_lower", "difference_upper"]]) == pytest.approx([-0.05] * 3)
    easy = table[(table["rule"] == "easy") & table["nearest"]].iloc[0]
    expected = nadeau_bengio(levels - 0.6, 614, 154)
    assert (easy["difference_lower"], easy["difference_upper"]) == pytest.approx(expected)
    assert expected[1] - expected[0] > 0.05  # far wider than seeds alone would say: splits share rows


def test_only_splits_in_which_the_network_has_a_score_are_compared():
    frame = study([({}, np.full((12, 100), 0.7))], {(0, 0): "diverged", (0, 1): "failed"})
    assert set(floors_table(frame, [KIND])["n_splits"]) == {10}
    assert floors_table(frame, []).empty
    held_back = frame.assign(**{"data.val_fraction": 0.2, "final/test/accuracy": 0.5})
    kind = Splits(KIND.settings | {"data.val_fraction": 0.2}, *list(vars(KIND).values())[1:])
    assert set(floors_table(held_back, [kind])["network"]) == {0.5}
    assert floors_table(frame, [kind]).empty
