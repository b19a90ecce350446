"""Floors to hold a network against, computed in the same splits: majority class and logistic regression."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pima_hp.analysis.bootstrap import nadeau_bengio
from pima_hp.analysis.curves import aligned, final_score
from pima_hp.analysis.selection import Runs, baseline, conclusive, equal, named
from pima_hp.run import Array

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Splits:
    """Test accuracy of simple rules in splits of one kind."""

    settings: Mapping[str, Any]  # what makes the kind: fractions, stratified or not
    seeds: Sequence[int]  # of the splits
    n_train: int
    n_test: int
    accuracy: Mapping[str, Sequence[float]]  # rule -> one per split

    @property
    def name(self) -> str:
        """`80 % train, 20 % test`."""
        test, val = (float(self.settings.get(f"data.{key}_fraction") or 0) for key in ("test", "val"))
        return f"{100 * (1 - test - val):.3g} % train, {100 * test:.3g} % test"


def floor_scores(
    features: ArrayLike, labels: ArrayLike, names: Sequence[str], splits: Sequence[tuple[ArrayLike, ArrayLike]]
) -> dict[str, list[float]]:
    """Majority class, logistic regression, and logistic regression on glucose alone where the table has it.

    Args:
        features: (n, D) as the table has them.
        labels: (n,) zeros and ones.
        names: of the D features.
        splits: row numbers of the training and of the test rows, one pair per split.
    """
    x, y = np.asarray(features, float), np.asarray(labels, float)
    columns = {"majority class": [], "logistic regression": list(range(x.shape[1]))}
    if "glucose" in names:
        columns["logistic regression on glucose alone"] = [list(names).index("glucose")]
    pairs = [(np.asarray(train, np.intp), np.asarray(test, np.intp)) for train, test in splits]

    def accuracy(chosen: list[int], train: Rows, test: Rows) -> float:
        spread = x[train][:, chosen].std(axis=0)
        scaled = (x[:, chosen] - x[train][:, chosen].mean(axis=0)) / np.where(spread == 0, 1, spread)
        design = np.column_stack([np.ones(len(y)), scaled])  # (n, D + 1); the intercept alone is the majority
        logits = design[test] @ logistic_regression(design[train], y[train])
        return float(np.mean((logits > 0) == y[test]))

    return {name: [accuracy(chosen, *pair) for pair in pairs] for name, chosen in columns.items()}


def floors_table(frame: pd.DataFrame, kinds: Sequence[Splits]) -> pd.DataFrame:
    """Each configuration beside each simple rule: test accuracies and their paired difference, network minus rule.

    Intervals are those of Nadeau and Bengio, for new patients; NaN where there is but one split. The network's
    accuracy is its final score: the mean over the last 20 epochs where the test rows were watched, else that of
    the last weights. Runs that share a split are averaged within it. `nearest` marks the configuration of each
    kind of split that is nearest `conf/config.yaml`.
    """
    runs, usual, rows = Runs(frame), baseline(), []
    for kind in kinds:
        settings = {key: of for key, of in runs.settings.items()
                    if all(equal(of.get(name), value) for name, value in kind.settings.items())}  # fmt: skip
        differing = {key: {name: of[name] for name in of if name in usual and not equal(of[name], usual[name])}
                     for key, of in settings.items()}  # fmt: skip
        nearest = min(differing, key=lambda key: len(differing[key]), default=None)
        for config_id, others in differing.items():
            network = _test_accuracy(conclusive(runs.of[config_id]), kind)  # (S,)
            for rule, accuracies in kind.accuracy.items():
                floor = np.array(accuracies)
                shared = ~np.isnan(network)
                rows.append(
                    {"splits": kind.name, "config_id": config_id, "differing": named(others),
                     "nearest": config_id == nearest, "rule": rule, "n_splits": int(shared.sum())}
                    | _interval("network", network[shared], kind) | _interval("rule_accuracy", floor, kind)
                    | _interval("difference", (network - floor)[shared], kind)
                )  # fmt: skip
    return pd.DataFrame(rows)


def _test_accuracy(runs: pd.DataFrame, kind: Splits) -> Array:
    """Final score of each split, NaN where no run has one."""
    if kind.settings.get("data.val_fraction"):
        scores = runs.get("final/test/accuracy", pd.Series(np.nan, runs.index))
    else:  # the test rows were watched
        scores = pd.Series(final_score(aligned(runs["val/accuracy"])), runs.index)
    return np.asarray(scores.groupby(runs["split_seed"]).mean().reindex(list(kind.seeds)), float)


def _interval(name: str, scores: Array, kind: Splits) -> dict[str, float]:
    mean = float(scores.mean()) if len(scores) else math.nan
    lower, upper = nadeau_bengio(scores, kind.n_train, kind.n_test) if len(scores) > 1 else (math.nan, math.nan)
    return {name: mean, f"{name}_lower": lower, f"{name}_upper": upper}


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
