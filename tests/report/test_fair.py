"""The section about tuning: its sentence and figures have the numbers of planted studies, and it refuses others."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.fair import TEST
from pima_hp.report.fair import fair_section
from pima_hp.report.study import Section, Study
from tests.analysis.grids import frame_of, grid_of
from tests.report.conftest import texts

GRID = grid_of({"optimizer": ["adam", "rmsprop", "sgd"], "optimizer.lr": [0.0001, 0.001, 0.01]})
ACCURACY = np.array([[0.70, 0.74, 0.70], [0.70, 0.75, 0.70], [0.65, 0.65, 0.75]])  # (optimizer, learning rate)


def planted(val_fraction: float = 0.2) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    split = rng.normal(0, 0.03, 20)
    validation, test = (ACCURACY.reshape(-1, 1) + split + rng.normal(0, 0.004, (9, 20)) for _ in range(2))
    frame = frame_of([{"data.val_fraction": val_fraction, **own} for own in GRID], validation)
    return frame.assign(**{TEST: test.ravel()})


def section_of(frame: pd.DataFrame) -> Section | None:
    return fair_section(Study(Path("planted"), frame, None, ()))


def test_both_verdicts_stand_side_by_side() -> None:
    found = section_of(planted())
    assert found is not None
    assert found.answer.startswith("Optimizer: tuning the learning rate removes 9")
    assert " % of the variance between the 3 values (standard deviation 4." in found.answer  # of 0.74, 0.75 and 0.65
    assert "rmsprop, the best at the default, is 9.8 [9.4, 10.1] above sgd, the worst; tuned, " in found.answer  # 10
    assert "at the default, learning rate 0.001 for all, " in found.answer
    assert found.answer.endswith("at once): 1 and 2.")  # three are all learning rates
    table = found.table.set_index(["value", "settings"])
    assert table["difference"]["sgd", "untuned"] == pytest.approx(-10, abs=0.5)
    assert table["lower"]["sgd", "tuned"] < 0 < table["upper"]["sgd", "tuned"]
    assert table["test_accuracy"]["sgd", "untuned"] == pytest.approx(0.65, abs=0.02)
    assert table["chosen"].xs("tuned", level=1).tolist() == [
        "learning rate 0.001", "learning rate 0.001", "learning rate 0.01",
    ]  # fmt: skip


def test_the_figures_name_values_and_units_and_say_what_bands_are() -> None:
    found = section_of(planted())
    assert found is not None
    differences, trials = found.figures["fair_optimizer"], found.figures["fair_optimizer_trials"]
    drawn = {text for panel in differences.panels for text in texts(panel)}
    assert {"adam", "sgd", "difference to optimizer rmsprop (patients per 100)"} <= drawn
    assert "rmsprop" not in drawn
    drawn = {text for panel in trials.panels for text in texts(panel)}
    assert {"adam", "rmsprop", "sgd", "random trials", "test accuracy (fraction of rows)"} <= drawn
    assert "3 settings, 20 replicates" in differences.caption


def test_without_validation_rows_or_with_one_learning_rate_there_is_no_such_section() -> None:
    assert section_of(planted(val_fraction=0.0)) is None
    frame = planted()
    assert section_of(frame[frame["optimizer.lr"] == 0.001]) is None


def test_where_nothing_differs_the_sentence_claims_nothing() -> None:
    frame = planted().assign(**{"val/accuracy": [np.array([0.65])] * 180, TEST: 0.65})
    found = section_of(frame)
    assert found is not None
    assert found.answer.startswith("Optimizer: how much of the small differences between the 3 values tuning the ")
    assert found.answer.endswith("at once): none.")
    assert all(len(figure.panels) == 1 for figure in found.figures.values())
