"""Baselines on the same splits as a network: majority class and logistic regression."""

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from pima_hp.analysis.curves import FINAL_VALIDATION
from pima_hp.analysis.intervals import nadeau_bengio
from pima_hp.analysis.selection import Runs, conclusive, differing, named
from pima_hp.config import DataSection
from pima_hp.data.table import SHIPPED_SHA256, Table, read_table
from pima_hp.errors import PimaError
from pima_hp.formatting import plain
from pima_hp.ledger.files import read_file, write_atomically
from pima_hp.run import Array

Rows = NDArray[np.int64]
FILE = "baselines.csv"
LARGEST_BYTES = 2**20
MOST_SPLITS = 100  # of one kind
MODELS = ("majority class", "logistic regression", "logistic regression on glucose alone")
KIND = ["data.test_fraction", "data.val_fraction", "data.stratified"]
SPLIT = [*KIND, "split_seed"]
# Columns of the table of baselines, one row per split: what makes the split, its sizes, the test accuracies.
TYPES = dict(zip(SPLIT, (float, float, bool, int), strict=True)) | dict.fromkeys(("n_train", "n_test", *MODELS), float)


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
        found = pd.concat([_of_kind(runs, own_table) for _, runs in wanted.groupby(KIND)])
    except (PimaError, ValidationError):
        return kept
    write_atomically(folder / FILE, found.to_csv(index=False).encode())
    return found


def baseline_scores(table: Table, splits: Sequence[tuple[Rows, Rows]]) -> dict[str, Array]:
    """Return the test accuracy of each baseline in each split: majority class, and logistic regressions.

    It is NaN where the rows to fit are of one class, and for the regression on glucose alone where there is none.

    Args:
        table: its features as they are.
        splits: numbers of the rows to fit, and of those to score.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Hardly regularized: weights stay finite where the rows can be separated.
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=1e3, solver="newton-cholesky"))
    models = [(DummyClassifier(strategy="most_frequent"), table.features), (logistic, table.features)]
    if "glucose" in table.feature_names:
        models.append((logistic, table.features[:, [table.feature_names.index("glucose")]]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits to one class
        scores = [cross_val_score(model, x, table.labels, cv=splits) for model, x in models]
    return dict(zip(MODELS, [*scores, np.full(len(splits), np.nan)], strict=False))


def baselines_table(frame: pd.DataFrame, baselines: pd.DataFrame) -> pd.DataFrame:
    """Return the test accuracy of each configuration and each baseline, and their paired difference.

    Intervals are those of Nadeau and Bengio, for new patients; NaN where there is only one split. The network's
    accuracy is its final score: the mean over the last 20 epochs where the test rows are the validation rows, else that
    of the last weights. Runs that share a split are averaged within it. `nearest` marks the configuration that is
    nearest `conf/config.yaml`, for each kind of split and each scaling of the network's features (`scaling`).
    """
    if baselines.empty:
        return pd.DataFrame()
    runs = Runs(frame)
    scored = conclusive(runs.frame).astype({key: TYPES[key] for key in SPLIT})
    final = FINAL_VALIDATION.of(scored)
    network = np.where(scored["data.val_fraction"] > 0, scored.get("final/test/accuracy", math.nan), final)
    means = scored.assign(network=network).groupby(["config_id", *SPLIT], as_index=False)["network"].mean().dropna()
    pairs = means.merge(baselines, on=SPLIT).melt([*means, "n_train", "n_test"], list(MODELS), "baseline", "accuracy")
    pairs = pairs.dropna().assign(difference=pairs["network"] - pairs["accuracy"])
    own = {config_id: differing(settings) for config_id, settings in runs.settings.items()}
    groups = pairs.groupby(["config_id", *KIND, "baseline"], sort=False)
    rows: list[dict[str, Any]] = []
    nearest: dict[tuple[str, str], str] = {}
    for (config_id, *kind, model), known in sorted(groups, key=lambda group: (len(own[group[0][0]]), group[0][0])):
        name = split_text(*kind)
        row = {"splits": name, "config_id": config_id, "differing": named(own[config_id]), "baseline": model}
        scaling = str(runs.settings[config_id].get("data.scaling"))
        is_nearest = nearest.setdefault((name, scaling), config_id) == config_id
        row |= {"scaling": scaling, "nearest": is_nearest, "n_splits": len(known)}
        for key in ("network", "accuracy", "difference"):
            bounds = nadeau_bengio(known[key].to_numpy(), known["n_train"].iloc[0], known["n_test"].iloc[0])
            row |= {key: known[key].mean(), f"{key}_lower": bounds[0], f"{key}_upper": bounds[1]}
        rows.append(row)
    return pd.DataFrame(rows)


def split_text(test_fraction: float, val_fraction: float, is_stratified: bool) -> str:
    """Return how rows were split: `20 % test rows, not stratified`."""
    validation = f", {100 * val_fraction:.3g} % validation rows" if val_fraction else ""
    return f"{100 * test_fraction:.3g} % test rows{validation}, {'' if is_stratified else 'not '}stratified"


def _of_kind(runs: pd.DataFrame, own_table: bool) -> pd.DataFrame:
    """Compute the baselines in the splits of some runs; PimaError where the table cannot be read or has changed."""
    import torch

    from pima_hp.data.prepared import split_rows
    from pima_hp.seeds import Role, stream

    first = runs.iloc[0]
    content = {str(key).removeprefix("data."): plain(value) for key, value in first.filter(like="data.").items()}
    data = DataSection.model_validate(content if own_table else content | {"path": None}, strict=False)
    table = read_table(data, first["data_digest"])
    labels = torch.tensor(table.labels).double()
    rows = [split_rows(labels, data, stream(seed, Role.SPLIT)) for seed in runs["split_seed"].tolist()]
    splits = [(of["train"].numpy(), of["test"].numpy()) for of in rows]
    n_train, n_test = (float(len(of)) for of in splits[0])
    return runs[SPLIT].assign(n_train=n_train, n_test=n_test, **baseline_scores(table, splits))
