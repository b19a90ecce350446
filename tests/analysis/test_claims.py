"""Every claim file: its rule on planted truth; which files are refused."""

import math

import numpy as np
import pytest
import yaml

from pima_hp.analysis.claims import Outcome, load_claims
from pima_hp.analysis.curves import entropy
from pima_hp.analysis.selection import default_settings
from pima_hp.analysis.verdicts import judge
from pima_hp.config.options import CONF
from pima_hp.errors import ConfigurationError
from tests.analysis.conftest import arms_of, study

CLAIMS = {claim.id: claim for claim in load_claims()}
R, E = 100, 100


SUPPORTED, REFUTED, MIXED, UNDECIDED, UNTESTABLE = Outcome
GRADIENT = "initial/gradient_norm/layer1"
SHARE = {0.95: SUPPORTED, 0.30: REFUTED, 0.50: MIXED, 0.65: MIXED, 0.80: UNDECIDED}
RATIO = {2.0: SUPPORTED, 1.0: REFUTED, 1.1: UNDECIDED}
# Claim -> truth (a share of runs, a ratio, a slope with its spread over seeds) -> outcome of 100 replicates.
PLANTED = dict.fromkeys(["H1", "H2", "H5", "H6", "H8", "H9"], SHARE) | dict.fromkeys(["H4", "H4a"], RATIO) | {
    "H3": {(-0.01, 0.01): SUPPORTED, (-0.001, 0.001): SUPPORTED, (0.0, 0.001): REFUTED, (0.0, 0.03): UNDECIDED},
    "H3a": {(-0.01, 0.01): SUPPORTED, (-0.001, 0.001): REFUTED, (-0.003, 0.001): UNDECIDED},
    "H7": {0.01: SUPPORTED, 0.5: REFUTED, 0.1: UNDECIDED},
}  # fmt: skip


def events(statistic, k):
    """R curves of which k show the event."""
    arguments = statistic.arguments
    level = arguments.get("threshold", entropy(268 / 768) - 0.02)
    above = statistic.name in ("does_not_learn", "exceeds", "reaches")
    yes = np.arange(R)[:, None] < k
    return np.where(yes == above, level + 0.05, level - 0.05) * np.ones((R, E))


def plant(claim, theta):
    """Runs of each configuration of the claim such that its quantities are theta."""
    rng, found = np.random.default_rng(5), {}
    noise = rng.normal(0, 1, (R, 1))
    for part in claim.parts:
        for place, arm in enumerate([*part.where, *part.over]):
            if claim.id == "H7":
                found[repr(arm)] = arm, np.ones((R, E))  # a loss of 1: nothing learns
            elif part.contrast == "share":
                found[repr(arm)] = arm, events(part.statistic, round(theta * R))
            elif part.contrast == "slope":
                slopes = theta[0] + theta[1] * (noise - noise.mean()) / noise.std()
                found[repr(arm)] = arm, 0.7 + slopes * math.log2(arm[part.along]) * np.ones(E)
            elif part.contrast == "ratio":
                scale = 0.02 * (theta if place < len(part.where) else 1) * np.exp(rng.normal(0, 0.2, (R, 1)))
                found[repr(arm)] = arm, 0.7 + scale * rng.normal(size=(R, E))
            elif repr(arm) not in found:
                found[repr(arm)] = arm, 0.5 * np.ones((R, E))
    frame = study(list(found.values()))
    factor = 1.0 if claim.id != "H7" else np.where(frame["activation"] == "relu", 1.0, theta)
    return frame.assign(**{GRADIENT: factor * np.exp(rng.normal(0, 0.2, len(frame)))})


@pytest.mark.parametrize("path", sorted((CONF / "claim").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_rule_finds_planted_truth_falsehood_and_doubt(path):
    claim, found = CLAIMS[path.stem], {}
    for theta, expected in PLANTED[path.stem].items():
        (verdict,) = judge([claim], plant(claim, theta), np.random.default_rng(0), 1000)
        assert verdict.outcome == expected, f"planted {theta}: {verdict.reason}"
        found[verdict.outcome] = verdict
    assert {SUPPORTED, REFUTED, UNDECIDED} <= set(found)
    assert found[UNDECIDED].replicates_needed > 10
    assert found[SUPPORTED].survives
    assert found[UNDECIDED].survives is None
    if MIXED in found:
        assert (found[MIXED].p, found[MIXED].survives, found[MIXED].replicates_needed) == (None, None, None)


def test_all_claims_about_a_share_of_runs_have_the_same_limits():
    limits = [part.limits for claim in CLAIMS.values() for part in claim.parts if part.supported
              and part.contrast in ("share", "earlier") and not part.descriptive]  # fmt: skip
    assert len(limits) == 15
    assert all(of == {SUPPORTED: {"above": 0.80}, REFUTED: {"below": 0.50}, MIXED: {"below": 0.80}} for of in limits)


@pytest.mark.parametrize(("learning", "outcome"), [(0.9, REFUTED), (0.5, SUPPORTED), (0.0, SUPPORTED)])
def test_a_network_that_learns_refutes_that_its_gradient_vanishes(learning, outcome):
    claim = CLAIMS["H7"]
    lines = {repr(part.where): part for part in claim.parts if part.refuted and not part.supported}
    arms = [(arm, events(lines[repr([arm])].statistic, round(learning * R)) if repr([arm]) in lines
             else np.ones((R, E))) for arm in arms_of(claim)]  # fmt: skip
    frame = study(arms)
    with_gradient = frame.assign(**{GRADIENT: np.where(frame["activation"] == "relu", 1.0, 0.01)})
    (verdict,), (without,) = (judge([claim], of, np.random.default_rng(0), 200) for of in (with_gradient, frame))
    assert verdict.outcome == outcome
    assert without.outcome == (REFUTED if outcome == REFUTED else UNTESTABLE)
    said = ["sigmoid learns: yes", "tanh learns: yes"]
    assert verdict.qualifiers == (said if outcome == REFUTED else [])
    if without.outcome == UNTESTABLE:
        assert f"the curve {GRADIENT} must be recorded" in without.reason
    # The rescue runs are descriptive: without them the claim has the same outcome.
    (alone,) = judge(
        [claim], with_gradient[with_gradient["config_id"].isin(["c0", "c1", "c2"])], np.random.default_rng(0), 200
    )
    assert alone.outcome == outcome


@pytest.mark.parametrize(("slope", "said"), [(0.02, "reversed"), (0.0, "no difference"), (-0.02, None)])
def test_h3a_says_whether_the_effect_is_reversed_or_gone(slope, said):
    (verdict,) = judge([CLAIMS["H3a"]], plant(CLAIMS["H3a"], (slope, 0.001)), np.random.default_rng(0), 1000)
    parts = [part.name for part in CLAIMS["H3a"].parts]
    assert verdict.qualifiers == ([f"{name}: {said}" for name in parts] if said else [])


def test_the_share_of_the_volatility_ratio_that_shuffling_removes():
    claim = CLAIMS["H4a"]
    rng, arms = np.random.default_rng(3), []
    for size in (5, 10, 16, 32):
        for is_shuffled, log_ratio in ((True, 0.05), (False, 0.2)):
            scale = 0.02 * np.exp(log_ratio * (size < 16))
            arm = claim.where | {"batch.size": size, "batch.shuffle": is_shuffled}
            arms.append((arm, 0.7 + scale * rng.normal(size=(R, E))))
    removed = judge([claim], study(arms), np.random.default_rng(0), 1000)[0].estimates[1]
    assert removed.value == pytest.approx(0.75, abs=0.12)
    assert removed.lower < 0.75 < removed.upper < 1
    (shuffled,) = judge([claim], study(arms[::2]), np.random.default_rng(0), 1000)  # descriptive: not needed
    assert (shuffled.outcome, shuffled.estimates[1].value) == (REFUTED, None)


def test_h4_is_about_rows_in_fixed_order():
    rng = np.random.default_rng(0)
    arms = [({"activation": "relu", "batch.size": size, "batch.shuffle": True}, 0.7 + 0.02 * rng.normal(size=(30, E)))
            for size in (5, 10, 16, 32)]  # fmt: skip
    assert judge([CLAIMS["H4"]], study(arms), rng, 200)[0].outcome == UNTESTABLE


def test_flat_curves_have_no_volatility_to_compare():
    sizes = [({"activation": "relu", "batch.size": size}, np.full((30, E), 0.65)) for size in (5, 10, 16, 32)]
    (verdict,) = judge([CLAIMS["H4"]], study(sizes), np.random.default_rng(0), 200)
    assert verdict.outcome == UNTESTABLE
    assert "in 30 of 30 replicates there is no variation to compare: flat curves" in verdict.reason
    assert "pima-hp-train" not in verdict.reason
    still = [(arm, curves + (np.arange(30)[:, None] < 16) * 0.01 * np.random.default_rng(n).normal(size=(30, E)))
             for n, (arm, curves) in enumerate(sizes)]  # fmt: skip
    (verdict,) = judge([CLAIMS["H4"]], study(still), np.random.default_rng(0), 200)
    assert verdict.outcome != UNTESTABLE


@pytest.mark.parametrize(("n", "outcome"), [(15, UNDECIDED), (16, SUPPORTED)])
def test_too_few_replicates_for_a_limit_are_said(n, outcome):
    claim = CLAIMS["H8"]
    frame = study([(claim.parts[0].where[0], np.full((n, E), 0.6))])
    (verdict,) = judge([claim], frame, np.random.default_rng(0), 200)
    assert verdict.outcome == outcome
    said = ["to support it takes 16 replicates even if all agree"]
    assert [text for text in verdict.qualifiers if "replicates" in text] == (said if n < 16 else [])


def test_the_articles_claims_are_all_there():
    assert list(CLAIMS) == ["H1", "H2", "H3", "H3a", "H4", "H4a", "H5", "H6", "H7", "H8", "H9"]
    assert {claim.id for claim in CLAIMS.values() if claim.family == "exploratory"} == {"H3a", "H4a"}


@pytest.mark.parametrize(
    ("experiment", "claims"), [("article_multiverse", [*{*CLAIMS} - {"H7"}]), ("article_full", [*CLAIMS])]
)
def test_a_sweep_makes_the_runs_of_the_claims(experiment, claims):
    grids = yaml.safe_load((CONF / f"experiment/{experiment}.yaml").read_text())["hydra"]["sweeper"]["grids"]
    keys = ("batch.size", "trainer.max_epochs", "optimizer.lr", "batch.shuffle", "activation", "optimizer",
            "model.initialization", "data.scaling")  # fmt: skip
    asked = {key: default_settings()[key] for key in keys} | {"activation": "relu", "optimizer": "rmsprop"}
    for arm in [arm for claim_id in claims for arm in arms_of(CLAIMS[claim_id])]:
        wanted = asked | arm
        assert any(
            all(float_of(wanted[key]) in map(float_of, grid.get(key, [asked[key]])) for key in wanted) for grid in grids
        ), arm


def test_the_experiment_that_the_claims_name_trains_the_runs_of_all_of_them():
    assert {claim.command for claim in CLAIMS.values()} == {"pima-hp-train -m experiment=article_full n_replicates=100"}
    content = yaml.safe_load((CONF / "experiment/article_full.yaml").read_text())
    assert (content["study"], content["defaults"]) == ("article", [{"override /diagnostics": "initialization"}])


def float_of(value):
    try:
        return round(float(value), 12)
    except ValueError:
        return value


GOOD = {
    "id": "X1", "sentence": "It learns.", "source": "me", "family": "exploratory",
    "statistic": {"name": "learns", "curve": "train/loss"}, "contrast": "share",
    "parts": [{"name": "relu", "where": {"activation": "relu"}}],
    "supported": {"above": 0.5}, "refuted": {"below": 0.5},
}  # fmt: skip
REACHES = {"name": "reaches", "curve": "train/accuracy", "threshold": 0.7}
FINAL = {"name": "final_score", "curve": "val/loss"}


def write(folder, name="X1.yaml", **changes):
    folder.mkdir(exist_ok=True)
    content = {key: value for key, value in (GOOD | changes).items() if value is not None}
    (folder / name).write_text(yaml.safe_dump(content))
    return folder


def test_a_reader_adds_a_claim_by_adding_a_file(tmp_path):
    claims = load_claims(extra=write(tmp_path / "mine"))
    assert [claim.id for claim in claims] == [*CLAIMS, "X1"]


BAD = [
    ({"statistic": {"name": "lerns", "curve": "train/loss"}}, ["statistic", "learns, "]),
    ({"statistic": REACHES | {"treshold": 0.7}}, ["statistic.treshold"]),
    ({"statistic": {"name": "reaches", "curve": "train/accuracy"}}, ["statistic", "threshold"]),
    ({"statistic": REACHES | {"window_epochs": 10}}, ["statistic", "window_epochs"]),
    ({"statistic": REACHES | {"by_epoch": 0}}, ["statistic.by_epoch", "greater than or equal to 1"]),
    ({"statistic": REACHES | {"threshold": "0.7"}}, ["statistic.threshold", "number"]),
    ({"statistic": FINAL}, ["relu: share", "exceeds, learns"]),
    ({"statistic": None}, ["relu: must have a statistic"]),
    ({"family": "secondary"}, ["family: must be 'primary' or 'exploratory'"]),
    ({"margn": 1.0}, ["margn: no such setting"]),
    ({"supported": None}, ["parts: must have one with `supported`"]),
    ({"supported": {"above": "__import__('os')"}}, ["supported.above", "number"]),
    ({"supported": {"abov": 1}}, ["supported", "{above: 0.80}", "abov"]),
    ({"supported": {}}, ["supported", "{above: 0.80}"]),
    ({"supported": {"all": "lower > 0.5"}}, ["supported", "{above: 0.80}", "lower > 0.5"]),  # of earlier versions
    ({"parts": [{"name": "a", "where": "relu"}]}, ["parts.0.where.0", "dictionary"]),
    ({"parts": [{"name": "a", "where": [{"batch.size": 5}, {"batch.size": 10}]}]}, ["a: share must be of one conf"]),
    ({"parts": [{"name": "a", "descriptive": True}]}, ["parts: must have one with `supported` that is not desc"]),
    ({"parts": [{"name": "a", "over": {"batch.size": 5}}]}, ["a: over must be given for earlier, difference, ratio"]),
    ({"contrast": "slope", "statistic": FINAL}, ["relu: slope must have `along`"]),
    ({"data": "c62fdc4"}, ["data", "shipped|any"]),
    ({"id": "X2"}, ["id: must equal the file name", "'X2'"]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), BAD, ids=[" ".join(words)[:40] for _, words in BAD])
def test_a_bad_file_is_refused_with_one_line(tmp_path, changes, words):
    with pytest.raises(ConfigurationError) as caught:
        load_claims(extra=write(tmp_path / "mine", **changes))
    (problem,) = caught.value.problems
    first, *others = words
    assert problem.startswith(f"mine/X1.yaml: {first}")
    assert all(word in problem for word in others), problem


@pytest.mark.parametrize(("content", "told"), [("id: [", "YAML"), ("[1, 2]", "dictionary"), ("{}", "must be given")])
def test_a_file_that_holds_no_claim_and_a_folder_without_files_are_refused(tmp_path, content, told):
    with pytest.raises(ConfigurationError, match="must be a folder of claims"):
        load_claims(extra=tmp_path)
    (tmp_path / "X1.yaml").write_text(content)
    with pytest.raises(ConfigurationError, match=rf"X1.yaml: .*{told}"):
        load_claims(extra=tmp_path)


def test_a_file_that_would_expand_without_end_is_refused(tmp_path):
    folder = write(tmp_path / "mine")
    aliases = "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(9))
    (folder / "bomb.yaml").write_text(f"a: &a [x]\n{aliases}")
    with pytest.raises(ConfigurationError, match="aliases"):
        load_claims(extra=folder)


def test_numbers_are_those_that_hydra_reads(tmp_path):
    folder = write(tmp_path / "mine")
    path = folder / "X1.yaml"
    path.write_text(path.read_text() + "where: {optimizer.lr: 1e-3, data.val_fraction: .2}\n")
    assert load_claims(extra=folder)[-1].where == {"optimizer.lr": 0.001, "data.val_fraction": 0.2}
