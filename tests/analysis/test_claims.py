"""Every claim file: its rule on planted truth; which files are refused."""

import math

import numpy as np
import pytest
import yaml

from pima_hp.analysis.claims import load_claims
from pima_hp.analysis.curves import entropy
from pima_hp.analysis.decisions import Outcome, outcome_of
from pima_hp.analysis.intervals import Resamples
from pima_hp.analysis.selection import default_settings
from pima_hp.analysis.verdicts import judge
from pima_hp.config.options import CONF
from pima_hp.errors import ConfigurationError
from tests.analysis.conftest import arms_of, study

CLAIMS = {claim.id: claim for claim in load_claims()}
R, E = 100, 100


def events(statistic, k):
    """R curves of which k show the event."""
    arguments = statistic.arguments
    level = arguments.get("threshold", entropy(268 / 768) - 0.02)
    above = statistic.name in ("exceeds", "reaches")
    yes = np.arange(R)[:, None] < k
    return np.where(yes == above, level + 0.05, level - 0.05) * np.ones((R, E))


def plant(claim, theta):
    """Curves for each configuration of the claim such that its quantities are theta."""
    rng, found = np.random.default_rng(5), {}
    for part in claim.parts:
        for place, arm in enumerate([*part.where, *part.over]):
            if part.contrast == "share":
                found[repr(arm)] = arm, events(part.statistic, round(theta * R))
            elif part.contrast == "slope":
                noise = rng.normal(0, 0.01, (R, 1))
                found[repr(arm)] = arm, 0.7 + theta * math.log2(arm[part.along]) + (noise - noise.mean()) * np.ones(E)
            elif part.contrast == "ratio":
                scale = 0.02 * (theta if place < len(part.where) else 1) * np.exp(rng.normal(0, 0.2, (R, 1)))
                found[repr(arm)] = arm, 0.7 + scale * rng.normal(size=(R, E))
            elif repr(arm) not in found:
                found[repr(arm)] = arm, 0.7 * np.ones((R, E))
    return study(list(found.values()))


def truths(claim):
    """Truths on both sides of each limit, and on it."""
    part = claim.parts[0]
    bounds = {bound for limits in (part.supported, part.refuted) for bound in limits.values()}
    if part.contrast == "share":
        return [0.0, *sorted(bounds), 1.0]
    if part.contrast == "ratio":
        return [bound * factor for bound in bounds for factor in (0.5, 1, 2)]
    return [bound + shift for bound in bounds for shift in (-0.02, 0, 0.02)]


def expected(claim, theta):
    exact = [(1 - np.sign(theta)) / 2 if part.contrast == "order" else theta for part in claim.parts]
    known = [Resamples(value, R, np.array([value])) for value in exact]
    return outcome_of([part.outcome(of) for part, of in zip(claim.parts, known, strict=True)])


@pytest.mark.parametrize("path", sorted((CONF / "claim").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_rule_finds_planted_truth_falsehood_and_doubt(path):
    claim = CLAIMS[path.stem]
    parts = [part for part in claim.parts if part.requires is None and not part.descriptive]
    if not parts:
        (verdict,) = judge([claim], study([({}, np.ones((R, E)))]), np.random.default_rng(0), 100)
        assert "which no run records yet" in verdict.reason
        assert verdict.outcome == Outcome.UNTESTABLE
        return
    claim = claim.model_copy(update={"parts": parts})
    found = {}
    for theta in truths(claim):
        (verdict,) = judge([claim], plant(claim, theta), np.random.default_rng(0), 1000)
        assert verdict.outcome == expected(claim, theta), f"planted {theta}: {verdict.reason}"
        found[verdict.outcome] = verdict
    assert set(found) == {Outcome.SUPPORTED, Outcome.REFUTED, Outcome.UNDECIDED}
    assert found[Outcome.UNDECIDED].replicates_needed > 10
    assert found[Outcome.SUPPORTED].survives
    assert found[Outcome.UNDECIDED].survives is None


def test_the_articles_claims_are_all_there():
    assert list(CLAIMS) == ["H1", "H2", "H3", "H3a", "H4", "H4a", "H5", "H6", "H7", "H8", "H9"]
    assert {claim.id for claim in CLAIMS.values() if claim.family == "exploratory"} == {"H3a", "H4a"}


def test_the_multiverse_sweep_makes_the_runs_that_h3a_and_h4a_ask_for():
    grids = yaml.safe_load((CONF / "experiment/article_multiverse.yaml").read_text())["hydra"]["sweeper"]["grids"]
    keys = ("batch.size", "trainer.max_epochs", "optimizer.lr", "batch.shuffle", "activation")
    asked = {key: default_settings()[key] for key in keys}
    for arm in [*arms_of(CLAIMS["H3a"]), *arms_of(CLAIMS["H4a"])]:
        wanted = asked | arm
        assert any(
            all(float_of(wanted[key]) in map(float_of, grid.get(key, [asked[key]])) for key in wanted) for grid in grids
        ), arm


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
    ({"supported": None}, ["relu: must have a statistic, a contrast and `supported`"]),
    ({"supported": {"above": "__import__('os')"}}, ["supported.above", "number"]),
    ({"supported": {"abov": 1}}, ["supported", "{above: 0.80}", "abov"]),
    ({"supported": {}}, ["supported", "{above: 0.80}"]),
    ({"supported": {"all": "lower > 0.5"}}, ["supported", "{above: 0.80}", "lower > 0.5"]),  # of earlier versions
    ({"parts": [{"name": "a", "where": "relu"}]}, ["parts.0.where.0", "dictionary"]),
    ({"parts": [{"name": "a", "where": [{"batch.size": 5}, {"batch.size": 10}]}]}, ["a: share must be of one conf"]),
    ({"parts": [{"name": "a", "descriptive": True}]}, ["parts: must have one that is not descriptive"]),
    ({"parts": [{"name": "a", "over": {"batch.size": 5}}]}, ["a: over must be given for difference, ratio and order"]),
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
