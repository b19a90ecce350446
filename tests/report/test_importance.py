from pathlib import Path

import numpy as np
import pytest

from pima_hp.report.importance import SIGN, importance_section
from pima_hp.report.study import Section, Study
from tests.analysis.grids import frame_of, grid_of

LEVELS = {"activation": ["relu", "tanh"], "optimizer": ["adam", "sgd"], "optimizer.lr": [0.001, 0.01, 0.1]}


def section_of(scores: np.ndarray, levels=LEVELS, losses: np.ndarray | None = None) -> Section | None:
    """The section of a grid with scores (L1, ..., Lk, R)."""
    table = scores.reshape(-1, scores.shape[-1])
    frame = frame_of(grid_of(levels), table, None if losses is None else losses.reshape(table.shape))
    return importance_section(Study(Path("planted"), frame, None, ()))


def planted(n_replicates: int = 6) -> np.ndarray:
    """The learning rate explains most, then the optimizer and its interaction with the activation."""
    noise = 0.0005 * np.random.default_rng(0).normal(size=(2, 2, 3, n_replicates))
    pair = np.array([[0.01, -0.01], [-0.01, 0.01]])[:, :, None, None]
    return 0.7 + np.array([-0.05, 0, 0.05])[:, None] + np.array([-0.02, 0.02])[:, None, None] + pair + noise


def test_the_first_sentence_names_what_matters_most_with_its_share_and_interval() -> None:
    found = section_of(planted())
    assert found is not None
    assert found.answer.startswith("The learning rate matters most: it explains 77 % [")
    assert "; next the optimizer, 18 % [" in found.answer
    assert "the interaction of activation and optimizer, 5 % [" in found.answer
    assert f"Analyzed: activation (2){SIGN}optimizer (2){SIGN}learning rate (3), 6 replicates." in found.answer
    assert found.table["effect"][0] == "learning rate"
    assert found.leads
    assert [*found.figures] == ["what_matters_shares", "what_matters_interactions"]


def test_effects_that_seeds_do_not_rank_lead_together() -> None:
    both = np.array([-0.02, 0.02])
    scores = 0.7 + both[:, None, None, None] + both[:, None, None] + np.zeros((2, 2, 3, 6))
    found = section_of(scores + 0.02 * np.random.default_rng(3).normal(size=scores.shape))
    assert found is not None
    assert found.answer.startswith("The ")
    assert "matter most: they explain" in found.answer
    assert {"the activation", "the optimizer"} == {
        name.lower() for name in found.answer.split(" matter")[0].split(" and ")
    }


def test_levels_that_do_not_learn_are_named_and_the_answer_without_them_follows() -> None:
    losses = np.zeros((2, 2, 3, 6)) + np.array([0.66, 0.5, 0.5])[:, None]
    losses[:, 1] = 0.66
    found = section_of(planted(), losses=losses)
    assert found is not None
    assert (
        "Fewer than one run in four learns with optimizer sgd, or with learning rate 0.001. Without these levels the "
        in found.answer
    )
    (chart, *_) = found.figures["what_matters_shares"].charts
    assert "learning" in str(chart.to_dict(validate=False))
    assert set(found.table["levels"]) == {"all", "learning"}


def test_one_replicate_and_pure_noise_say_so() -> None:
    single = section_of(planted(1))
    assert single is not None
    assert "Fewer than 5 replicates: no intervals, and noise stays in." in single.answer
    noise = section_of(0.7 + 0.02 * np.random.default_rng(2).normal(size=(2, 2, 3, 6)))
    assert noise is not None
    assert noise.answer.startswith("No difference between settings in final test accuracy is larger than what seeds")
    assert "what_matters_interactions" not in noise.figures


def test_an_incomplete_grid_says_that_a_forest_fills_it() -> None:
    levels = {**LEVELS, "batch.size": [5, 10, 16]}
    scores = planted()[..., None, :] + np.zeros((3, 6))
    scores[1, 1, 1, 1] = np.nan
    found = section_of(scores, levels)
    assert found is not None
    assert "6 of 216 runs have no score (missing or diverged): random forests predict the grid" in found.answer


@pytest.mark.parametrize(("mark", "levels"), [
    ("bar", {"activation": ["relu", "tanh"], "optimizer": ["adam", "sgd"]}),
    ("line", {"optimizer": ["adam", "sgd"], "optimizer.lr": [0.001, 0.01, 0.1]}),
    ("line", {"batch.size": [8, 16, 32], "optimizer.lr": [10.0**-n for n in range(8)]}),
])  # fmt: skip
def test_an_interaction_is_drawn_as_bars_or_over_a_number_as_lines(mark: str, levels) -> None:
    shape = [len(of) for of in levels.values()]
    found = section_of(np.random.default_rng(0).normal(0.7, 0.05, shape)[..., None] + np.zeros(5), levels)
    assert found is not None
    (chart,) = found.figures["what_matters_interactions"].charts
    marks = {layer["mark"]["type"] for layer in chart.to_dict(validate=False)["layer"]}
    assert marks & {"bar", "line"} == {mark}


def test_a_study_of_two_tables_or_of_one_factor_has_no_section() -> None:
    frame = frame_of(grid_of(LEVELS), planted().reshape(12, 6))
    frame["data_digest"] = np.where(frame.index < 6, "a" * 64, "b" * 64)
    assert importance_section(Study(Path("planted"), frame, None, ())) is None
    assert section_of(np.random.default_rng(0).normal(0.7, 0.02, (3, 5)), {"batch.size": [5, 10, 16]}) is None


def test_a_level_at_which_every_run_diverges_leaves_the_others_ranked() -> None:
    scores = planted()
    losses = np.full(scores.shape, 0.5)
    scores[:, :, 2], losses[:, :, 2] = np.nan, np.nan
    found = section_of(scores, losses=losses)
    assert found is not None
    assert found.answer.startswith(
        "Too many runs have no score to rank all settings. Fewer than one run in four learns"
    )
    assert "Without these levels the" in found.answer
