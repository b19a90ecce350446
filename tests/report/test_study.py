"""A study as its report reads it."""

from pathlib import Path

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
