"""A study as its report reads it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pima_hp.report.study import Study, shaped
from tests.report.conftest import MakeStudy


@pytest.mark.parametrize(
    ("networks", "factors"),
    [
        ([[8], [4, 4], [4, 4, 4]], ["model.width", "model.depth"]),
        ([[8, 8], [4, 4]], ["model.width"]),
        ([[8], [8, 4]], ["model.hidden_widths"]),
        ([[8], None], ["model.hidden_widths"]),
        ([[8, 8]], []),
    ],
)
def test_width_and_depth_are_two_numbers_where_all_layers_of_each_network_are_equally_wide(
    make_study: MakeStudy, networks: list[list[int] | None], factors: list[str]
) -> None:
    frame = make_study([{"model.hidden_widths": widths} for widths in networks], n_replicates=1, epochs=2)
    study = shaped(Study(Path(), frame, None, ()))
    assert sorted(study.factors) == sorted(factors)
    if "model.depth" in factors:
        assert study.frame[["model.width", "model.depth"]].to_numpy().tolist() == [[8, 1], [4, 2], [4, 3]]
    assert "model.hidden_widths" in frame, "the frame that verdicts are judged on is left as it is"


def test_the_best_setting_has_a_score_in_each_run_however_long_it_was_trained(make_study: MakeStudy) -> None:
    kinds = [(5, 30, 0.7), (10, 100, 0.6), (16, 100, 0.9)]
    frame = pd.concat(
        make_study([{"batch.size": size}], 2, n).assign(config_id=size, **{"val/accuracy": [np.full(n, level)] * 2})
        for size, n, level in kinds
    ).reset_index(drop=True)
    frame.at[5, "val/accuracy"] = np.full(100, np.nan)  # noqa: PD008 - a cell that may hold an array
    best = Study(Path(), frame.astype({"config_id": str}), None, ()).best()
    assert (best["batch.size"], best["trainer.max_epochs"], best["val/accuracy"]) == (5, 30, pytest.approx(0.7))
