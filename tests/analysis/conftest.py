"""Studies with planted truth, for any claim file."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.claims import Claim, Selector
from pima_hp.analysis.selection import default_settings
from pima_hp.data.table import SHIPPED_SHA256

Curves = Mapping[str, np.ndarray]
CURVES = ["train/accuracy", "train/accuracy_end", "train/loss", "train/loss_end", "val/accuracy", "val/loss"]
BASELINE: dict[str, Any] = {**default_settings(), "data_digest": SHIPPED_SHA256}
SECTIONS = ("activation", "optimizer", "scheduler")


def study(arms: list[tuple[Selector, np.ndarray]], statuses: Mapping[tuple[int, int], str] | None = None):
    """One configuration per arm, with the same curves (R, E) under every key; (arm, seed) -> status."""
    rows = []
    for number, (arm, curves) in enumerate(arms):
        named = {key: value for key, value in arm.items() if key in SECTIONS}
        settings = {key: item for key, item in BASELINE.items() if key.partition(".")[0] not in named or key in named}
        targets = {
            f"{key}._target_": BASELINE[f"{key}._target_"] if value == BASELINE[key] else value
            for key, value in named.items()
        }
        settings |= targets | arm
        for seed, curve in enumerate(curves):
            status = (statuses or {}).get((number, seed), "completed")
            seeds = dict.fromkeys(["seed", "init_seed", "split_seed", "order_seed"], seed)
            kept = {"completed": curve, "diverged": np.where(np.arange(len(curve)) > 2, np.nan, curve), "failed": None}
            trained_on = {"n_train": 614, "positive_rate": 214 / 614}
            row = {"run_id": f"{number}-{seed}", "config_id": f"c{number}", "status": status, **seeds, **settings}
            row |= dict.fromkeys(trained_on) if status == "failed" else trained_on
            rows.append(row | dict.fromkeys(CURVES, kept[status]))
    return pd.DataFrame(rows)


def arms_of(claim: Claim) -> list[Selector]:
    found = [arm for part in claim.parts for arm in part.arms]
    return list({repr(arm): arm for arm in found}.values())


MakeStudy = Callable[..., pd.DataFrame]


@pytest.fixture
def make_study() -> MakeStudy:
    return study
