"""The section about the spread between runs: its sentence has the numbers of a planted study."""

import re
from pathlib import Path

import numpy as np

from pima_hp.report.study import Study
from pima_hp.report.variance import variance_section
from tests.analysis.grids import frame_of
from tests.analysis.test_variance import seeds_crossed, simulated
from tests.report.conftest import texts

SHAPE = (10, 8, 5)


def test_the_sentence_says_what_the_spread_is_made_of_and_how_many_runs_a_mean_takes() -> None:
    rng = np.random.default_rng(0)
    split = np.linspace(-1, 1, 10)
    values = 0.7 + np.broadcast_to(0.03 * split[:, None, None] / split.std(ddof=1), SHAPE)  # a split variance of 0.03²
    adam = values + simulated(rng, [0, 0, 0, 0, 0, 0, 0.01], SHAPE)
    settings = [{"batch.shuffle": True}, {"batch.shuffle": True, "optimizer": "adam"}]
    frame = seeds_crossed(frame_of(settings, np.stack([values, adam]).reshape(2, -1)), SHAPE)
    found = variance_section(Study(Path("planted"), frame, None, ()))
    assert found is not None
    assert "Test accuracy varies between runs of 'base' by a standard deviation of 3.0 patients per 100" in found.answer
    assert "Of its variance, the split accounts for 100" in found.answer
    low, high = re.findall(r"per 100 over seeds needs 36 \[(\d+), (\d+)\] runs", found.answer)[0]  # (3.0 / 0.5)²
    assert 0 < int(low) < 36 < int(high)
    assert "For new patients the standard error never falls below about 1.5" in found.answer  # sqrt(0.2 / 0.8) 3.0
    assert "with one split for all, 3.0 remain" in found.answer
    assert (
        "needs pairs of runs with the same seeds: adam minus base 5 [" in found.answer
    )  # (1.0 / 0.5)² = 4, of 400 random scores
    (figure,) = found.figures.values()
    drawn = {text for panel in figure.panels for text in texts(panel)}
    assert {"split", "split x initialization", "rest", "share of the variance between runs (%)"} <= drawn


def test_with_validation_rows_the_score_is_that_of_the_test_rows_and_fewer_rows_train() -> None:
    values = 0.7 + np.broadcast_to(0.03 * np.linspace(-1, 1, 10)[:, None, None], SHAPE)
    frame = seeds_crossed(frame_of([{"batch.shuffle": True}], values.reshape(1, -1)), SHAPE)
    frame = frame.assign(**{"data.val_fraction": 0.2, "final/test/accuracy": 0.6 + 3 * (values.ravel() - 0.7)})
    found = variance_section(Study(Path("planted"), frame, None, ()))
    assert found is not None
    sd = 300 * 0.03 * np.linspace(-1, 1, 10).std(ddof=1)  # of the test rows
    assert f"a standard deviation of {sd:.1f}" in found.answer
    assert f"never falls below about {sd * np.sqrt(0.2 / 0.6):.1f}," in found.answer
    frame.loc[0, "final/test/accuracy"] = np.nan  # one run diverged
    assert variance_section(Study(Path("planted"), frame, None, ())) is None


def test_seeds_that_vary_together_have_no_budget() -> None:
    frame = frame_of([{}], 0.7 + np.random.default_rng(0).normal(0, 0.01, (1, 20)))
    assert variance_section(Study(Path("planted"), frame, None, ())) is None
