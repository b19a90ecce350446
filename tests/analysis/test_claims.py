"""Every claim file: its rule on planted truth; what a bad file is told; the grammar of rules."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pytest
import yaml

from pima_hp.analysis.bootstrap import Share, bootstrap
from pima_hp.analysis.claims import load_claims
from pima_hp.analysis.curves import entropy
from pima_hp.analysis.rules import Condition, Rule, Word, word_of
from pima_hp.analysis.verdicts import judge
from pima_hp.config.options import CONF
from pima_hp.errors import ConfigurationError
from tests.analysis.conftest import arms_of, study

CLAIMS = {claim.id: claim for claim in load_claims()}
R, E = 100, 100


@dataclass(frozen=True)
class Exact:
    """A truth: what an interval shrinks to."""

    estimate: float
    n: int = R

    def interval(self, _level=0.95):
        return self.estimate, self.estimate


def events(functional, k):
    """R curves of which k say yes."""
    arguments = functional.arguments
    level = arguments.get("threshold", entropy(268 / 768) - 0.02)
    above = functional.name in ("exceeds", "reaches")
    yes = np.arange(R)[:, None] < k
    return np.where(yes == above, level + 0.05, level - 0.05) * np.ones((R, E))


def plant(claim, theta):
    """Curves for each configuration of the claim such that its quantities are theta."""
    rng, found = np.random.default_rng(5), {}
    for part in claim.parts:
        for place, arm in enumerate([*part.where, *part.over]):
            if part.contrast == "share":
                found[repr(arm)] = arm, events(part.functional, round(theta * R))
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
    """Truths on both sides of each bound of the rules, and on it."""
    contrast = claim.parts[0].contrast
    bounds = {condition.bound for rule in (claim.supported, claim.refuted)
              for target, condition in rule.entries if target in ("all", "any", claim.parts[0].name)}  # fmt: skip
    if contrast == "share":
        return [0.0, *sorted(bounds), 1.0]
    if contrast == "ratio":
        return [bound * factor for bound in bounds for factor in (0.5, 1, 2)]
    return [bound + shift for bound in bounds for shift in (-0.02, -bound, 0, 0.02)]


def expected(claim, theta):
    exact = {part.name: theta for part in claim.parts}
    exact |= {part.name: (1 - np.sign(theta)) / 2 for part in claim.parts if part.contrast == "order"}
    return word_of(claim.supported, claim.refuted, {name: Exact(value) for name, value in exact.items()})


@pytest.mark.parametrize("path", sorted((CONF / "claim").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_rule_finds_planted_truth_falsehood_and_doubt(path):
    claim = CLAIMS[path.stem]
    parts = [part for part in claim.parts if part.awaits is None and not part.beside]
    if not parts:
        assert expected_word_without_runs(claim) == Word.UNTESTABLE
        return
    claim = claim.model_copy(update={"parts": parts})
    found = {}
    for theta in truths(claim):
        (verdict,) = judge([claim], plant(claim, theta), np.random.default_rng(0), 1000)
        assert verdict.word == expected(claim, theta), f"planted {theta}: {verdict.reason}"
        found[verdict.word] = verdict
    assert set(found) == {Word.SUPPORTED, Word.REFUTED, Word.UNDECIDED}
    assert found[Word.UNDECIDED].replicates_needed > 10
    assert found[Word.SUPPORTED].survives
    assert found[Word.UNDECIDED].survives is None


def expected_word_without_runs(claim):
    (verdict,) = judge([claim], study([({}, np.ones((R, E)))]), np.random.default_rng(0), 100)
    assert "which no run records yet" in verdict.reason
    return verdict.word


def test_the_articles_claims_are_all_there():
    assert list(CLAIMS) == ["H1", "H2", "H3", "H3a", "H4", "H4a", "H5", "H6", "H7", "H8", "H9"]
    assert {claim.id for claim in CLAIMS.values() if claim.family == "exploratory"} == {"H3a", "H4a"}


def test_the_multiverse_sweep_makes_the_runs_that_h3a_and_h4a_ask_for():
    grids = yaml.safe_load((CONF / "experiment/article_multiverse.yaml").read_text())["hydra"]["sweeper"]["grids"]
    asked = {
        "batch.size": 10,
        "trainer.max_epochs": 100,
        "optimizer.lr": 0.001,
        "batch.shuffle": False,
        "activation": "relu",
    }
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
    "functional": {"name": "learns", "curve": "train/loss"}, "contrast": "share",
    "parts": [{"name": "relu", "where": {"activation": "relu"}}],
    "supported": {"all": "lower > 0.5"}, "refuted": {"any": "upper < 0.5"},
}  # fmt: skip
REACHES = {"name": "reaches", "curve": "train/accuracy", "threshold": 0.7}


def write(folder, name="X1.yaml", **changes):
    folder.mkdir(exist_ok=True)
    content = {key: value for key, value in (GOOD | changes).items() if value is not None}
    (folder / name).write_text(yaml.safe_dump(content))
    return folder


def test_a_reader_adds_a_claim_by_adding_a_file(tmp_path):
    claims = load_claims(extra=write(tmp_path / "mine"))
    assert [claim.id for claim in claims] == [*CLAIMS, "X1"]


BAD = [
    ({"functional": {"name": "lerns", "curve": "train/loss"}},
     "functional.name: must be a known one; found 'lerns'; nearest: learns"),
    ({"functional": REACHES | {"treshold": 0.7}},
     "functional: argument of reaches: must be a known one; found 'treshold'; nearest: threshold"),
    ({"functional": {"name": "reaches", "curve": "train/accuracy"}}, "functional.threshold: must be given for reaches"),
    ({"functional": REACHES | {"by_epoch": 0}},
     "functional.by_epoch: must be a whole number of epochs from 1; found 0"),
    ({"functional": {"name": "maximum", "curve": "val/accuracy"}}, "relu: share must go with one of exceeds, learns"),
    ({"functional": None}, "relu: must have a functional and a contrast, its own or the claim's"),
    ({"sentence": None}, "sentence: must be given"),
    ({"family": "secondary"}, "family: must be one of primary, exploratory; found 'secondary'"),
    ({"margn": 1.0}, "margn: no such setting; nearest: margin"),
    ({"refuted": None}, "refuted: must be given"),
    ({"supported": {"all": "lower >> 1"}}, "supported: must be a condition such as `lower > 0.8`"),
    ({"supported": {"all": "__import__('os')"}}, "supported: must be a condition such as `lower > 0.8`"),
    ({"supported": {"all": "within margin"}}, "supported: must not name the margin of a claim without one"),
    ({"supported": "lower > 0.5"}, "supported: must be conditions by what they are about, such as `all: lower > 0.8`"),
    ({"supported": {"rellu": "lower > 0"}}, "supported: must be of all, any, relu; found 'rellu'; nearest: relu"),
    ({"where": {"batch.sise": 5}}, "where: must be of settings; found 'batch.sise'; nearest: batch.size"),
    ({"parts": [{"name": "a", "where": {"batch.sise": 5}}]},
     "parts.0.where: must be of settings; found 'batch.sise'; nearest: batch.size"),
    ({"parts": [{"name": "a", "where": {"batch.size": [5, 10]}}]}, "a: share must be of one configuration; found 2"),
    ({"parts": [{"name": "a"}, {"name": "a"}]}, "parts: must have different names"),
    ({"parts": [{"name": "a", "over": {"batch.size": 5}}]}, "a: over must be given for difference, ratio and order"),
    ({"contrast": "slope", "functional": {"name": "maximum", "curve": "val/loss"}}, "relu: slope must have `along`"),
    ({"functional": REACHES | {"threshold": "0.7"}}, "functional.threshold: must be a finite number; found '0.7'"),
    ({"functional": REACHES | {"threshold": [0.7]}}, "functional.threshold: must be a finite number; found [0.7]"),
    ({"functional": REACHES | {"threshold": True}}, "functional.threshold: must be a finite number; found True"),
    ({"data": "c62fdc4"}, "data: must be shipped, any, or the SHA-256 of a table, in quotes, at least its first"),
    ({"data": 12345678}, "data: must be shipped, any, or the SHA-256 of a table"),
    ({"where": {"activation": "reluu"}}, "where.activation: must be one of elu, "),
    ({"parts": [{"name": "a", "where": {"optimizer": ["adam", "adm"]}}]}, "parts.0.where.optimizer: must be one of "),
    ({"where": {"data.scaling": "standrd"}}, "where: data.scaling: must be one of none, standard, minmax; found"),
    ({"contrast": "difference", "functional": {"name": "maximum", "curve": "val/loss"},
      "parts": [{"name": "a", "where": {"batch.size": 5}, "over": {"batch.size": 5}}]},
     "a: over must not be of a configuration of where"),
    ({"id": "X2"}, "id: must be the name of the file and of no other claim; found 'X2'"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "line"), BAD, ids=[line[:40] for _, line in BAD])
def test_a_bad_file_is_refused_with_one_line(tmp_path, changes, line):
    with pytest.raises(ConfigurationError) as caught:
        load_claims(extra=write(tmp_path / "mine", **changes))
    (problem,) = caught.value.problems
    assert problem.startswith(f"mine/X1.yaml: {line}")


def test_all_bad_files_are_named_at_once(tmp_path):
    folder = write(tmp_path / "claim", sentence=None, source=None)
    (folder / "broken.yaml").write_text("id: [")
    (folder / "list.yaml").write_text("[1, 2]")
    with pytest.raises(ConfigurationError) as caught:
        load_claims(folder)
    assert [line.split(": ")[0] for line in caught.value.problems] == [
        "claim/X1.yaml", "claim/X1.yaml", "claim/broken.yaml", "claim/list.yaml"
    ]  # fmt: skip
    with pytest.raises(ConfigurationError, match="must be a folder of claims"):
        load_claims(extra=tmp_path / "absent")


def test_an_option_that_does_not_exist_is_named_with_the_nearest(tmp_path):
    with pytest.raises(ConfigurationError, match="found 'reluu'; nearest: relu"):
        load_claims(extra=write(tmp_path / "mine", where={"activation": "reluu"}))


def test_an_empty_file_is_told_in_one_line(tmp_path):
    folder = write(tmp_path / "mine")
    (folder / "empty.yaml").write_text("# nothing yet\n")
    with pytest.raises(ConfigurationError) as caught:
        load_claims(extra=folder)
    assert list(caught.value.problems) == ["mine/empty.yaml: must hold a claim; found an empty file"]


def rule(margin=None, **entries):
    return Rule(tuple((target, Condition.parsed(text, margin)) for target, text in entries.items()))


def test_rules_hold_as_they_read():
    low, high = {"a": Share(10, 100), "b": None}, {"a": Share(90, 100), "b": Share(80, 100)}
    assert rule(any="upper < 0.5").holds(low)
    assert not rule(all="upper < 0.5").holds(low)
    assert rule(all="lower > 0.7", a="estimate >= 0.9").holds(high)
    assert not rule().holds(high)
    assert rule(0.5, all="outside margin").holds(high)
    assert not rule(all="within 0.5").holds(high)
    assert str(rule(0.5, all="outside margin", a="lower >  0.70")) == "outside 0.5 (all) and lower > 0.7 (a)"


def test_replicates_needed_of_a_share_are_the_fewest_at_which_the_rule_holds():
    below, undecided = rule(all="upper < 0.80"), {"a": Share(74, 100)}
    found = below.needed(undecided)
    assert below.holds({"a": Share(0.74 * found, found)})
    assert not below.holds({"a": Share(0.74 * (found - 1), found - 1)})
    assert rule(all="lower > 0.80").needed(undecided) == math.inf
    assert rule(any="upper < 0.80").needed(undecided | {"b": Share(90, 100)}) == found


@pytest.mark.parametrize(
    "condition", ["lower > 0.95", "upper < 0.05", "lower > 0.5", "upper < 0.5", "within 0.5", "outside 0.5"]
)
def test_replicates_needed_are_more_than_there_are(condition):
    # at the ends Wilson's interval is far from symmetric: half its width once gave numbers below the present n
    for share in (Share(k, 100) for k in range(101)):
        if not rule(all=condition).holds({"a": share}):
            assert rule(all=condition).needed({"a": share}) > 100


def test_replicates_needed_of_a_mean_use_the_half_that_faces_the_bound():
    skewed = bootstrap(np.random.default_rng(0).gamma(0.3, 1, 30), np.random.default_rng(1))
    (low, high), value = skewed.interval(), skewed.estimate
    assert high - value > 1.3 * (value - low)
    bound = low - 0.1 * (value - low)
    assert rule(all=f"lower > {bound!r}").holds({"a": skewed})
    bound = high - 0.01 * (high - value)
    wanted = math.ceil(30 * ((high - value) / (bound - value)) ** 2)
    assert rule(all=f"upper < {bound!r}").needed({"a": skewed}) == max(31, wanted) < 33
    bound = (low + value) / 2
    wanted = math.ceil(30 * ((value - low) / (value - bound)) ** 2)
    assert rule(all=f"lower > {bound!r}").needed({"a": skewed}) == pytest.approx(wanted, abs=1)


def test_a_p_value_is_that_of_the_test_that_the_interval_inverts():
    z = (0.9 - 0.8) / math.sqrt(0.8 * 0.2 / 100)  # Wilson's interval inverts the score test
    p, at_most = rule(all="lower > 0.8").p_value({"a": Share(90, 100)})
    assert (p, at_most) == (pytest.approx(2 * (1 - NormalDist().cdf(z)), rel=1e-3), False)
    assert rule(all="lower > 0.8").p_value({"a": Share(900, 1000)})[0] < 1e-12 * 1.01  # no floor of resamples
    assert rule(all="lower > 0.8").p_value({"a": Share(10, 100)}) == (1.0, False)
    mean = bootstrap(np.random.default_rng(0).normal(9, 1, 100), np.random.default_rng(0), 10_000)
    assert rule(all="lower > 0").p_value({"a": mean}) == (mean.smallest_alpha, True)
    assert 2e-4 < mean.smallest_alpha < 5e-4


def test_any_of_k_parts_has_a_p_value_k_times_that_of_one():
    estimates = {"a": Share(60, 100), "b": Share(80, 100), "c": Share(81, 100)}
    one = rule(a="upper < 0.8").p_value(estimates)[0]
    assert rule(any="upper < 0.8").p_value(estimates)[0] == pytest.approx(3 * one, rel=1e-3)
    assert rule(all="lower > 0.4").p_value(estimates)[0] == pytest.approx(rule(a="lower > 0.4").p_value(estimates)[0])


def test_a_p_value_of_any_is_small_as_rarely_as_it_says():
    rng, none_true = np.random.default_rng(0), rule(any="upper < 0.8")
    found = [none_true.p_value({name: Share(rng.binomial(100, 0.8), 100) for name in "abcde"})[0] for _ in range(400)]
    assert np.mean(np.array(found) <= 0.10) < 0.10 + 0.03  # without the factor of 5: 0.22
