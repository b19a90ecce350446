"""Which runs are judged, what is counted, what does not change a verdict."""

import json

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.claims import Claim, load_claims
from pima_hp.analysis.multiverse import holding_together
from pima_hp.analysis.verdicts import judge, verdicts_json
from tests.analysis.conftest import study

CLAIMS = {claim.id: claim for claim in load_claims()}
SMALL = CLAIMS["H8"]
SGD = {"activation": "relu", "optimizer": "sgd", "optimizer.lr": 0.001}


def curves(level, n=60, epochs=100, seed=0):
    return np.random.default_rng(seed).normal(level, 0.002, (n, epochs))


def verdict(claim, frame, seed=0, **options):
    return judge([claim], frame, np.random.default_rng(seed), 500, **options)[0]


def test_a_diverged_run_counts_as_a_miss_and_a_failed_one_is_left_out():
    arms = [(SGD, np.full((30, 100), 0.9))]
    found = verdict(SMALL, study(arms, {(0, 0): "diverged", (0, 1): "failed", (0, 2): "failed"})).decisive
    assert (found.n_runs, found.n_diverged, found.n_failed) == (30, 1, 2)
    assert found.value == 27 / 28
    assert len(found.seeds) == 28


def test_a_diverged_run_has_no_final_score_and_its_pair_is_left_out():
    arms = [({"activation": "relu", "batch.size": size}, curves(0.7, seed=size)) for size in (5, 10, 16, 32)]
    slope, order = verdict(
        CLAIMS["H3"], study([(arm, table[:30]) for arm, table in arms], {(1, 4): "diverged", (3, 5): "diverged"})
    ).estimates
    assert (len(slope.seeds), slope.n_diverged) == (28, 2)
    assert (len(order.seeds), order.n_diverged) == (29, 1)


def test_fewer_than_ten_complete_replicates_are_untestable():
    found = verdict(SMALL, study([(SGD, curves(0.6, n=9))]))
    assert found.outcome == "untestable"
    assert "at least 10 distinct replicates are needed; found 9" in found.reason


def test_missing_runs_are_named_with_the_command_that_makes_them():
    found = verdict(CLAIMS["H1"], study([({"activation": "relu", "batch.size": 5}, curves(0.8))]))
    assert found.outcome == "untestable"
    assert "no runs with activation=relu, trainer.max_epochs=100, batch.size=10" in found.reason
    assert "pima-hp-train -m experiment=article" in found.reason


def test_a_part_that_refutes_is_enough():
    frame = study([({"activation": "relu", "batch.size": 5}, curves(0.6))])
    assert verdict(CLAIMS["H1"], frame).outcome == "refuted"


def test_pairs_are_of_one_seed_and_only_the_same_settings_are_compared():
    standard = {"data.scaling": "standard"}
    arms = [({"activation": "relu", "batch.size": size}, curves(level)) for size, level in [(5, 0.8), (32, 0.7)]]
    others = [(arm | standard, curves(0.75)) for arm, _ in arms]
    claim = order_claim()
    both = verdict(claim, study([*others, *arms]))
    assert both.outcome == verdict(claim, study(arms)).outcome == "supported"
    assert (len(both.specifications), both.differing) == (2 * 6, {})
    assert both.qualifiers == []
    alone = verdict(claim, study(others))
    assert alone.outcome == "undecided"
    assert alone.differing == standard
    assert alone.qualifiers == ["with data.scaling=standard"]


def order_claim(**changes):
    content = {
        "id": "X", "sentence": "s", "source": "me", "family": "primary", "contrast": "order",
        "statistic": {"name": "final_score", "curve": "train/accuracy"},
        "parts": [{"name": "a", "where": {"batch.size": 5}, "over": {"batch.size": 32}}],
        "supported": {"all": "lower > 0.5"}, "refuted": {"all": "upper < 0.5"},
    }  # fmt: skip
    return Claim.model_validate(content | changes)


def test_an_ambiguous_selector_is_untestable():
    parts = [
        {"name": "a", "where": {"batch.size": 5}, "over": {"batch.size": 32}},
        {"name": "b", "where": {"batch.size": 5, "optimizer.lr": 0.1}, "over": {"batch.size": 32, "optimizer.lr": 0.1}},
    ]
    arms = [({"batch.size": size, "optimizer.lr": lr}, curves(0.7)) for size in (5, 32) for lr in (0.1, 0.01)]
    found = verdict(order_claim(parts=parts), study(arms))
    assert "2 configurations with batch.size=5: name what they differ in under where" in found.reason


def test_the_slope_of_leaky_relu_goes_with_relu():
    relu = [({"activation": "relu"}, curves(0.5))]
    leaky = [({"activation": "leaky_relu", "activation.negative_slope": slope}, curves(0.5)) for slope in (0.01, 0.3)]
    found = verdict(CLAIMS["H6"], study([*relu, *leaky]))
    assert found.outcome == "supported"
    assert set(found.specifications["activation.negative_slope"]) == {"0.01", "0.3"}


def test_the_same_generator_gives_the_same_verdict_whatever_else_is_judged():
    arms = [({"activation": "relu", "batch.size": size}, curves(0.7, seed=size)) for size in (5, 10, 16, 32)]
    frame = study(arms)
    alone, again, other = (verdict(CLAIMS["H3"], frame, seed).decisive.inference for seed in (0, 0, 1))
    among = judge(list(CLAIMS.values()), frame, np.random.default_rng(0), 500)[2].decisive.inference
    assert alone.interval() == again.interval() == among.interval()
    assert alone.interval() != other.interval()


def test_json_is_deterministic_and_traces_each_number():
    frame = study([(SGD, curves(0.6))])
    first, second = (verdicts_json(judge(list(CLAIMS.values()), frame, np.random.default_rng(0), 500)) for _ in "ab")
    assert first == second
    assert verdicts_json([verdict(SMALL, frame.sample(frac=1, random_state=1))]) == verdicts_json(
        [verdict(SMALL, frame)]
    )
    row = next(row for row in json.loads(first) if row["id"] == "H8")
    assert (row["outcome"], row["decisive"]) == ("supported", "SGD")
    (estimate,) = row["estimates"]
    assert (estimate["n_runs"], estimate["config_ids"], len(estimate["runs_digest"])) == (60, ["c0"], 16)


def test_holm_keeps_the_word_and_says_whether_it_survives():
    frame = study([(SGD, curves(0.6, n=36))])  # upper bound of 0 in 36: 0.0964, decided at 95 % and hardly beyond
    (alone,) = judge([SMALL], frame, np.random.default_rng(0))
    every = judge(list(CLAIMS.values()), frame, np.random.default_rng(0))
    among = next(v for v in every if v.claim.id == "H8")
    assert alone.outcome == among.outcome == "supported"
    assert alone.survives
    assert not among.survives
    n_smaller = sum(v.p is not None and v.p < alone.p for v in every if v.claim.family == "primary")
    assert among.p_adjusted == pytest.approx((9 - n_smaller) * alone.p)


def test_the_family_of_a_claim_is_that_of_its_folder():
    frame = study([(SGD, curves(0.6, n=36))])
    own = [SMALL.model_copy(update={"id": f"mine{n}", "folder": "mine"}) for n in range(20)]
    with_own = {v.claim.id: v for v in judge([*CLAIMS.values(), *own], frame, np.random.default_rng(0))}
    alone = {v.claim.id: v for v in judge(list(CLAIMS.values()), frame, np.random.default_rng(0))}
    assert with_own["H8"].p_adjusted == alone["H8"].p_adjusted
    assert with_own["mine0"].p_adjusted == pytest.approx(20 * alone["H8"].p)


def test_a_word_that_does_not_survive_says_so_beside_it():
    frame = study([(SGD, curves(0.6, n=36))])
    among = next(v for v in judge(list(CLAIMS.values()), frame, np.random.default_rng(0)) if v.claim.id == "H8")
    assert among.qualifiers == ["does not survive Holm's correction"]
    assert verdict(SMALL, frame).qualifiers == []


def test_learning_is_held_against_the_training_rows_that_a_run_records():
    frame = study([({"activation": name}, curves(0.5)) for name in ("sigmoid", "tanh")])
    assert verdict(CLAIMS["H5"], frame).outcome == "refuted"
    assert verdict(CLAIMS["H5"], frame.assign(positive_rate=0.01)).outcome == "supported"
    assert verdict(CLAIMS["H5"], frame.assign(positive_rate=np.nan)).outcome == "untestable"


def test_a_claim_may_name_any_curve_that_the_runs_have_recorded_and_is_untestable_without_it():
    frame = study([({"activation": name}, curves(0.5)) for name in ("sigmoid", "tanh")])
    statistic = CLAIMS["H5"].parts[0].statistic.model_copy(update={"curve": "train/balanced_loss"})
    parts = [part.model_copy(update={"statistic": statistic}) for part in CLAIMS["H5"].parts]
    claim = CLAIMS["H5"].model_copy(update={"parts": parts})
    assert "the curve train/balanced_loss must be recorded" in verdict(claim, frame).reason
    recorded = frame.assign(**{"train/balanced_loss": frame["train/loss"]})
    assert verdict(claim, recorded).outcome == verdict(CLAIMS["H5"], frame).outcome == "refuted"


def test_runs_too_short_to_answer_do_not_refute():
    names = ("rmsprop", "adamax", "adam")
    arms = [
        ({"activation": "relu", "optimizer": name, "trainer.max_epochs": 10}, curves(0.5, epochs=10)) for name in names
    ]
    claim = CLAIMS["H9"]
    assert verdict(claim, study(arms)).outcome == "untestable"
    shorter = [
        part.model_copy(update={"where": [{"optimizer": name}]}) for part, name in zip(claim.parts, names, strict=False)
    ]
    found = verdict(claim.model_copy(update={"parts": shorter}), study(arms))
    assert found.outcome == "untestable"
    assert "RMSprop: 60 runs are too short to have an answer" in found.reason
    some = np.where(np.arange(60)[:, None] < 30, 0.9, 0.5) * np.ones(
        10
    )  # those that have reached must not stand for all
    found = verdict(claim.model_copy(update={"parts": shorter}), study([(arm, some) for arm, _ in arms]))
    assert found.outcome == "untestable"
    assert "RMSprop: 30 runs are too short" in found.reason


SPLIT = [
    (SGD | {"data.scaling": scaling, "batch.size": size}, curves(0.6 if scaling == "none" else 0.8))
    for scaling in ("none", "standard")
    for size in (10, 32)
]
REACHING = [
    ({"activation": "relu", "optimizer": name, "optimizer.lr": 0.001}, curves(0.9))
    for name in ("rmsprop", "adamax", "adam")
]


def tables(verdicts):
    return {found.claim.id: found.specifications for found in verdicts}


def test_the_choice_that_flips_a_claim_is_named_and_what_holds_together():
    claims = [CLAIMS["H8"], CLAIMS["H9"], CLAIMS["H7"]]
    first, second, third = found = judge(claims, study([*SPLIT, *REACHING]), np.random.default_rng(0), 500)
    assert first.headline == "depends on data.scaling"
    assert "none: supported in 100% and standard: refuted in 100%" in first.explanation
    assert "supported in 50% of 48 specifications" in first.explanation
    assert set(first.specifications.columns) == {
        "data.scaling", "batch.size", "threshold", "training scores", "duration", "outcome"
    }  # fmt: skip
    assert len(first.specifications) == 4 * 12
    assert second.headline == "robust to analysis choices"
    assert third.specifications.empty
    together = holding_together(tables(found))
    assert together.startswith("24 of 48 specifications make all 2 claims true (H8 and H9)")
    assert holding_together(tables([third])) == "No claim can be tested in this study."


def test_only_other_completions_make_a_verdict_robust():
    readings = verdict(SMALL, study([(SGD, curves(0.6))]))
    assert readings.headline == "robust to analysis choices"
    assert readings.explanation == "supported in 100% of 12 specifications."
    completions = verdict(SMALL, study([(SGD | {"batch.size": size}, curves(0.6)) for size in (10, 32)]))
    assert completions.headline == "robust"
    near = verdict(SMALL, study([(SGD, curves(0.69))]))
    assert near.headline == "depends on the threshold"


def test_a_verdict_is_the_first_row_of_its_table():
    arms = [({"activation": "relu", "batch.size": size}, curves(0.7, seed=size)) for size in (5, 10, 16, 32)]
    others = [(arm | {"data.scaling": "standard"}, table) for arm, table in arms]
    for frame in (study(arms), study([*others, *arms]), study(arms[:1]), study([*others, arms[0]])):
        for found in judge(list(CLAIMS.values()), frame, np.random.default_rng(0), 300):
            assert found.specifications.empty == (found.outcome == "untestable")
            if len(found.specifications):
                assert found.specifications["outcome"].iloc[0] == found.outcome
                assert found.explanation.startswith(f"{found.outcome} in ")


def test_claims_that_never_hold_together_are_said_so():
    opposite = SMALL.model_copy(update={"id": "not", "supported": SMALL.refuted, "refuted": SMALL.supported})
    found = tables(judge([SMALL, opposite], study([(SGD, curves(0.6))]), np.random.default_rng(0), 500))
    together = holding_together(found)
    assert together.startswith("None of 12 specifications make all 2 claims true (H8 and not); at most 1 hold")
    assert together.endswith("(all but not).")
    found["not"] = found["not"].assign(threshold="elsewhere")
    assert holding_together(found) == "No specification has the runs of all claims (H8 and not)."


def test_claims_that_state_other_curves_meet_in_those_that_they_are_read_by():
    frame = study([(SGD, curves(0.6))])
    swapped = frame.assign(**{"train/accuracy_end": list(curves(0.9))})
    ended = SMALL.parts[0].statistic.model_copy(update={"curve": "train/accuracy_end"})
    parts = [SMALL.parts[0].model_copy(update={"statistic": ended})]
    other = SMALL.model_copy(
        update={"id": "ended", "parts": parts, "supported": SMALL.refuted, "refuted": SMALL.supported}
    )
    # Running scores support the one, those at the end of the epoch the other: never both, whatever each states.
    found = tables(judge([SMALL, other], swapped, np.random.default_rng(0), 500))
    assert list(found["H8"]["training scores"].unique()) == ["running", "end of epoch"]
    assert list(found["ended"]["training scores"].unique()) == ["end of epoch", "running"]
    assert holding_together(found).startswith("None of 12 specifications")


def test_json_has_what_qualifies_the_outcome():
    frame = study([(SGD, curves(0.7, n=36))])
    row = json.loads(verdicts_json([verdict(SMALL, frame)]))[0]
    assert {"qualifiers", "p_adjusted", "survives", "replicates_needed", "explanation"} <= set(row)
    assert row["headline"]
    arms = [({"activation": "relu", "batch.size": size}, curves(0.7, seed=size)) for size in (5, 10, 16, 32)]
    estimates = json.loads(verdicts_json([verdict(CLAIMS["H3"], study(arms))]))[0]["estimates"]
    assert {"of", "probability", "lower", "upper", "conclusion"} == set(estimates[0]["effect"])


def test_an_empty_study_is_untestable():
    frame = study([(SGD, curves(0.6))]).iloc[:0]
    assert {v.outcome for v in judge(list(CLAIMS.values()), frame, np.random.default_rng(0))} == {"untestable"}
    assert isinstance(frame, pd.DataFrame)
