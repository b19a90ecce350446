"""What became of each run in a word, and of each setting in a row: who learns, when, with what gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pima_hp.analysis.curves import WINDOW_EPOCHS, aligned, learns, plateau_length, slopes, volatility
from pima_hp.analysis.selection import conclusive
from pima_hp.formatting import value_text
from pima_hp.ledger.parts import INITIAL_PREFIX
from pima_hp.run import DIAGNOSTICS, Array, RunStatus

# Labels of runs: the first that applies.
LABELS = ("diverged", "dead", "saturated", "collapsed to the majority", "still improving", "settled")

# Columns of a table of settings: see `by_setting`.
GRADIENTS = ("first_gradient", "over_last", "over_relu")

# Nats by which the loss of a run that is still improving falls over the window, however smooth its curve.
LEAST_FALL = 0.001


def labels_of(runs: pd.DataFrame) -> NDArray[np.str_]:
    """Return the label of each run, (R,); that of a run which failed or was stopped is its status.

    Diverged: by its status. Dead: in a hidden layer of ReLU, every unit is 0 on all training rows after the last epoch.
    Saturated: it does not learn, and more than half of the outputs of a hidden layer are near their ends after the last
    epoch. Collapsed: it does not learn, and in each of the last 20 epochs its training accuracy is that of always
    predicting the majority. Still improving: the line through the last 20 losses falls by more than twice their
    deviation from it, and by 0.001 nats. Dead and saturated need `diagnostics=epochs`. Losses and accuracies are those
    of the training rows at the end of an epoch.
    """
    labels = runs["status"].astype(str).to_numpy(dtype=object)
    for rows in runs.groupby("trainer.max_epochs").indices.values():
        some = runs.iloc[rows]
        losses, accuracies = (aligned(some[f"train/{key}_end"]) for key in ("loss", "accuracy"))  # (R, E)
        rate, n_train = (some[key].to_numpy(float) for key in ("positive_rate", "n_train"))
        is_relu = some["activation"] == "relu"
        window = losses[:, -WINDOW_EPOCHS:]
        last = window.shape[1] - 1
        fall = -last * slopes(window, np.arange(last + 1)) if last else np.zeros(len(window))
        off = np.abs(accuracies[:, -WINDOW_EPOCHS:] - np.maximum(rate, 1 - rate)[:, None])
        found = (
            some["status"] == RunStatus.DIVERGED,
            is_relu & (_last(some, "dead_units") == 1),
            (learns(losses, rate) == 0) & (_last(some, "saturation") > 0.5),
            (learns(losses, rate) == 0) & (off < 0.5 / n_train[:, None]).all(1),
            fall > np.maximum(2 * np.nan_to_num(volatility(losses)), LEAST_FALL),
            some["status"] == RunStatus.COMPLETED,
        )
        labels[rows] = np.select([*map(np.asarray, found)], LABELS, labels[rows])
    return labels.astype(str)


def norm_columns(runs: pd.DataFrame) -> list[str]:
    """Return the columns of the layers' gradient norms before the first update, those that some of the runs have."""
    columns = (f"{INITIAL_PREFIX}gradient_norm/layer{layer}" for layer in range(1, 18))  # an MLP has at most 17
    return [key for key in columns if key in runs and runs[key].notna().any()]


def by_setting(groups: Mapping[tuple[Any, ...], pd.DataFrame], factors: Sequence[str]) -> pd.DataFrame:
    """Return one row a setting: who learns and when, the first layer's gradient at initialization, counts of labels.

    The gradient is a median over runs, also given as a ratio to that of the last layer, and to that of ReLU under the
    same other settings.
    Columns without a number, and labels without a run, are left out.

    Args:
        groups: values of the factors -> runs.
        factors: such as `activation`.
    """
    rows = []
    for values, runs in groups.items():
        kept, labels = conclusive(runs), labels_of(runs)
        losses, rate = aligned(kept["train/loss"]), kept["positive_rate"].to_numpy(float)
        norms = [float(runs[key].median()) for key in norm_columns(runs)]
        row: dict[str, Any] = dict(zip(factors, map(value_text, values), strict=True)) | {"n_runs": len(runs)}
        row["share_that_learns"] = pd.Series(learns(losses, rate)).mean()
        row["median_plateau"] = pd.Series(plateau_length(losses, rate)).median()
        row |= (
            dict(zip(GRADIENTS, (norms[0], norms[0] / norms[-1] if norms[-1] else np.nan, np.nan), strict=True))
            if norms
            else {}
        )
        rows.append(row | {label: int((labels == label).sum()) for label in LABELS})
    table = pd.DataFrame(rows)
    if "activation" in factors and "over_relu" in table:
        cells = [table[factor] for factor in factors if factor != "activation"] or [table["n_runs"] * 0]
        of_relu = table["first_gradient"].where(table["activation"] == "relu").groupby(cells).transform("max")
        table["over_relu"] = table["first_gradient"] / of_relu
    return table.drop(
        columns=[key for key in table if key in (*LABELS, "over_relu") and not table[key].fillna(0).any()]
    )


def _last(runs: pd.DataFrame, quantity: str) -> Array:
    """Return the largest value of a diagnostic over the layers after the last epoch, (R,); 0 where there is none."""
    keys = [key for key in runs.columns if key.startswith(f"{DIAGNOSTICS}{quantity}/layer")]
    values = [aligned(runs[key])[:, -1] for key in keys]
    return np.asarray(np.nan_to_num(np.max([np.zeros(len(runs)), *values], axis=0)))
