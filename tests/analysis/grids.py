"""Frames of studies on grids whose scores are planted."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.selection import default_settings
from pima_hp.data.table import SHIPPED_SHA256

SCORE = Statistic(name="final_score", curve="val/accuracy")


def frame_of(settings: Sequence[Mapping[str, Any]], scores: np.ndarray, losses: np.ndarray | None = None):
    """One run of one epoch for each configuration and seed, with scores (C, R); without a score it diverged.

    Losses (C, R) decide which runs learn: all do without them.
    """
    usual = {**default_settings(), "data_digest": SHIPPED_SHA256, "n_train": 614, "positive_rate": 0.35, "message": ""}
    rows: list[dict[str, Any]] = []
    for number, (own, found) in enumerate(zip(settings, scores, strict=True)):
        for seed, score in enumerate(found.tolist()):
            loss = 0.5 if losses is None else losses[number, seed]
            curves = {key: np.array([score]) for key in ("val/accuracy", "train/accuracy", "train/accuracy_end")}
            curves |= {key: np.array([loss]) for key in ("val/loss", "train/loss", "train/loss_end")}
            seeds = dict.fromkeys(("seed", "init_seed", "split_seed", "order_seed"), seed)
            run = {"run_id": f"{number}-{seed}", "config_id": f"c{number}"}
            status = "completed" if np.isfinite(score) else "diverged"
            rows.append({**usual, **own, **run, "status": status, **seeds, **curves})
    return pd.DataFrame(rows)


def grid_of(levels: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All combinations of levels, the last factor fastest."""
    return [dict(zip(levels, values, strict=True)) for values in product(*levels.values())]
