"""What other specifications make of a verdict: data settings, analysis choices, headline, claims that hold together."""

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.multiverse import headline_of, holding_together, levels_of
from tests.analysis.conftest import study
from tests.analysis.test_verdicts import (
    BATCHES,
    CLAIMS,
    SGD,
    SMALL,
    STANDARD,
    curves,
    judged,
    verdict,
    with_statistic,
)


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
        for changed in levels.values():
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
    ended = levels_of(CLAIMS["H5"].parts[0])["training scores"]["end of epoch"]
    part = levels_of(ended)["learning by"]["accuracy"]
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
