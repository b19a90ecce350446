"""Baselines on the same splits as a network: majority class and logistic regression."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from pima_hp.analysis.curves import aligned, final_score
from pima_hp.analysis.intervals import nadeau_bengio
from pima_hp.analysis.selection import Runs, conclusive, differing, equal, named
from pima_hp.config import DataSection, Section
from pima_hp.data.table import SHIPPED_SHA256, read_table
from pima_hp.errors import PimaError
from pima_hp.formatting import plain
from pima_hp.ledger.files import write_atomically
from pima_hp.run import Array

FILE = "baselines.json"
LARGEST_BYTES = 2**20
MOST_SPLITS, MOST_KINDS = 100, 8
KIND = ("data.test_fraction", "data.val_fraction", "data.stratified")


class Baselines(Section):
    """Test accuracy of simple models in the splits of one kind."""

    settings: dict[str, Any]  # what makes the kind: fractions, stratified or not
    seeds: list[int]  # of the splits
    n_train: int
    n_test: int
    accuracy: dict[str, list[float]]  # model -> one per split


_JSON = TypeAdapter(list[Baselines])


def read_baselines(folder: Path) -> list[Baselines]:
    """Return the baselines that a study's folder holds; nothing where the file is missing or is not ours."""
    path = folder / FILE
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_BYTES:
            return []
        found = _JSON.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return []
    return [kind for kind in found if all(len(scores) == len(kind.seeds) for scores in kind.accuracy.values())]


def keep_baselines(folder: Path, frame: pd.DataFrame, *, own_table: bool = False) -> list[Baselines]:
    """Return the baselines of a study; compute them and write `baselines.json` unless they are there.

    The splits are drawn by torch's generator, so this is the one part of a report that loads torch, once.

    Args:
        folder: of the study.
        frame: its runs.
        own_table: whether the path of a CSV file in the ledger may be opened: where this command has trained
            from it, not where the study may come from someone else.
    """
    kept = read_baselines(folder)
    digests = set(frame.get("data_digest", ()))
    if len(digests) != 1 or not (own_table or digests == {SHIPPED_SHA256}):
        return kept
    kinds = [
        (runs.iloc[0], {key: plain(runs[key].iloc[0]) for key in KIND}, sorted(set(runs["split_seed"].tolist())))
        for _, runs in frame.groupby(list(KIND), sort=True)
    ][:MOST_KINDS]
    if [(settings, seeds[:MOST_SPLITS]) for _, settings, seeds in kinds] == [(of.settings, of.seeds) for of in kept]:
        return kept
    try:
        found = [_computed(run, settings, seeds[:MOST_SPLITS], own_table) for run, settings, seeds in kinds]
    except (PimaError, ValidationError):
        return kept
    write_atomically(folder / FILE, _JSON.dump_json(found, indent=1))
    return found


def baseline_scores(
    features: Array, labels: NDArray[Any], names: Sequence[str], splits: Sequence[Mapping[str, NDArray[np.intp]]]
) -> dict[str, list[float]]:
    """Return the test accuracy of each baseline in each split.

    They are the majority class, and logistic regression on all features and, where the table has it, on glucose alone.

    Args:
        features: (n, D) as the table has them.
        labels: (n,) zeros and ones.
        names: of the D features.
        splits: numbers of the `train` and of the `test` rows.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    majority = DummyClassifier(strategy="most_frequent")
    # Hardly regularized: weights stay finite where the rows can be separated.
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=1e3, solver="newton-cholesky"))
    models = {"majority class": (majority, features), "logistic regression": (logistic, features)}
    if "glucose" in names:
        models["logistic regression on glucose alone"] = logistic, features[:, [list(names).index("glucose")]]

    def accuracy(model: Any, x: Array, train: NDArray[np.intp], test: NDArray[np.intp]) -> float:
        model = model if len(set(labels[train])) > 1 else majority
        return float(model.fit(x[train], labels[train]).score(x[test], labels[test]))

    return {
        name: [accuracy(model, x, split["train"], split["test"]) for split in splits]
        for name, (model, x) in models.items()
    }


def baselines_table(frame: pd.DataFrame, kinds: Sequence[Baselines]) -> pd.DataFrame:
    """Return the test accuracy of each configuration and each baseline, and their paired difference.

    Intervals are those of Nadeau and Bengio, for new patients; NaN where there is only one split. The network's
    accuracy is its final score: the mean over the last 20 epochs where the test rows are the validation rows, else that
    of the last weights. Runs that share a split are averaged within it. `nearest` marks the configuration of each
    kind of split that is nearest `conf/config.yaml`.
    """
    runs, rows = Runs(frame), []
    for kind in kinds:
        fits = {
            config_id: differing(settings) for config_id, settings in runs.settings.items()
            if all(equal(settings.get(key), value) for key, value in kind.settings.items())
        }  # fmt: skip
        nearest = min(fits, key=lambda config_id: len(fits[config_id]), default=None)
        for config_id, settings in fits.items():
            network = _test_accuracy(conclusive(runs.frame.iloc[runs.rows[config_id]]), kind)  # (S,)
            known = ~np.isnan(network)
            of = {"splits": named(kind.settings), "config_id": config_id, "differing": named(settings),
                  "nearest": config_id == nearest, "n_splits": int(known.sum())}  # fmt: skip
            for name, scores in kind.accuracy.items():
                columns = {"network": network[known], "baseline_accuracy": np.array(scores),
                           "difference": (network - scores)[known]}  # fmt: skip
                rows.append(of | {"baseline": name} | _intervals(columns, kind))
    return pd.DataFrame(rows)


def _computed(run: pd.Series, settings: dict[str, Any], seeds: list[int], own_table: bool) -> Baselines:
    """Compute the baselines of one kind of split; PimaError where the table cannot be read or has changed."""
    import torch

    from pima_hp.data.prepared import split_rows
    from pima_hp.seeds import Role, stream

    content = {str(key).removeprefix("data."): plain(value) for key, value in run.filter(like="data.").items()}
    data = DataSection.model_validate(content if own_table else content | {"path": None}, strict=False)
    table = read_table(data, run["data_digest"])
    labels = torch.tensor(table.labels).double()
    splits = [split_rows(labels, data, stream(seed, Role.SPLIT)) for seed in seeds]
    rows = [{name: of.numpy() for name, of in split.items()} for split in splits]
    scores = baseline_scores(table.features, table.labels, table.feature_names, rows)
    n_train, n_test = len(rows[0]["train"]), len(rows[0]["test"])
    return Baselines(settings=settings, seeds=seeds, n_train=n_train, n_test=n_test, accuracy=scores)


def _test_accuracy(runs: pd.DataFrame, kind: Baselines) -> Array:
    """Return the final score of each split, NaN where no run has one."""
    if kind.settings.get("data.val_fraction"):
        scores = runs.get("final/test/accuracy", pd.Series(np.nan, runs.index))
    else:  # the test rows are the validation rows
        scores = pd.Series(final_score(aligned(runs["val/accuracy"])), runs.index)
    return np.asarray(scores.groupby(runs["split_seed"]).mean().reindex(kind.seeds), float)


def _intervals(columns: Mapping[str, Array], kind: Baselines) -> dict[str, float]:
    found = {}
    for name, scores in columns.items():
        found[name] = float(scores.mean()) if len(scores) else math.nan
        bounds = nadeau_bengio(scores, kind.n_train, kind.n_test) if len(scores) > 1 else (math.nan, math.nan)
        found[f"{name}_lower"], found[f"{name}_upper"] = bounds
    return found
