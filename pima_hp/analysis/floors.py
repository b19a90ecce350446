"""Floors to hold a network against, computed in the same splits: SCIENCE section 6."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pima_hp.analysis.bootstrap import nadeau_bengio
from pima_hp.record import Array

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Floor:
    """Test accuracy of a simple rule: mean over splits, and its interval for new patients (Nadeau-Bengio)."""

    name: str
    accuracy: float
    lower: float
    upper: float
    n_splits: int


def floors(
    features: ArrayLike,
    labels: ArrayLike,
    names: Sequence[str],
    splits: Sequence[tuple[ArrayLike, ArrayLike]],
    alone: str = "glucose",
) -> list[Floor]:
    """Majority class, logistic regression, and logistic regression on one feature.

    Args:
        features: (n, D) as the table has them.
        labels: (n,) zeros and ones.
        names: of the D features.
        splits: row numbers of the training and of the test rows, one pair a split.
        alone: the one feature; left out where the table lacks it.
    """
    x, y = np.asarray(features, float), np.asarray(labels, float)
    columns = {"majority class": [], "logistic regression": list(range(x.shape[1]))}
    if alone in names:
        columns[f"logistic regression on {alone} alone"] = [list(names).index(alone)]
    pairs = [(np.asarray(train, np.intp), np.asarray(test, np.intp)) for train, test in splits]
    n_train, n_test = (len(rows) for rows in pairs[0])
    found = []
    for name, chosen in columns.items():
        scores = np.array([_accuracy(x[:, chosen], y, train, test) for train, test in pairs])
        found.append(Floor(name, float(scores.mean()), *nadeau_bengio(scores, n_train, n_test), len(pairs)))
    return found


def _accuracy(features: Array, labels: Array, train: Rows, test: Rows) -> float:
    """Share of test rows predicted rightly by a regression on the training rows; without features, the majority."""
    spread = features[train].std(axis=0)
    scaled = (features - features[train].mean(axis=0)) / np.where(spread == 0, 1, spread)
    design = np.column_stack([np.ones(len(labels)), scaled])  # (n, D + 1)
    weights = logistic_regression(design[train], labels[train])
    return float(np.mean((design[test] @ weights > 0) == labels[test]))


def logistic_regression(design: Array, labels: Array, ridge: float = 1e-3, max_steps: int = 50) -> Array:
    """Weights (D,) of largest likelihood by Newton's steps; a little ridge keeps separable rows finite.

    Args:
        design: (n, D), a column of ones for an intercept.
        labels: (n,) zeros and ones.
        ridge: added to the diagonal of the Hessian.
        max_steps: of Newton.
    """
    weights, penalty = np.zeros(design.shape[1]), ridge * np.eye(design.shape[1])
    for _ in range(max_steps):
        probabilities = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (labels - probabilities) - ridge * weights
        hessian = (design.T * (probabilities * (1 - probabilities))) @ design + penalty
        step = np.linalg.solve(hessian, gradient)
        weights = weights + step
        if np.abs(step).max() < 1e-8:
            break
    return np.asarray(weights)
