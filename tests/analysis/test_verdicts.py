"""Which runs are judged, what is counted, what does not change a verdict, what other choices make of it."""

import json

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.claims import Claim, load_claims
from pima_hp.analysis.multiverse import at_levels, headline_of, holding_together, levels_of
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


def tables(verdicts):
    return {claim_id: found.specifications for claim_id, found in verdicts.items()}


def test_the_choice_that_flips_a_claim_is_named_and_what_holds_together():
    split = [(SGD | {"data.scaling": scaling, "batch.size": size}, curves(level))
             for scaling, level in (("none", 0.6), ("standard", 0.8)) for size in (10, 32)]  # fmt: skip
    reaching = [(SGD | {"optimizer": name}, curves(0.9)) for name in ("rmsprop", "adamax", "adam")]
    found = judged([CLAIMS["H8"], CLAIMS["H9"], CLAIMS["H3a"]], study([*split, *reaching]))
    first = found["H8"]
    tie = "depends on data.scaling: supported and refuted in 50% each of specifications, supported in the primary one"
    assert first.headline == tie
    often = "data.scaling changes it most often, in 100% of pairs"
    assert f"in 50% of 144 specifications; {often}" in first.explanation
    choices = ["data.scaling", "batch.size", "threshold", "training scores", "duration", "supported limit"]
    assert sorted(first.specifications.columns) == sorted([*choices, "outcome"])
    assert len(first.specifications) == 4 * 36
    assert found["H9"].headline == "supported, robust to analysis choices"
    assert found["H3a"].specifications.empty
    together = holding_together(tables(found))
    assert together.startswith("216 of 432 specifications make all 2 claims true (H8 and H9)")
    alone = holding_together(tables({"H3a": found["H3a"]}))
    assert alone == "No specification has the runs of all claims (no claim can be tested)."


def test_only_other_data_settings_make_a_verdict_robust():
    alone = verdict(SMALL, study([(SGD, curves(0.6))]))
    assert alone.headline == "supported, robust to analysis choices"
    assert alone.explanation == "supported in 100% of 36 specifications."
    two = verdict(SMALL, study([(SGD | {"batch.size": size}, curves(0.6)) for size in (10, 32)]))
    assert two.headline == "supported, robust"
    most = "supported in 67% of specifications, most changed by the threshold"
    assert verdict(SMALL, study([(SGD, curves(0.69))])).headline == most


def outcomes(*counts):
    """A table of specifications: (number, outcome), the first is the primary one; one choice of as many levels."""
    names = [name for n, name in counts for _ in range(n)]
    return pd.DataFrame({"window": [str(n) for n in range(len(names))], "outcome": names})


@pytest.mark.parametrize(
    ("counts", "headline"),
    [
        ([(9, "supported"), (1, "refuted")], "supported, robust to analysis choices"),
        ([(8, "supported"), (2, "refuted")], "supported in 80% of specifications, most changed by the window"),
        ([(4, "mixed"), (3, "refuted"), (3, "supported")],
         "mixed in 40% of specifications, most changed by the window"),
        ([(1, "mixed"), (9, "refuted")],
         "depends on the window: refuted in 90% of specifications, mixed in the primary one"),
        ([(2, "mixed"), (2, "refuted")],
         "depends on the window: mixed and refuted in 50% each of specifications, mixed in the primary one"),
        ([(1, "undecided")], "undecided"),
    ],
)  # fmt: skip
def test_the_headline_is_the_most_frequent_outcome_with_its_share(counts, headline):
    assert headline_of(outcomes(*counts))[0] == headline


def test_a_finding_of_another_claim_is_left_out_to_see_what_remains():
    frame = study([(SGD | {"optimizer": name}, curves(0.5)) for name in ("sgd", "adam")])
    is_sgd = frame["optimizer"] == "sgd"
    for key in ("train/loss", "train/loss_end"):
        frame[key] = [(0.7 if stuck else 0.5) * np.ones(100) for stuck in is_sgd]
    for key in ("train/accuracy", "train/accuracy_end"):
        frame[key] = [(0.6 if stuck else 0.9) * np.ones(100) for stuck in is_sgd]
    claim = CLAIMS["H6"].model_copy(update={"parts": CLAIMS["H6"].parts[:1]})
    found = judged([claim, CLAIMS["H8"]], frame)
    assert "Without optimizer=sgd: supported in 100% of " in found["H6"].explanation
    assert "Without" not in found["H8"].explanation
    assert "Without" not in judged([claim], frame)["H6"].explanation  # nobody's finding
    at_another_rate = judged([claim, CLAIMS["H8"]], frame.assign(**{"optimizer.lr": 0.1}))
    assert "Without" not in at_another_rate["H6"].explanation


LEVELS = {
    "H1": {"threshold": [0.72, 0.70, 0.74], "training scores": ["train/accuracy", "train/accuracy_end"],
           "duration": [1, 3], "supported limit": [0.8, 0.7, 0.9]},
    "H3": {"window": [20, 10, 30], "training scores": ["train/accuracy_end", "train/accuracy"],
           "margin": [-0.003, -0.0015, -0.006]},
    "H4": {"window": [20, 10, 30], "training scores": ["train/accuracy", "train/accuracy_end"],
           "margin": [1.1, 1.1**0.5, 1.1**2]},
    "H5": {"window": [20, 10, 30], "training scores": ["train/loss", "train/loss_end"],
           "learning by": ["train/loss", "train/accuracy"], "supported limit": [0.8, 0.7, 0.9]},
    "H9": {"threshold": [0.70, 0.68, 0.72], "training scores": ["train/accuracy", "train/accuracy_end"],
           "duration": [1, 3], "much before": [75, 50, 90], "supported limit": [0.8, 0.7, 0.9]},
}  # fmt: skip
ARGUMENTS = {"threshold": "threshold", "window": "window_epochs", "duration": "sustained_epochs",
             "much before": "by_epoch", "training scores": "curve", "learning by": "curve"}  # fmt: skip


@pytest.mark.parametrize("claim_id", LEVELS)
def test_analysis_choices_have_the_levels_of_the_specification(claim_id):
    part, found = CLAIMS[claim_id].parts[0], {}
    for choice, levels in levels_of(part).items():
        for level in levels:
            changed = at_levels(part, {choice: level})
            if choice == "margin":
                value = next(iter(changed.refuted.values()))
            elif choice == "supported limit":
                value = changed.supported["above"]
                assert changed.mixed == {"below": value}
            else:
                value = getattr(changed.statistic, ARGUMENTS[choice])
            found.setdefault(choice, []).append(value)
    stated = {"window": 20, "duration": 1}  # None: what the function has
    found = {choice: [stated.get(choice) if value is None else value for value in of] for choice, of in found.items()}
    assert found == {choice: of if isinstance(of[0], str) else pytest.approx(of)
                     for choice, of in LEVELS[claim_id].items()}  # fmt: skip


def test_learning_by_accuracy_at_the_end_of_an_epoch_is_one_specification():
    part = at_levels(CLAIMS["H5"].parts[0], {"training scores": "end of epoch", "learning by": "accuracy"})
    assert part.statistic.curve == "train/accuracy_end"
    frame = study([({}, np.repeat([[400 / 614 + 0.019], [400 / 614 + 0.021]], 10, axis=0) * np.ones(100))])
    assert part.statistic.of(frame).tolist() == [1.0] * 10 + [0.0] * 10


def test_a_verdict_is_the_first_of_its_specifications():
    others = [(arm | STANDARD, table) for arm, table in BATCHES]
    for arms in (BATCHES, [*others, *BATCHES], BATCHES[:1], [*others, BATCHES[0]]):
        for found in judged(CLAIMS.values(), study(arms)).values():
            assert found.specifications.empty == (found.outcome == "untestable")
            if len(found.specifications):
                assert found.specifications["outcome"].iloc[0] == found.outcome
                assert f"{found.outcome} in " in found.explanation


def opposite(claim, name):
    parts = [part.model_copy(update={"supported": part.refuted, "refuted": part.supported}) for part in claim.parts]
    return claim.model_copy(update={"id": name, "parts": parts})


def test_claims_that_never_hold_together_are_named():
    found = tables(judged([SMALL, opposite(SMALL, "not")], study([(SGD, curves(0.6))])))
    assert holding_together(found).startswith("0 of 36 specifications make all 2 claims true (H8 and not); at most 1")
    found["not"] = found["not"].assign(threshold="elsewhere")
    assert holding_together(found) == "No specification has the runs of all claims (H8 and not)."


def test_claims_that_state_other_curves_meet_in_the_same_specifications():
    swapped = study([(SGD, curves(0.6))]).assign(**{"train/accuracy_end": list(curves(0.9))})
    other = opposite(with_statistic(SMALL, curve="train/accuracy_end"), "ended")
    # Running scores support the one, those at the end of the epoch the other: never both, whatever each states.
    found = tables(judged([SMALL, other], swapped))
    assert list(found["H8"]["training scores"].unique()) == ["running", "end of epoch"]
    assert list(found["ended"]["training scores"].unique()) == ["end of epoch", "running"]
    assert holding_together(found).startswith("0 of 36 specifications")


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
