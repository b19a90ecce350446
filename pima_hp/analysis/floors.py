"""Floors to hold a network against, computed in the same splits: majority class and logistic regression."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pima_hp.analysis.bootstrap import nadeau_bengio
from pima_hp.record import Array


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
) -> list[Floor]:
    """Majority class, logistic regression, and logistic regression on glucose alone where the table has it.

    Args:
        features: (n, D) as the table has them.
        labels: (n,) zeros and ones.
        names: of the D features.
        splits: row numbers of the training and of the test rows, one pair a split.
    """
    x, y = np.asarray(features, float), np.asarray(labels, float)
    columns = {"majority class": [], "logistic regression": list(range(x.shape[1]))}
    if "glucose" in names:
        columns["logistic regression on glucose alone"] = [list(names).index("glucose")]
    pairs = [(np.asarray(train, np.intp), np.asarray(test, np.intp)) for train, test in splits]
    found = []
    for name, chosen in columns.items():
        scores = np.empty(len(pairs))
        for number, (train, test) in enumerate(pairs):
            spread = x[train][:, chosen].std(axis=0)
            scaled = (x[:, chosen] - x[train][:, chosen].mean(axis=0)) / np.where(spread == 0, 1, spread)
            design = np.column_stack([np.ones(len(y)), scaled])  # (n, D + 1); the intercept alone is the majority
            logits = design[test] @ logistic_regression(design[train], y[train])
            scores[number] = np.mean((logits > 0) == y[test])
        single = len(pairs) < 2  # no spread to make an interval of
        interval = (math.nan, math.nan) if single else nadeau_bengio(scores, len(pairs[0][0]), len(pairs[0][1]))
        found.append(Floor(name, float(scores.mean()), *interval, len(pairs)))
    return found


def logistic_regression(design: Array, labels: Array, ridge: float = 1e-3) -> Array:
    """Weights of largest likelihood by Newton's steps, (n, D), (n,) -> (D,).

    A little ridge on the diagonal of the Hessian keeps them finite where rows can be separated.
    """
    weights, penalty = np.zeros(design.shape[1]), ridge * np.eye(design.shape[1])
    for _ in range(50):
        probabilities = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        hessian = (design.T * (probabilities * (1 - probabilities))) @ design + penalty
        step = np.linalg.solve(hessian, design.T @ (labels - probabilities) - ridge * weights)
        weights = weights + step
        if np.abs(step).max() < 1e-8:
            break
    return np.asarray(weights)
