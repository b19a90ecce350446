import numpy as np
import pytest

from pima_hp.analysis.floors import floors, logistic_regression

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


def test_floors_in_the_given_splits():
    splits = [np.split(np.random.default_rng(seed).permutation(500), [400]) for seed in range(20)]
    majority, all_features, glucose = floors(X, Y, ["glucose", "bmi", "age"], splits)
    rate = [max(Y[train].mean(), 1 - Y[train].mean()) for train, _ in splits]
    assert majority.accuracy == pytest.approx(np.mean([Y[test].mean() for _, test in splits]))
    assert majority.accuracy == pytest.approx(np.mean(rate), abs=0.03)
    assert majority.accuracy < glucose.accuracy < all_features.accuracy < all_features.upper
    assert all_features.lower < all_features.accuracy
    assert glucose.name == "logistic regression on glucose alone"
    assert all_features.n_splits == 20
    assert len(floors(X, Y, ["a", "b", "c"], splits)) == 2
