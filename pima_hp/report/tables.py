"""Tables of a study: what each setting reached, and what the settings were."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis import curves
from pima_hp.analysis.selection import conclusive, varying
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.report.settings import comparable, label, settings_of, split_text, value_order, watched_rows
from pima_hp.run import Array, RunStatus

REACH, REACH_SHARE = 0.72, 0.2
"""Training accuracy whose first epoch is reported on the shipped table; of another table, how far it is from the
accuracy of the majority class to 1, which is 0.72 at the 0.651 of the shipped one."""

COUNTED = {"n_diverged": RunStatus.DIVERGED, "n_stopped": RunStatus.STOPPED, "n_failed": RunStatus.FAILED}
"""Runs that lack a value, as they are counted beside a number."""

SETTINGS = (
    *("batch.size", "activation", "optimizer", "optimizer.lr", "trainer.max_epochs", "model.initialization"),
    "data.scaling",
)
"""Columns of the table of settings, as an article has them; the split is made of two settings."""


def swept(frame: pd.DataFrame) -> list[str]:
    """Settings that take more than one value in the study, without those that follow from another's value."""
    settings = settings_of(frame)
    return varying({key: settings[key].tolist() for key in settings.columns})


def majority_of(frame: pd.DataFrame) -> float | None:
    """Accuracy of always predicting the more frequent class of the training rows.

    None where no run records them, and where the runs are of several tables.
    """
    if len(set(frame["data_digest"])) > 1:
        return None
    positive = float(frame["positive_rate"].astype(float).mean())
    return None if np.isnan(positive) else max(positive, 1 - positive)


def reach_of(frame: pd.DataFrame) -> float | None:
    """The training accuracy whose first epoch is reported for these runs; None where they are of several tables."""
    if set(frame["data_digest"]) == {SHIPPED_SHA256}:
        return REACH
    majority = majority_of(frame)
    return None if majority is None else round(majority + REACH_SHARE * (1 - majority), 2)


def summary(frame: pd.DataFrame, factors: str | Sequence[str], reach: float | None = None) -> pd.DataFrame:
    """One row a setting: its runs, how they ended, final accuracies, first epoch at a training accuracy.

    The first columns hold the factors' values as text, under their keys (`batch.size`). A final accuracy is the
    mean over the last 20 epochs, each measured at its end; means and standard deviations (n - 1) are over the runs
    that completed. First epochs are those of the running training accuracy, as claims have it; their median is
    over the runs that completed or diverged, infinite where most do not get there. Copies are counted once. Settings
    other than the factors are held fixed as in `comparable`: give all of `swept(frame)` for every setting of the study.
    Without `reach` the accuracy is that of `reach_of`; where that is None, these two columns are left out.
    """
    factors = [factors] if isinstance(factors, str) else list(factors)
    comparison = comparable(frame, factors)
    watched = watched_rows(comparison).replace(" ", "_")
    reach = reach_of(comparison.frame) if reach is None else reach
    rows: list[dict[str, Any]] = []
    for values, runs in comparison.by_values(factors).items():
        told = conclusive(runs)
        train, test = (_of_each_run(told, key, curves.final_score) for key in ("train/accuracy_end", "val/accuracy"))
        rows.append(
            {
                **dict(zip(factors, values, strict=True)),
                "n_runs": len(runs),
                **{name: int((runs["status"] == status).sum()) for name, status in COUNTED.items()},
                **_mean_and_sd("final_train_accuracy", train),
                **_mean_and_sd(f"final_{watched}_accuracy", test),
                **({} if reach is None else _first_epochs(told, reach)),
            }
        )
    return pd.DataFrame(rows)


def _first_epochs(runs: pd.DataFrame, reach: float) -> dict[str, float]:
    """Return the median first epoch at a training accuracy, and the share of runs that reached it."""
    first = _of_each_run(runs, "train/accuracy", lambda table: curves.first_epoch_reaching(table, reach))
    return {
        f"epoch_of_train_accuracy_{reach:.2f}_median": float(np.median(first)) if len(first) else np.nan,
        "reached_fraction": float(np.isfinite(first).mean()) if len(first) else np.nan,
    }


def settings_table(frame: pd.DataFrame, studies: Mapping[str, str]) -> pd.DataFrame:
    """One row a study (title -> factor): its settings, all values of a setting that differs in it."""
    rows = []
    for title, factor in studies.items():
        settings = comparable(frame, [factor]).settings
        row = {"study": title}
        for key in (*SETTINGS, factor):
            if key in settings.columns:
                row[label(key)] = ", ".join(sorted(set(settings[key]), key=value_order))
        if {"data.test_fraction", "data.val_fraction"} <= set(settings.columns):
            pairs = zip(settings["data.test_fraction"], settings["data.val_fraction"], strict=True)
            row["split (%)"] = ", ".join(sorted({split_text(test, val) for test, val in pairs}))
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def _of_each_run(runs: pd.DataFrame, key: str, functional: Callable[[Array], Array]) -> Array:
    """A functional of each run's curve, lengths apart: padding would read as divergence."""
    if not len(runs):
        return np.empty(0)
    lengths = runs[key].map(len)
    same = [runs.loc[lengths == n_epochs, key] for n_epochs in sorted(set(lengths))]
    return np.concatenate([functional(curves.aligned(some)) for some in same])


def _mean_and_sd(name: str, scores: Array) -> dict[str, float]:
    """Columns of the finite scores, NaN where there are too few."""
    found = scores[np.isfinite(scores)]
    mean = float(found.mean()) if len(found) else np.nan
    return {f"{name}_mean": mean, f"{name}_sd": float(found.std(ddof=1)) if len(found) > 1 else np.nan}
