"""Baselines on the same splits as a network: majority class and logistic regression."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.intervals import nadeau_bengio
from pima_hp.analysis.selection import Runs, conclusive, differing, named
from pima_hp.config import DataSection
from pima_hp.data.table import SHIPPED_SHA256, read_table
from pima_hp.errors import PimaError
from pima_hp.formatting import plain
from pima_hp.ledger.files import read_file, write_atomically
from pima_hp.run import Array

FILE = "baselines.csv"
LARGEST_BYTES = 2**20
MOST_SPLITS = 100  # of one kind
MODELS = ("majority class", "logistic regression", "logistic regression on glucose alone")
TYPES = {
    "data.test_fraction": float, "data.val_fraction": float, "data.stratified": bool,
    "split_seed": int, "n_train": float, "n_test": float, **dict.fromkeys(MODELS, float),
}  # fmt: skip
"""Columns of the table of baselines, one row per split: what makes the split, its sizes, the test accuracies."""

SPLIT = list(TYPES)[:4]
KIND = SPLIT[:3]


def read_baselines(folder: Path) -> pd.DataFrame:
    """Return the baselines that a study's folder holds; no rows where the file is missing or is not ours."""
    path, nothing = folder / FILE, pd.DataFrame(columns=list(TYPES)).astype(TYPES)
    try:
        if path.lstat().st_size > LARGEST_BYTES:
            return nothing
        found = pd.read_csv(io.BytesIO(read_file(path)), usecols=list(TYPES), dtype=TYPES)
    except (OSError, ValueError):
        return nothing
    return found if (found[["n_train", "n_test"]] > 0).all(axis=None) else nothing


def keep_baselines(folder: Path, frame: pd.DataFrame, *, own_table: bool = False) -> pd.DataFrame:
    """Return the baselines of a study; compute them and write `baselines.csv` unless they are there.

    The splits are drawn by torch's generator, so this is the one part of a report that loads torch, once.

    Args:
        folder: of the study.
        frame: its runs.
        own_table: whether the path of a CSV file in the ledger may be opened: where this command has trained
            from it, not where the study may come from someone else.
    """
    kept, digests = read_baselines(folder), set(frame.get("data_digest", ()))
    if len(digests) != 1 or not (own_table or digests == {SHIPPED_SHA256}):
        return kept
    wanted = frame.astype({key: TYPES[key] for key in SPLIT}).drop_duplicates(SPLIT).sort_values(SPLIT)
    wanted = wanted.groupby(KIND).head(MOST_SPLITS).head(8 * MOST_SPLITS)
    if len(wanted[SPLIT].merge(kept, on=SPLIT)) == len(wanted):
        return kept
    try:
        found = pd.DataFrame([_of_split(run, own_table) for _, run in wanted.iterrows()], columns=list(TYPES))
    except (PimaError, ValidationError):
        return kept
    write_atomically(folder / FILE, found.to_csv(index=False).encode())
    return found.astype(TYPES)


def baseline_scores(
    features: Array, labels: NDArray[Any], names: Sequence[str], train: NDArray[np.intp], test: NDArray[np.intp]
) -> dict[str, float]:
    """Return the test accuracy of each baseline in a split: majority class, and logistic regressions.

    Args:
        features: (n, D) as the table has them.
        labels: (n,) zeros and ones.
        names: of the D features; without glucose there is no regression on it alone.
        train: numbers of the rows to fit.
        test: numbers of the rows to score.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    majority = DummyClassifier(strategy="most_frequent")
    # Hardly regularized: weights stay finite where the rows can be separated.
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=1e3, solver="newton-cholesky"))
    logistic = logistic if len(set(labels[train])) > 1 else majority
    models = [(majority, features), (logistic, features)]
    if "glucose" in names:
        models.append((logistic, features[:, [list(names).index("glucose")]]))
    scores = [model.fit(x[train], labels[train]).score(x[test], labels[test]) for model, x in models]
    return dict(zip(MODELS, map(float, scores), strict=False))


def baselines_table(frame: pd.DataFrame, baselines: pd.DataFrame) -> pd.DataFrame:
    """Return the test accuracy of each configuration and each baseline, and their paired difference.

    Intervals are those of Nadeau and Bengio, for new patients; NaN where there is only one split. The network's
    accuracy is its final score: the mean over the last 20 epochs where the test rows are the validation rows, else that
    of the last weights. Runs that share a split are averaged within it. `nearest` marks the configuration of each
    kind of split that is nearest `conf/config.yaml`.
    """
    if baselines.empty:
        return pd.DataFrame()
    runs = Runs(frame)
    scored = conclusive(runs.frame).astype({key: TYPES[key] for key in SPLIT})
    final = Statistic(name="final_score", curve="val/accuracy").of(scored)
    network = np.where(scored["data.val_fraction"] > 0, scored.get("final/test/accuracy", math.nan), final)
    means = scored.assign(network=network).groupby(["config_id", *SPLIT], as_index=False)["network"].mean().dropna()
    joined = means.merge(baselines, on=SPLIT)
    rows: list[dict[str, Any]] = []
    nearest: dict[str, str] = {}
    own = {config_id: differing(settings) for config_id, settings in runs.settings.items()}
    for (*kind, config_id), splits in sorted(joined.groupby([*KIND, "config_id"]), key=lambda of: len(own[of[0][-1]])):
        name = named(dict(zip(KIND, kind, strict=True)))
        is_nearest = nearest.setdefault(name, config_id) == config_id
        row = {"splits": name, "config_id": config_id, "differing": named(own[config_id]), "nearest": is_nearest}
        for model in MODELS:
            known = splits.dropna(subset=model)
            columns = {"network": known["network"], "baseline_accuracy": known[model]}
            columns["difference"] = columns["network"] - columns["baseline_accuracy"]
            if len(known):
                rows.append(row | {"n_splits": len(known), "baseline": model})
            for key, scores in columns.items() if len(known) else ():
                sizes = known["n_train"].iloc[0], known["n_test"].iloc[0]
                bounds = nadeau_bengio(scores.to_numpy(), *sizes) if len(known) > 1 else (math.nan, math.nan)
                rows[-1] |= {key: scores.mean(), f"{key}_lower": bounds[0], f"{key}_upper": bounds[1]}
    return pd.DataFrame(rows)


def _of_split(run: pd.Series, own_table: bool) -> dict[str, Any]:
    """Compute the baselines in the split of a run; PimaError where the table cannot be read or has changed."""
    import torch

    from pima_hp.data.prepared import split_rows
    from pima_hp.seeds import Role, stream

    content = {str(key).removeprefix("data."): plain(value) for key, value in run.filter(like="data.").items()}
    data = DataSection.model_validate(content if own_table else content | {"path": None}, strict=False)
    table = read_table(data, run["data_digest"])
    rows = split_rows(torch.tensor(table.labels).double(), data, stream(run["split_seed"], Role.SPLIT))
    train, test = rows["train"].numpy(), rows["test"].numpy()
    scores = baseline_scores(table.features, table.labels, table.feature_names, train, test)
    return {**run[SPLIT], "n_train": len(train), "n_test": len(test), **scores}
