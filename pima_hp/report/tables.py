"""Tables of a study: what each setting reached, and what the settings were."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis import curves
from pima_hp.analysis.selection import varying
from pima_hp.record import Array
from pima_hp.report.settings import comparable, label, settings_of, split_text, value_order, watched_rows

REACH = 0.70
"""Training accuracy whose first epoch is reported."""

SETTINGS = (
    *("batch.size", "activation", "optimizer", "optimizer.lr", "trainer.epochs", "model.initialization"),
    "data.scaling",
)
"""Columns of the table of settings, as an article has them; the split is made of two settings."""


def swept(frame: pd.DataFrame) -> list[str]:
    """Settings that take more than one value in the study, without those that follow from another's value."""
    settings = settings_of(frame)
    return varying({key: settings[key].tolist() for key in settings.columns})


def summary(frame: pd.DataFrame, factors: str | Sequence[str], reach: float = REACH) -> pd.DataFrame:
    """One row a setting: its runs, how they ended, final accuracies, first epoch at a training accuracy.

    The first columns hold the factors' values as text, under their keys (`batch.size`). A final accuracy is the
    mean over the last 20 epochs, each measured at its end; means and standard deviations (n - 1) are over the runs
    that completed. First epochs are those of the running training accuracy, as claims have it; their median is
    over all runs but failed ones, infinite where most do not get there. Settings other than the factors are held
    fixed as in `comparable`: give all of `swept(frame)` for every setting of the study.
    """
    factors = [factors] if isinstance(factors, str) else list(factors)
    comparison = comparable(frame, factors)
    watched = watched_rows(comparison).replace(" ", "_")
    epoch_name = f"epoch_of_train_accuracy_{reach:.2f}_median"
    rows: list[dict[str, Any]] = []
    for values, runs in comparison.by_values(factors).items():
        trained = runs[runs["status"] != "failed"]
        train, test = (_of_each_run(trained, key, curves.final_score) for key in ("train/accuracy_end", "val/accuracy"))
        first_epochs = _of_each_run(trained, "train/accuracy", lambda table: curves.first_epoch_reaching(table, reach))
        rows.append(
            {
                **dict(zip(factors, values, strict=True)),
                "n_runs": len(runs),
                "n_diverged": int((runs["status"] == "diverged").sum()),
                "n_failed": len(runs) - len(trained),
                **_mean_and_sd("final_train_accuracy", train),
                **_mean_and_sd(f"final_{watched}_accuracy", test),
                epoch_name: float(np.median(first_epochs)) if len(first_epochs) else np.nan,
                "reached_fraction": float(np.isfinite(first_epochs).mean()) if len(first_epochs) else np.nan,
            }
        )
    return pd.DataFrame(rows)


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
