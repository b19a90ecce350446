"""Which runs are judged, what is counted, what does not change a verdict, what other choices make of it."""

import json

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.claims import Claim, load_claims
from pima_hp.analysis.verdicts import judge, verdicts_json
from tests.analysis.conftest import study

CLAIMS = {claim.id: claim for claim in load_claims()}
SMALL = CLAIMS["H8"]
RELU, SGD = {"activation": "relu"}, {"activation": "relu", "optimizer": "sgd", "optimizer.lr": 0.001}
STANDARD = {"data.scaling": "standard"}
OTHER = "1a2b3c4d" * 8


def curves(level, n=60, epochs=100, seed=0):
    return np.random.default_rng(seed).normal(level, 0.002, (n, epochs))


BATCHES = [(RELU | {"batch.size": size}, curves(0.7, seed=size)) for size in (5, 10, 16, 32)]


def judged(claims, frame, seed=0):
    return {found.claim.id: found for found in judge(list(claims), frame, np.random.default_rng(seed), 500)}


def verdict(claim, frame, seed=0):
    return judged([claim], frame, seed)[claim.id]


def with_statistic(claim, **changes):
    parts = [part.model_copy(update={"statistic": part.statistic.model_copy(update=changes)}) for part in claim.parts]
    return claim.model_copy(update={"parts": parts})


def test_a_diverged_run_counts_as_a_miss_and_a_failed_one_is_left_out():
    arms = [(SGD, np.full((30, 100), 0.9))]
    found = verdict(SMALL, study(arms, {(0, 0): "diverged", (0, 1): "failed", (0, 2): "failed"})).decisive
    counts = [found.n_runs, found.n_diverged, found.n_failed, found.n_replicates]
    assert counts == [30, 1, 2, 28]
    assert found.value == 1 / 28


def test_a_diverged_run_has_no_final_score_and_its_pair_is_left_out():
    frame = study([(arm, table[:30]) for arm, table in BATCHES], {(1, 4): "diverged", (3, 5): "diverged"})
    slope, order = verdict(CLAIMS["H3"], frame).estimates
    assert (len(slope.numbers), slope.n_diverged) == (28, 2)
    assert (len(order.numbers), order.n_diverged) == (29, 1)


def test_without_runs_or_replicates_a_claim_is_untestable_and_the_reason_says_what_is_missing():
    few = verdict(SMALL, study([(SGD, curves(0.6, n=9))]))
    assert few.outcome == "untestable"
    assert "at least 10 distinct replicates are needed; found 9" in few.reason
    missing = verdict(CLAIMS["H1"], study([(RELU | {"batch.size": 5}, curves(0.8))]))
    assert missing.outcome == "untestable"
    assert "no configurations with activation=relu, trainer.max_epochs=100, batch.size=10" in missing.reason
    assert "pima-hp-train -m experiment=article" in missing.reason
    empty = study([(SGD, curves(0.6))]).iloc[:0]
    assert {found.outcome for found in judged(CLAIMS.values(), empty).values()} == {"untestable"}


def test_replicates_that_share_streams_in_a_crossed_design_are_not_counted_as_independent():
    frame = study([(SGD, curves(0.6, n=20))])
    crossed = frame.assign(init_seed=frame["seed"] % 5, split_seed=frame["seed"] // 5)
    assert "replicates must be independent; found crossed streams" in verdict(SMALL, crossed).reason
    assert verdict(SMALL, frame.assign(split_seed=0)).outcome == "supported"


def test_a_part_that_refutes_is_enough():
    assert verdict(CLAIMS["H1"], study([(RELU | {"batch.size": 5}, curves(0.6))])).outcome == "refuted"


def order_claim(*parts):
    content = {
        "id": "X", "sentence": "s", "source": "me", "family": "primary", "contrast": "order",
        "statistic": {"name": "final_score", "curve": "train/accuracy"},
        "parts": [{"name": "a", "where": {"batch.size": 5}, "over": {"batch.size": 32}}, *parts],
        "supported": {"above": 0.5}, "refuted": {"below": 0.5},
    }  # fmt: skip
    return Claim.model_validate(content)


def test_pairs_are_of_one_seed_and_only_the_same_settings_are_compared():
    arms = [(RELU | {"batch.size": size}, curves(level)) for size, level in [(5, 0.8), (32, 0.7)]]
    others = [(arm | STANDARD, curves(0.75)) for arm, _ in arms]
    both = verdict(order_claim(), study([*others, *arms]))
    assert both.outcome == verdict(order_claim(), study(arms)).outcome == "supported"
    assert (len(both.specifications), both.differing, both.qualifiers) == (2 * 6, {}, [])
    alone = verdict(order_claim(), study(others))
    assert (alone.outcome, alone.differing) == ("undecided", STANDARD)
    assert alone.qualifiers == ["with data.scaling=standard"]


def test_an_ambiguous_selector_is_untestable():
    lr = {"optimizer.lr": 0.1}
    other = {"name": "b", "where": {"batch.size": 5} | lr, "over": {"batch.size": 32} | lr}
    arms = [({"batch.size": size, "optimizer.lr": lr}, curves(0.7)) for size in (5, 32) for lr in (0.1, 0.01)]
    found = verdict(order_claim(other), study(arms))
    assert "2 configurations with batch.size=5; one is needed" in found.reason


def test_the_slope_of_leaky_relu_goes_with_relu():
    leaky = [({"activation": "leaky_relu", "activation.negative_slope": slope}, curves(0.5)) for slope in (0.01, 0.3)]
    found = verdict(CLAIMS["H6"], study([(RELU, curves(0.5)), *leaky]))
    assert found.outcome == "supported"
    assert set(found.specifications["activation.negative_slope"]) == {"0.01", "0.3"}


def test_the_same_generator_gives_the_same_verdict_whatever_else_is_judged():
    frame = study(BATCHES)
    alone, again, other = (verdict(CLAIMS["H3"], frame, seed).decisive.inference for seed in (0, 0, 1))
    among = judged(CLAIMS.values(), frame)["H3"].decisive.inference
    assert alone.interval() == again.interval() == among.interval() != other.interval()


def test_json_is_deterministic_and_traces_each_number():
    frame = study([(SGD, curves(0.6)), *BATCHES])
    first, second = (verdicts_json(list(judged(CLAIMS.values(), frame).values())) for _ in "ab")
    shuffled = verdicts_json([verdict(SMALL, frame.sample(frac=1, random_state=1))])
    assert (first, shuffled) == (second, verdicts_json([verdict(SMALL, frame)]))
    rows = {row["claim"]: row for row in json.loads(first)}
    row, (estimate,) = rows["H8"], rows["H8"]["estimates"]
    assert (row["outcome"], row["decisive"]) == ("supported", "SGD")
    assert {"headline", "qualifiers", "p_adjusted", "survives", "replicates_needed", "explanation"} <= set(row)
    assert (estimate["n_runs"], estimate["config_ids"]) == (60, ["c0"])
    assert {"of", "probability", "lower", "upper", "conclusion"} == set(rows["H3"]["estimates"][0]["effect"])


def test_holm_keeps_the_outcome_and_qualifies_it():
    frame = study([(SGD, curves(0.6, n=17))])  # lower bound of 17 in 17: 0.816, decided at 95 % and hardly beyond
    alone, every = verdict(SMALL, frame), judged(CLAIMS.values(), frame)
    assert alone.outcome == every["H8"].outcome == "supported"
    assert (alone.survives, alone.qualifiers) == (True, [])
    assert (every["H8"].survives, every["H8"].qualifiers) == (False, ["does not survive Holm's correction"])
    n_smaller = sum(v.p is not None and v.p < alone.p for v in every.values() if v.claim.family == "primary")
    assert every["H8"].p_adjusted == pytest.approx((9 - n_smaller) * alone.p)
    own = [SMALL.model_copy(update={"id": f"mine{n}", "folder": "mine"}) for n in range(20)]
    with_own = judged([*CLAIMS.values(), *own], frame)  # the family of a claim is that of its folder
    assert with_own["H8"].p_adjusted == every["H8"].p_adjusted
    assert with_own["mine0"].p_adjusted == pytest.approx(20 * alone.p)


def test_learning_is_held_against_the_training_rows_that_a_run_records():
    frame = study([({"activation": name}, curves(0.5)) for name in ("sigmoid", "tanh")])
    outcomes = [verdict(CLAIMS["H5"], frame.assign(positive_rate=rate)).outcome for rate in (0.35, 0.01, np.nan)]
    assert outcomes == ["refuted", "supported", "untestable"]


def test_a_claim_may_name_any_curve_that_the_runs_have_recorded_and_is_untestable_without_it():
    frame = study([({"activation": name}, curves(0.5)) for name in ("sigmoid", "tanh")])
    claim = with_statistic(CLAIMS["H5"], curve="train/balanced_loss")
    assert "the curve train/balanced_loss must be recorded" in verdict(claim, frame).reason
    recorded = frame.assign(**{"train/balanced_loss": frame["train/loss"]})
    assert verdict(claim, recorded).outcome == verdict(CLAIMS["H5"], frame).outcome == "refuted"


@pytest.mark.parametrize(("level", "n_short"), [(np.full((60, 1), 0.5), 60), (np.repeat([[0.9], [0.5]], 30, 0), 30)])
def test_runs_too_short_to_answer_do_not_refute(level, n_short):
    names = ("rmsprop", "adamax", "adam")  # those that have reached must not stand for all
    frame = study([(RELU | {"optimizer": name, "trainer.max_epochs": 10}, level * np.ones(10)) for name in names])
    parts = [part.model_copy(update={"where": [{"optimizer": name}]})
             for part, name in zip(CLAIMS["H9"].parts, names, strict=False)]  # fmt: skip
    found = verdict(CLAIMS["H9"].model_copy(update={"parts": parts}), frame)
    assert found.outcome == verdict(CLAIMS["H9"], frame).outcome == "untestable"
    assert f"RMSprop: {n_short} runs stopped early or are too short to have an answer" in found.reason


@pytest.mark.parametrize(
    ("data", "testable"), [("shipped", [True, False]), ("any", [True, True]), (OTHER[:8], [False, True])]
)
def test_a_claim_is_judged_on_the_table_that_it_names(data, testable):
    claim, frame = SMALL.model_copy(update={"data": data}), study([(SGD, curves(0.6))])
    other = frame.assign(data_digest=OTHER, config_id="other", run_id="o" + frame["run_id"])
    found = [verdict(claim, runs) for runs in (frame, other)]
    assert [each.outcome != "untestable" for each in found] == testable
    for each in found:
        if each.outcome == "untestable":
            assert f"H8 is about another table (data: {data})" in each.reason
            assert "pima-hp-train" not in each.reason
    both = verdict(claim, pd.concat([other.assign(**{"train/accuracy": list(curves(0.9))}), frame]))
    assert both.decisive.config_ids == (["c0"] if data == "shipped" else ["other"])
