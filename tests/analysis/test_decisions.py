"""Limits: when they hold, how many replicates they need, their p values; corrections for many claims."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from pima_hp.analysis.claims import Outcome, fewest, needed, outcome_of, p_value, within
from pima_hp.analysis.intervals import Share, benjamini_hochberg, bootstrap, holm

SUPPORTED, REFUTED, MIXED, UNDECIDED, UNTESTABLE = Outcome


def holds(limits, inference):
    return within(limits, inference.interval())


def test_limits_hold_where_all_of_the_interval_lies_within_them():
    assert holds({"above": 0.8}, Share(90, 100))
    assert not holds({"above": 0.85}, Share(90, 100))
    assert holds({"below": 0.2}, Share(10, 100))
    assert holds({"above": 0.4, "below": 0.6}, Share(500, 1000))
    assert not holds({"above": 0.45, "below": 0.6}, Share(50, 100))
    assert not holds(None, Share(90, 100))


@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        ((SUPPORTED, SUPPORTED), SUPPORTED),
        ((SUPPORTED, UNDECIDED), UNDECIDED),
        ((SUPPORTED, UNDECIDED, REFUTED, UNTESTABLE), REFUTED),
        ((SUPPORTED, UNDECIDED, MIXED), MIXED),
        ((REFUTED, MIXED), REFUTED),
        ((SUPPORTED, UNDECIDED, MIXED, UNTESTABLE), UNTESTABLE),
    ],
)
def test_a_claim_needs_all_its_parts_and_one_refutes_it(parts, outcome):
    assert outcome_of(parts) == outcome


def test_replicates_needed_of_a_share_are_the_fewest_at_which_the_limits_hold():
    undecided = Share(74, 100)
    found = needed({"below": 0.8}, undecided)
    assert holds({"below": 0.8}, Share(0.74 * found, found))
    assert not holds({"below": 0.8}, Share(0.74 * (found - 1), found - 1))
    assert needed({"above": 0.8}, undecided) == needed(None, undecided) == math.inf


def test_some_limits_are_out_of_reach_of_few_replicates():
    assert [fewest({"above": 0.8}, Share(n / 2, n)) for n in (10, 15, 16, 100)] == [16, 16, 0, 0]
    assert fewest({"below": 0.1}, Share(0, 34)) == 35
    assert fewest({"above": 0.8}, bootstrap(np.arange(10), np.random.default_rng(0))) == 0
    assert fewest(None, Share(5, 10)) == fewest({"above": 1}, Share(5, 10)) == 0


@pytest.mark.parametrize("limits", [{"above": 0.95}, {"below": 0.05}, {"above": 0.5}, {"above": 0.4, "below": 0.6}])
def test_replicates_needed_are_more_than_there_are(limits):
    # at the ends Wilson's interval is far from symmetric: half its width once gave numbers below the present n
    for share in (Share(k, 100) for k in range(101)):
        assert holds(limits, share) or needed(limits, share) > 100


def test_replicates_needed_of_a_mean_use_the_half_that_faces_the_limit():
    skewed = bootstrap(np.random.default_rng(0).gamma(0.3, 1, 30), np.random.default_rng(1))
    (low, high), value = skewed.interval(), skewed.estimate
    assert high - value > 1.3 * (value - low)
    bound = high - 0.01 * (high - value)
    wanted = math.ceil(30 * ((high - value) / (bound - value)) ** 2)
    assert needed({"below": bound}, skewed) == max(31, wanted) < 33
    bound = (low + value) / 2
    wanted = math.ceil(30 * ((value - low) / (value - bound)) ** 2)
    assert needed({"above": bound}, skewed) == pytest.approx(wanted, abs=1)


def test_a_p_value_is_that_of_the_test_that_the_interval_inverts():
    z = (0.9 - 0.8) / math.sqrt(0.8 * 0.2 / 100)  # Wilson's interval inverts the score test
    assert p_value({"above": 0.8}, Share(90, 100)) == pytest.approx(2 * (1 - NormalDist().cdf(z)), rel=1e-3)
    assert p_value({"above": 0.8}, Share(900, 1000)) < 1e-12 * 1.01  # no floor of resamples
    assert p_value({"above": 0.8}, Share(10, 100)) == p_value(None, Share(90, 100)) == 1
    mean = bootstrap(np.random.default_rng(0).normal(9, 1, 100), np.random.default_rng(0), 10_000)
    assert p_value({"above": 0}, mean) == mean.smallest_alpha
    assert 2e-4 < mean.smallest_alpha < 5e-4


def test_holm_and_benjamini_hochberg_known_answers():
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(p).tolist() == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert holm([0.6, 0.9]).tolist() == pytest.approx([1, 1])
    expected = pytest.approx(stats.false_discovery_control([0.6, 0.9, 0.01]))
    assert benjamini_hochberg([0.6, 0.9, 0.01]).tolist() == expected
    assert holm([]).size == benjamini_hochberg([]).size == 0
