"""A run that a callback stopped early has no statistic, and is counted wherever lost runs are."""

import numpy as np
import pytest

from pima_hp.analysis.baselines import Baselines, baselines_table
from pima_hp.analysis.claims import load_claims
from pima_hp.analysis.curves import EVENTS
from pima_hp.analysis.selection import by_seeds
from pima_hp.analysis.verdicts import judge
from pima_hp.report.build import write_report
from pima_hp.report.factor import figures_of
from pima_hp.report.rows import parts_table
from pima_hp.report.tables import summary
from tests.report.conftest import Page, caption, results_of

BATCHES = [{"batch.size": size} for size in (5, 10, 16, 32)]
STOPPED = "stopped early"
CLAIMS = {claim.id: claim for claim in load_claims()}
CURVES = ["train/accuracy", "train/accuracy_end", "train/loss", "train/loss_end", "val/accuracy", "val/loss"]


def stop(frame, rows, epoch=90):
    """Curves that end after an epoch, high accuracies and low losses before."""
    frame = frame.copy()
    for row in rows:
        frame.loc[row, ["status", "stop_epoch"]] = [STOPPED, epoch]
        for key in CURVES:
            level = 0.1 if "loss" in key else 0.99
            frame.at[row, key] = np.where(np.arange(100) < epoch, level, np.nan)
    return frame


@pytest.mark.parametrize("claim_id", ["H1", "H2", "H3", "H4", "H6", "H8", "H9"])
def test_no_statistic_of_a_claim_has_a_value_of_it(make_study, claim_id):
    frame = stop(make_study(BATCHES[:1], 3), [0])
    for part in CLAIMS[claim_id].parts:
        values = by_seeds(frame, part.statistic.of)
        assert len(values) == 2
        if part.statistic.name in EVENTS:
            assert np.isfinite(list(values.values())).all()


def test_a_share_cannot_be_told_where_runs_stopped(make_study):
    frame = make_study(BATCHES, 14)
    known = judge([CLAIMS["H1"]], frame, np.random.default_rng(0), 200)[0]
    found = judge([CLAIMS["H1"]], stop(frame, [0, 1, 14]), np.random.default_rng(0), 200)[0]
    assert known.outcome != "untestable"
    assert found.outcome == "untestable"
    assert "batch 5: 2 runs stopped early and have no answer" in found.reason
    assert "batch 10: 1 runs stopped early" in found.reason
    assert [part.row["n_stopped"] for part in found.estimates] == [2, 1]


def test_a_paired_contrast_leaves_out_the_pair_and_counts_the_run(make_study):
    found = judge([CLAIMS["H4"]], stop(make_study(BATCHES, 14), [0, 20]), np.random.default_rng(0), 200)[0]
    assert found.outcome != "untestable"
    (part,) = found.estimates
    assert (len(part.seeds), part.n_stopped, part.n_diverged, part.n_runs) == (12, 2, 0, 56)


def test_tables_figures_and_the_page_count_it_and_nothing_else_does(make_study, tmp_path):
    frame = make_study(BATCHES, 12)
    frame["train/accuracy"] = [np.full(100, 0.6)] * len(frame)
    frame = stop(frame, [0, 1])
    row = summary(frame, "batch.size").set_index("batch.size").loc["5"]
    assert (row["n_runs"], row["n_stopped"], row["n_diverged"], row["n_failed"]) == (12, 2, 0, 0)
    assert row["reached_fraction"] == 0
    results = results_of(frame, tmp_path / "s")
    assert (results.counts["finished"], results.counts[STOPPED]) == (48, 2)
    assert results.progress == "48 of 48 runs finished; 2 stopped early"
    assert parts_table(results)["n_stopped"].max() == 2
    page = Page(write_report(results).read_text(encoding="utf-8")).text
    assert "48 of 48 runs finished; 2 stopped early" in page
    assert "The study is not complete" not in page
    assert "n 10, 2 stopped early" in page
    figures = figures_of(results, "batch.size")
    for figure in figures.values():
        assert "Missing: 2 of 48 stopped early" in caption(figure)
    points = figures["waiting"].spec["concat"][0]["data"]["values"]
    assert {point["share"] for point in points if point["line"] == "5"} == {1.0}  # ten runs, none of which gets there


def test_a_split_whose_run_stopped_is_not_held_against_a_baseline(make_study):
    frame = stop(make_study(BATCHES[:1], 4), [0]).assign(**{"final/test/accuracy": 0.7})
    accuracy = {"majority class": [0.65] * 4}
    for val in (0.0, 0.2):
        kind = Baselines(settings={"data.val_fraction": val, "data.test_fraction": 0.2}, seeds=[0, 1, 2, 3], n_train=8,
                         n_test=2, accuracy=accuracy)  # fmt: skip
        table = baselines_table(frame.assign(**{"data.val_fraction": val}), [kind])
        assert table["n_splits"].tolist() == [3]
