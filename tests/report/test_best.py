from pathlib import Path

import numpy as np
import pytest

from pima_hp.report.best import REMEDIES, best_section
from pima_hp.report.study import Study
from tests.analysis.grids import frame_of


def answer_of(scores: np.ndarray, losses: np.ndarray | None = None, **settings: object) -> str:
    rows = [{"batch.size": 5 * (n + 1), **settings} for n in range(len(scores))]
    found = best_section(Study(Path("planted"), frame_of(rows, scores, losses), None, ()))
    assert found is not None
    return found.answer


def noisy(means: list[float], n_replicates: int = 10) -> np.ndarray:
    return np.array(means)[:, None] + 0.01 * np.random.default_rng(0).normal(size=(len(means), n_replicates))


def test_the_best_its_interval_the_rivals_and_the_worst_are_named() -> None:
    answer = answer_of(noisy([0.68, 0.75, 0.748, 0.70]))
    assert answer.startswith("Of 4 settings the best by final test accuracy is batch size ")
    assert "(95 % interval over 10 seeds)" in answer
    assert "1 of the others may be the best as well, the first with batch size " in answer
    assert "The worst is batch size 5: 0.68" in answer
    assert "chosen by one half of the seeds, it has 0.7" in answer
    assert "The test rows chose it; data.val_fraction=0.2 sets rows aside for the choice." in answer
    assert (
        "None of the others may be the best as well (95 % confidence set: paired t tests against the best, Holm)."
        in answer_of(noisy([0.68, 0.75, 0.70]))
    )


def test_one_run_a_setting_has_no_interval() -> None:
    answer = answer_of(noisy([0.68, 0.75], 1))
    assert "(one run: no interval)" in answer
    assert "as well" not in answer


def test_diverged_settings_and_those_at_the_majority_class_are_counted() -> None:
    scores = noisy([0.68, 0.75, 0.66])
    scores[0, 3] = np.nan
    scores[2] = 0.65
    answer = answer_of(scores)
    assert "1 setting with diverged, stopped, failed or missing runs: no mean." in answer
    assert (
        "In 1 setting no run ends with training accuracy at least 0.02 above always predicting the majority class."
        in answer
    )


@pytest.mark.parametrize(("settings", "advice"), [
    ({}, "model.initialization=glorot_uniform"),
    ({"model.initialization": "glorot_uniform"}, "data.scaling=standard"),
    ({"model.initialization": "glorot_uniform", "data.scaling": "standard"}, "a larger optimizer.lr"),
])  # fmt: skip
def test_where_no_run_beats_the_majority_class_the_answer_says_what_to_try(settings, advice: str) -> None:
    assert f"above always predicting the majority class. Try {advice}." in answer_of(np.full((2, 5), 0.65), **settings)


def test_validation_rows_of_their_own_are_named() -> None:
    answer = answer_of(noisy([0.68, 0.75]), **{"data.val_fraction": 0.2})
    assert "best by final validation accuracy" in answer
    assert "The test rows chose it" not in answer


def test_one_configuration_and_one_without_scores_have_no_section() -> None:
    for scores in (noisy([0.7]), np.full((2, 3), np.nan)):
        rows = [{"batch.size": 5 * (n + 1)} for n in range(len(scores))]
        assert best_section(Study(Path("planted"), frame_of(rows, scores), None, ())) is None


def test_a_network_of_ones_own_may_lack_the_settings_that_help() -> None:
    frame = frame_of([{"batch.size": 5}, {"batch.size": 10}], np.full((2, 5), 0.65), None)
    for columns, advice in (
        (["model.initialization"], "data.scaling=standard"),
        ([*REMEDIES], "a larger optimizer.lr"),
    ):
        found = best_section(Study(Path("planted"), frame.drop(columns=columns), None, ()))
        assert found is not None
        assert f"Try {advice}." in found.answer
