"""One run is counted once: replicates are those that differ in a stream that matters, wherever numbers are made."""

import json

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pima_hp.analysis.claims import Claim, load_claims
from pima_hp.analysis.curves import FINAL_VALIDATION
from pima_hp.analysis.selection import by_configuration, copies_in_words
from pima_hp.analysis.verdicts import judge
from pima_hp.ledger import read_study
from pima_hp.ledger.ledger import distinct
from pima_hp.report.comparable import comparable
from pima_hp.report.tables import summary
from tests.analysis.conftest import study

RELU = {"activation": "relu"}
PINNED = ("streams.init=3", "streams.split=3")


def curves(level, n=12, epochs=100, seed=0):
    return level + np.random.default_rng(seed).normal(0, 0.01, (n, epochs))


def pinned(frame, *streams):
    return frame.assign(**{f"{name}_seed": 3 for name in streams})


@pytest.mark.parametrize(
    ("settings", "streams", "n_distinct"),
    [
        ({"batch.shuffle": False}, ("init", "split"), 1),
        ({"batch.shuffle": True}, ("init", "split"), 12),
        ({"batch.shuffle": True}, ("init", "split", "order"), 1),
        ({"batch.shuffle": True, "batch.size": "full"}, ("init", "split"), 1),
        ({"batch.shuffle": False}, ("init", "order"), 12),
        ({"batch.shuffle": False}, ("split", "order"), 12),
    ],
)
def test_replicates_differ_in_a_stream_that_matters(settings, streams, n_distinct):
    frame = pinned(study([(RELU | settings, curves(0.7))]), *streams)
    assert len(distinct(frame)) == n_distinct
    told = (
        f"{12 - n_distinct} of 12 runs are copies of others (same initialization, split and row order) and are ignored"
    )
    assert copies_in_words(frame) == (told if n_distinct < 12 else "")


def test_of_copies_one_that_did_not_fail_is_kept_whatever_their_order():
    frame = pinned(study([(RELU, curves(0.7))], {(0, 0): "failed"}), "init", "split")
    for seed in range(5):
        (kept,) = distinct(frame.sample(frac=1, random_state=seed)).itertuples()
        assert (kept.run_id, kept.status) == ("0-1", "completed")
    assert distinct(frame.iloc[:0]).empty


def test_claims_are_not_judged_by_copies():
    arms = [(RELU | {"batch.size": size}, curves(0.8 - size / 1000, seed=size)) for size in (5, 10, 16, 32)]
    frame = study(arms)
    claims = [claim for claim in load_claims() if claim.id in ("H3", "H4")]
    assert [found.decisive.n_runs for found in judge(claims, frame, np.random.default_rng(0), 300)] == [48, 48]
    copies = frame.assign(**{key: frame.groupby("config_id")[key].transform("first") for key in frame if "/" in key})
    for found in judge(claims, pinned(copies, "init", "split"), np.random.default_rng(0), 300):
        assert found.outcome == "untestable"
        assert "at least 10 distinct replicates are needed; found 1" in found.reason
        assert found.decisive.n_runs == 4


def test_runs_whose_streams_are_crossed_are_one_replicate_a_split():
    crossed = study([(RELU, curves(0.7))]).assign(split_seed=np.repeat([0, 1, 2], 4), init_seed=np.tile(range(4), 3))
    scores = np.stack(crossed["val/accuracy"])[:, -20:].mean(axis=1)
    found = by_configuration(crossed, FINAL_VALIDATION.of(crossed)).loc["c0"]
    assert found.tolist() == pytest.approx([scores[4 * split :][:4].mean() for split in range(3)])
    own = study([(RELU, curves(0.7))])
    assert by_configuration(own, FINAL_VALIDATION.of(own)).loc["c0"].tolist() == pytest.approx(scores)


CLAIM = Claim.model_validate({
    "id": "X", "sentence": "s", "source": "me", "family": "primary", "contrast": "difference",
    "statistic": {"name": "final_score", "curve": "train/accuracy"},
    "parts": [{"name": "a", "where": {"batch.shuffle": True}, "over": {"batch.shuffle": False}}],
    "supported": {"above": 0}, "refuted": {"below": 0},
})  # fmt: skip


def shuffled_over_fixed(shuffled, fixed, *streams):
    frame = study([(RELU | {"batch.shuffle": True}, shuffled), (RELU | {"batch.shuffle": False}, fixed)])
    return judge([CLAIM], pinned(frame, *streams), np.random.default_rng(0), 300)[0]


def test_a_shuffled_arm_is_paired_with_a_fixed_one_by_what_both_use():
    fixed = curves(0.7)
    found = shuffled_over_fixed(fixed + 0.02, fixed, "order").decisive
    assert (len(found.numbers), found.n_runs) == (12, 24)
    np.testing.assert_allclose(list(found.numbers.values()), 0.02, atol=1e-12)


def test_orders_of_one_fixed_run_are_no_replicates_of_a_pair():
    found = shuffled_over_fixed(curves(0.75), np.repeat(curves(0.7, 1), 12, axis=0), "init", "split")
    assert found.outcome == "untestable"  # twelve orders, but one initialization and split
    assert "found 1" in found.reason
    assert found.decisive.n_runs == 13


def test_several_orders_of_a_pair_are_averaged():
    fixed, orders = curves(0.7), (-0.01, 0.03)
    shuffled = np.concatenate([fixed + shift for shift in orders])
    frame = study([(RELU | {"batch.shuffle": True}, shuffled), (RELU | {"batch.shuffle": False}, fixed)])
    frame = frame.assign(init_seed=frame["seed"] % 12, split_seed=frame["seed"] % 12)
    found = judge([CLAIM], frame, np.random.default_rng(0), 300)[0].decisive
    np.testing.assert_allclose(list(found.numbers.values()), np.full(12, 0.01), atol=1e-12)


def test_figures_and_tables_count_copies_once():
    frame = pinned(study([(RELU | {"batch.size": size}, curves(0.7)) for size in (5, 10)]), "init", "split")
    assert summary(frame, ["batch.size"])["n_runs"].tolist() == [1, 1]
    assert "1 replicate a setting." in comparable(frame, ["batch.size"]).caption


def test_a_sweep_of_copies_says_so_at_its_end_and_in_its_report(command, tmp_path):
    short = ("trainer.max_epochs=3", "study=s", "report=true")
    done = command("-m", "experiment=batch_size", "n_replicates=12", *PINNED, *short)
    assert done.code == 0, done.err
    frame = read_study(tmp_path / "outputs" / "s")
    n = len(frame) // 12
    told = f"{n * 11} of {n * 12} runs are copies of others (same initialization, split and row order) and are ignored"
    assert told in done.err
    assert told in done.out
    report = tmp_path / "outputs" / "s" / "report"
    assert told in (report / "index.html").read_text(encoding="utf-8")
    assert pd.read_csv(report / "tables" / "batch_size.csv")["n_runs"].tolist() == [1] * n
    assert all(row["outcome"] == "untestable" for row in json.loads((report / "verdicts.json").read_text()))
    baselines = pd.read_csv(report / "tables" / "baselines.csv")
    assert set(baselines["n_splits"]) == {1}
    for folder in (tmp_path / "outputs" / "s" / "tensorboard").glob("batch*"):
        tags = EventAccumulator(str(folder)).Reload().Tags()["scalars"]
        assert "val/accuracy" in tags
        assert not [tag for tag in tags if "_q" in tag]  # one run has no band
