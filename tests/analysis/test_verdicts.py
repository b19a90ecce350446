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
    found = verdict(SMALL, study(arms, {(0, 0): "diverged", (0, 1): "failed", (0, 2): "failed"})).headline
    assert (found.n_runs, found.n_diverged, found.n_failed) == (30, 1, 2)
    assert found.estimate.estimate == 27 / 28
    assert len(found.replicates.seeds) == 28


def test_a_diverged_run_has_no_final_score_and_its_pair_is_left_out():
    arms = [({"activation": "relu", "batch.size": size}, curves(0.7, seed=size)) for size in (5, 10, 16, 32)]
    slope, order = verdict(
        CLAIMS["H3"], study([(arm, table[:30]) for arm, table in arms], {(1, 4): "diverged", (3, 5): "diverged"})
    ).parts
    assert (len(slope.replicates.seeds), slope.n_diverged) == (28, 2)
    assert (len(order.replicates.seeds), order.n_diverged) == (29, 1)


def test_fewer_than_ten_complete_replicates_are_untestable():
    found = verdict(SMALL, study([(SGD, curves(0.6, n=9))]))
    assert found.word == "untestable"
    assert "at least 10 distinct replicates are needed; found 9" in found.reason


def test_missing_runs_are_named_with_the_command_that_makes_them():
    found = verdict(CLAIMS["H1"], study([({"activation": "relu", "batch.size": 5}, curves(0.8))]))
    assert found.word == "untestable"
    assert "no runs with activation=relu, trainer.max_epochs=100, batch.size=10" in found.reason
    assert "pima-hp-train -m experiment=article" in found.reason


def test_a_part_that_refutes_is_enough():
    frame = study([({"activation": "relu", "batch.size": 5}, curves(0.6))])
    assert verdict(CLAIMS["H1"], frame).word == "refuted"


def test_pairs_are_of_one_seed_and_only_the_same_settings_are_compared():
    standard = {"data.scaling": "standard"}
    arms = [({"activation": "relu", "batch.size": size}, curves(level)) for size, level in [(5, 0.8), (32, 0.7)]]
    others = [(arm | standard, curves(0.75)) for arm, _ in arms]
    claim = order_claim()
    both = verdict(claim, study([*others, *arms]))
    assert both.word == verdict(claim, study(arms)).word == "supported"
    assert (len(both.choices), both.differing) == (2 * 6, {})
    assert not any("with" in text for text in both.beside)
    alone = verdict(claim, study(others))
    assert alone.word == "undecided"
    assert alone.differing == standard
    assert "with data.scaling=standard" in alone.beside


def order_claim(**changes):
    content = {
        "id": "X", "sentence": "s", "source": "me", "family": "primary", "contrast": "order",
        "functional": {"name": "final_score", "curve": "train/accuracy"},
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
    assert found.word == "supported"
    assert set(found.choices["activation.negative_slope"]) == {"0.01", "0.3"}


def test_the_same_generator_gives_the_same_verdict_whatever_else_is_judged():
    arms = [({"activation": "relu", "batch.size": size}, curves(0.7, seed=size)) for size in (5, 10, 16, 32)]
    frame = study(arms)
    alone, again, other = (verdict(CLAIMS["H3"], frame, seed).headline.estimate for seed in (0, 0, 1))
    among = judge(list(CLAIMS.values()), frame, np.random.default_rng(0), 500)[2].headline.estimate
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
    assert (row["word"], row["headline"]["n_runs"], row["headline"]["config_ids"]) == ("supported", 60, ["c0"])
    assert len(row["headline"]["runs_digest"]) == 16


def test_holm_keeps_the_word_and_says_whether_it_survives():
    frame = study([(SGD, curves(0.6, n=36))])  # upper bound of 0 in 36: 0.0964, decided at 95 % and hardly beyond
    (alone,) = judge([SMALL], frame, np.random.default_rng(0))
    every = judge(list(CLAIMS.values()), frame, np.random.default_rng(0))
    among = next(v for v in every if v.claim.id == "H8")
    assert alone.word == among.word == "supported"
    assert alone.survives
    assert not among.survives
    n_smaller = sum(v.p_value is not None and v.p_value < alone.p_value for v in every if v.claim.family == "primary")
    assert among.p_adjusted == pytest.approx((9 - n_smaller) * alone.p_value)


def test_the_family_of_a_claim_is_that_of_its_folder():
    frame = study([(SGD, curves(0.6, n=36))])
    own = [SMALL.model_copy(update={"id": f"mine{n}", "folder": "mine"}) for n in range(20)]
    with_own = {v.claim.id: v for v in judge([*CLAIMS.values(), *own], frame, np.random.default_rng(0))}
    alone = {v.claim.id: v for v in judge(list(CLAIMS.values()), frame, np.random.default_rng(0))}
    assert with_own["H8"].p_adjusted == alone["H8"].p_adjusted
    assert with_own["mine0"].p_adjusted == pytest.approx(20 * alone["H8"].p_value)


def test_a_word_that_does_not_survive_says_so_beside_it():
    frame = study([(SGD, curves(0.6, n=36))])
    among = next(v for v in judge(list(CLAIMS.values()), frame, np.random.default_rng(0)) if v.claim.id == "H8")
    assert "does not survive Holm's correction" in among.beside
    assert not any("survive" in text for text in verdict(SMALL, frame).beside)


def test_learning_is_held_against_the_training_rows_that_a_run_records():
    frame = study([({"activation": name}, curves(0.5)) for name in ("sigmoid", "tanh")])
    assert verdict(CLAIMS["H5"], frame).word == "refuted"
    assert verdict(CLAIMS["H5"], frame.assign(positive_rate=0.01)).word == "supported"
    assert (
        "needs positive_rate, which these runs do not record"
        in verdict(CLAIMS["H5"], frame.assign(positive_rate=np.nan)).reason
    )


def test_a_claim_may_name_any_curve_that_the_runs_have_recorded_and_is_untestable_without_it():
    frame = study([({"activation": name}, curves(0.5)) for name in ("sigmoid", "tanh")])
    functional = CLAIMS["H5"].parts[0].functional.model_copy(update={"curve": "train/balanced_loss"})
    parts = [part.model_copy(update={"functional": functional}) for part in CLAIMS["H5"].parts]
    claim = CLAIMS["H5"].model_copy(update={"parts": parts})
    assert "needs the curve train/balanced_loss, which these runs do not record" in verdict(claim, frame).reason
    recorded = frame.assign(**{"train/balanced_loss": frame["train/loss"]})
    assert verdict(claim, recorded).word == verdict(CLAIMS["H5"], frame).word == "refuted"


def test_runs_too_short_to_answer_do_not_refute():
    names = ("rmsprop", "adamax", "adam")
    arms = [
        ({"activation": "relu", "optimizer": name, "trainer.max_epochs": 10}, curves(0.5, epochs=10)) for name in names
    ]
    claim = CLAIMS["H9"]
    assert verdict(claim, study(arms)).word == "untestable"
    shorter = [
        part.model_copy(update={"where": [{"optimizer": name}]}) for part, name in zip(claim.parts, names, strict=False)
    ]
    found = verdict(claim.model_copy(update={"parts": shorter}), study(arms))
    assert found.word == "untestable"
    assert "RMSprop: 60 runs are too short to have an answer" in found.reason
    some = np.where(np.arange(60)[:, None] < 30, 0.9, 0.5) * np.ones(
        10
    )  # those that have reached must not stand for all
    found = verdict(claim.model_copy(update={"parts": shorter}), study([(arm, some) for arm, _ in arms]))
    assert found.word == "untestable"
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
    return {found.claim.id: found.choices for found in verdicts}


def test_the_choice_that_flips_a_claim_is_named_and_what_holds_together():
    claims = [CLAIMS["H8"], CLAIMS["H9"], CLAIMS["H7"]]
    first, second, third = found = judge(claims, study([*SPLIT, *REACHING]), np.random.default_rng(0), 500)
    assert first.suffix == "depends on data.scaling"
    assert "none: supported in 100%; standard: refuted in 100%" in first.sentence
    assert "supported in 50% of 48 combinations (4 completions, 12 ways of reading the curves)" in first.sentence
    assert set(first.choices.columns) == {
        "data.scaling", "batch.size", "threshold", "training scores", "duration", "word"
    }  # fmt: skip
    assert len(first.choices) == 4 * 12
    assert second.suffix == "robust to how curves are read"
    assert third.choices.empty
    together = holding_together(tables(found))
    assert together == (
        "24 of 48 combinations (4 completions, 12 ways of reading the curves) make both claims (H8 and H9) true "
        "together, for example with running training scores."
    )
    assert holding_together(tables([third])) == "No claim can be tested in this study."


def test_only_other_completions_make_a_verdict_robust():
    readings = verdict(SMALL, study([(SGD, curves(0.6))]))
    assert readings.suffix == "robust to how curves are read"
    assert readings.sentence == "H8 is supported in 100% of 12 ways of reading the curves."
    completions = verdict(SMALL, study([(SGD | {"batch.size": size}, curves(0.6)) for size in (10, 32)]))
    assert completions.suffix == "robust"
    near = verdict(SMALL, study([(SGD, curves(0.69))]))
    assert near.suffix == "depends on the threshold"


def test_a_verdict_is_the_first_row_of_its_table():
    arms = [({"activation": "relu", "batch.size": size}, curves(0.7, seed=size)) for size in (5, 10, 16, 32)]
    others = [(arm | {"data.scaling": "standard"}, table) for arm, table in arms]
    for frame in (study(arms), study([*others, *arms]), study(arms[:1]), study([*others, arms[0]])):
        for found in judge(list(CLAIMS.values()), frame, np.random.default_rng(0), 300):
            assert found.choices.empty == (found.word == "untestable")
            if len(found.choices):
                assert found.choices["word"].iloc[0] == found.word
                assert found.sentence.startswith(f"{found.claim.id} is {found.word} in ")


def test_claims_that_never_hold_together_are_said_so():
    opposite = SMALL.model_copy(update={"id": "not", "supported": SMALL.refuted, "refuted": SMALL.supported})
    found = tables(judge([SMALL, opposite], study([(SGD, curves(0.6))]), np.random.default_rng(0), 500))
    assert holding_together(found) == (
        "None of 12 ways of reading the curves makes both claims (H8 and not) true together; at most one holds, "
        "for example with running training scores (all but not)."
    )
    found["not"] = found["not"].assign(threshold="elsewhere")
    assert holding_together(found) == "No combination of choices has the runs of both claims (H8 and not)."


def test_claims_that_state_other_curves_meet_in_those_that_they_are_read_by():
    frame = study([(SGD, curves(0.6))])
    swapped = frame.assign(**{"train/accuracy_end": list(curves(0.9))})
    ended = SMALL.parts[0].functional.model_copy(update={"curve": "train/accuracy_end"})
    parts = [SMALL.parts[0].model_copy(update={"functional": ended})]
    other = SMALL.model_copy(
        update={"id": "ended", "parts": parts, "supported": SMALL.refuted, "refuted": SMALL.supported}
    )
    # Running scores support the one, those at the end of the epoch the other: never both, whatever each states.
    found = tables(judge([SMALL, other], swapped, np.random.default_rng(0), 500))
    assert list(found["H8"]["training scores"].unique()) == ["running", "end of epoch"]
    assert list(found["ended"]["training scores"].unique()) == ["end of epoch", "running"]
    assert holding_together(found).startswith("None of 12 ways of reading the curves")


def test_json_has_what_stands_beside_the_word():
    frame = study([(SGD, curves(0.7, n=36))])
    row = json.loads(verdicts_json([verdict(SMALL, frame)]))[0]
    assert {"suffix", "p_adjusted", "survives", "replicates_needed"} <= set(row)
    assert row["suffix"]
    arms = [({"activation": "relu", "batch.size": size}, curves(0.7, seed=size)) for size in (5, 10, 16, 32)]
    parts = json.loads(verdicts_json([verdict(CLAIMS["H3"], study(arms))]))[0]["parts"]
    assert {"of", "probability", "lower", "upper", "reading"} == set(parts[0]["effect"])


def test_an_empty_study_is_untestable():
    frame = study([(SGD, curves(0.6))]).iloc[:0]
    assert {v.word for v in judge(list(CLAIMS.values()), frame, np.random.default_rng(0))} == {"untestable"}
    assert isinstance(frame, pd.DataFrame)
