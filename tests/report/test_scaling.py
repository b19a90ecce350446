"""The section about the best learning rate."""

from pathlib import Path

from pima_hp.report.page import sections_of
from pima_hp.report.scaling import scaling_section
from pima_hp.report.study import Study
from tests.analysis.grids import frame_of
from tests.analysis.test_scaling import GRID, planted


def study_of(noise: float) -> Study:
    return Study(Path("s"), frame_of(GRID, planted(10, noise)), None, ())


def test_the_page_of_a_numeric_grid_begins_with_the_exponents_and_the_rules_that_agree() -> None:
    (first, *_) = sections_of(study_of(0.003), [], [])
    assert first.question == "How does the best learning rate change with batch size and epochs?"
    assert "scales as (batch size)^0.49 [0.46, 0.51] x (epochs)^\N{MINUS SIGN}0.24" in first.answer
    assert "At equal epochs, this agrees with square-root scaling (0.5), not with an unchanged rate (0)" in first.answer
    assert "this agrees with none of an unchanged rate (0), square-root scaling (0.5) and linear" in first.answer
    assert len(first.table) == 12
    (chart,) = first.figures["best_learning_rate"].panels
    for text in ("batch size", "best learning rate", "epochs 50", "epochs 200"):
        assert text in chart


def test_a_study_of_two_batch_sizes_has_no_such_section() -> None:
    places = [n for n, own in enumerate(GRID) if own["batch.size"] <= 10]
    frame = frame_of([GRID[n] for n in places], planted()[places])
    assert scaling_section(Study(Path("s"), frame, None, ())) is None
