"""Rules: when they hold, how many replicates they need, their p values; corrections for many claims."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from pima_hp.analysis.decisions import Condition, Rule, benjamini_hochberg, holm
from pima_hp.analysis.intervals import Share, bootstrap


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


def test_holm_and_benjamini_hochberg_known_answers():
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert holm([0.6, 0.9]) == pytest.approx([1, 1])
    assert benjamini_hochberg([0.6, 0.9, 0.01]) == pytest.approx(stats.false_discovery_control([0.6, 0.9, 0.01]))
    assert holm([]).size == benjamini_hochberg([]).size == 0


def test_equivalence_is_two_one_sided_tests():
    sample = np.random.default_rng(0).normal(0.1, 1, 200)
    estimate = bootstrap(sample, np.random.default_rng(0))

    def equivalent(margin):
        return Condition("within", "<", margin).holds(estimate, alpha=0.05)

    margins = list(filter(equivalent, np.linspace(0.05, 0.6, 56)))
    p_values = [stats.ttest_1samp(sample, margin, alternative="less").pvalue for margin in margins]
    assert max(p_values) == pytest.approx(0.05, abs=0.02)
    assert not equivalent(0.05)
