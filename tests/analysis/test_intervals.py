"""Coverage on simulated data with known truth; known answers; randomness is the argument and nothing else."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from pima_hp.analysis import comparison
from pima_hp.analysis.bootstrap import Resamples, Share, bootstrap, nadeau_bengio
from pima_hp.analysis.curves import log_volatility, restricted_epochs, slope_on_log2
from pima_hp.analysis.rules import Condition

SIZES = np.array([5, 10, 16, 32])
R = 60


def share(rng):
    return Share(rng.binomial(100, 0.3), 100).interval(), 0.3


def skewed_mean(rng):
    return bootstrap(rng.gamma(4, 1, R), rng, 1000).interval(), 4.0


def median(rng):
    sample = rng.normal(1, 1, R)
    return bootstrap(sample, rng, 1000, lambda table: np.median(table, axis=1)).interval(), 1.0


def paired_difference(rng):
    seeds = rng.normal(0, 3, R)  # shared by both arms: paired, the interval is narrow and still covers
    low, high = bootstrap(seeds + rng.normal(0.5, 1, R) - seeds, rng, 1000).interval()
    assert high - low < 1.5
    return (low, high), 0.5


def slope(rng):
    values = -0.01 * np.log2(SIZES) + rng.normal(0, 0.05, (R, 1)) + rng.normal(0, 0.02, (R, 4))
    return bootstrap(slope_on_log2(values, SIZES), rng, 1000).interval(), -0.01


def volatility_ratio(rng):
    loud, quiet = rng.normal(0.7, 0.02, (R, 20)), rng.normal(0.7, 0.01, (R, 20))
    logs = log_volatility(loud, 10**9) - log_volatility(quiet, 10**9)
    return bootstrap(logs, rng, 1000).mapped(np.exp).interval(), 2.0


def order(rng):
    probability = NormalDist().cdf(0.5 / math.sqrt(2))
    pair = rng.normal(0.5, 1, R), rng.normal(0, 1, R)
    return comparison.win_probability(*pair, rng, 1000).interval(), probability


def restricted_mean(rng):
    first = rng.geometric(0.1, R)  # epoch in which the accuracy is first reached
    curves = (np.arange(1, 21) >= first[:, None]).astype(float)
    truth = sum(0.9**epoch for epoch in range(20))  # E min(T, 20) = sum over e < 20 of P(T > e)
    return bootstrap(restricted_epochs(curves, 0.5), rng, 1000).interval(), truth


def new_patients(rng):
    n_train, n_test, splits = 80, 20, 15
    shared = n_test / (n_train + n_test)  # correlation that Nadeau and Bengio assume
    scores = rng.normal() * math.sqrt(shared) + rng.normal(0, math.sqrt(1 - shared), splits)
    return nadeau_bengio(scores, n_train, n_test), 0.0


SIMULATIONS = [
    share, skewed_mean, median, paired_difference, slope, volatility_ratio, order, restricted_mean, new_patients
]  # fmt: skip


def coverage(simulate, n):
    rng = np.random.default_rng(20)
    intervals = [simulate(rng) for _ in range(n)]
    return float(np.mean([low <= truth <= high for (low, high), truth in intervals]))


@pytest.mark.parametrize("simulate", SIMULATIONS, ids=lambda function: function.__name__)
def test_an_interval_at_95_percent_covers_the_truth(simulate):
    # 2 points are allowed as in the long test, and four standard errors of a share of 300
    assert abs(coverage(simulate, 300) - 0.95) < 0.02 + 4 * math.sqrt(0.95 * 0.05 / 300)


@pytest.mark.slow
@pytest.mark.parametrize("simulate", SIMULATIONS, ids=lambda function: function.__name__)
def test_coverage_is_95_percent_within_2_points(simulate):
    assert coverage(simulate, 2000) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (74, 100), (100, 100)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_that_of_scipy(successes, n, level):
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert Share(successes, n).interval(level) == pytest.approx((expected.low, expected.high))


def test_bca_is_that_of_scipy():
    sample = np.random.default_rng(0).gamma(1, 1, 40)
    own = bootstrap(sample, np.random.default_rng(1), 50_000).interval()
    scipys = stats.bootstrap((sample,), np.mean, n_resamples=50_000, rng=np.random.default_rng(2)).confidence_interval
    assert own == pytest.approx(tuple(scipys), abs=0.015)


def test_the_generator_and_nothing_else_decides():
    sample = np.random.default_rng(0).normal(size=30)
    np.random.seed(1)  # noqa: NPY002 the global state has no effect
    first = bootstrap(sample, np.random.default_rng(1), 500).interval()
    np.random.seed(2)  # noqa: NPY002
    assert bootstrap(sample, np.random.default_rng(1), 500).interval() == first
    assert bootstrap(sample, np.random.default_rng(2), 500).interval() != first


def test_constant_data_give_a_point_and_a_statistic_that_leaving_one_out_cannot_move_gives_quantiles():
    assert bootstrap(np.full(20, 0.7), np.random.default_rng(0)).interval() == pytest.approx((0.7, 0.7))
    sample = np.repeat([0.0, 1.0], [10, 3])
    found = bootstrap(sample, np.random.default_rng(0), 2000, lambda table: np.median(table, axis=1))
    assert math.isnan(found.acceleration)
    assert found.interval() == (0.0, pytest.approx(0.0, abs=1))
    assert isinstance(found, Resamples)


def test_seeds_are_blocks():
    values = np.random.default_rng(0).normal(0, 5, (50, 1)) + np.array([0.0, 1.0])
    low, high = bootstrap(values, np.random.default_rng(0), 500, lambda t: (t[..., 1] - t[..., 0]).mean(1)).interval()
    assert (low, high) == pytest.approx((1, 1))


def test_many_blocks_are_one_bootstrap(monkeypatch):
    sample = np.random.default_rng(0).normal(size=30)
    whole = bootstrap(sample, np.random.default_rng(1), 500)
    monkeypatch.setattr("pima_hp.analysis.bootstrap._NUMBERS_AT_ONCE", 100)
    parts = bootstrap(sample, np.random.default_rng(1), 500)
    assert parts.interval() == pytest.approx(whole.interval())
    assert parts.acceleration == pytest.approx(whole.acceleration)


def test_nadeau_bengio_never_falls_below_half_the_spread():
    scores = np.random.default_rng(0).normal(0, 1, 10_000)
    low, high = nadeau_bengio(scores, 614, 154)
    assert (high - low) / 2 / 1.96 == pytest.approx(0.5, abs=0.02)
    with pytest.raises(ValueError, match="at least 2 splits; found 1"):
        nadeau_bengio(scores[:1], 614, 154)


def test_holm_and_benjamini_hochberg_known_answers():
    p = [0.01, 0.04, 0.03, 0.005]
    assert comparison.holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert comparison.benjamini_hochberg(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert comparison.holm([0.6, 0.9]) == pytest.approx([1, 1])
    assert comparison.holm([]).size == comparison.benjamini_hochberg([]).size == 0


def test_effect_reads_as_bouthillier_does():
    readings = {
        (0.55, 0.80): "significant and meaningful", (0.55, 0.70): "significant but not meaningful",
        (0.45, 0.80): "not significant", (0.1, 0.3): "significant and meaningful in the other direction",
    }  # fmt: skip
    assert {bounds: comparison.Effect("", 0.6, *bounds).reading for bounds in readings} == readings


def test_win_probability_counts_ties_half_and_is_not_sure_of_a_few_wins():
    rng = np.random.default_rng(0)
    assert comparison.win_probability([1, 2, 3, 3], [0, 2, 4, 3], rng).estimate == 0.5
    assert comparison.win_probability(np.ones(10), np.zeros(10), rng).interval()[0] == pytest.approx(0.722, abs=0.001)
    assert comparison.win_probability(np.ones(10), np.ones(10), rng).interval() == (0.5, 0.5)


def test_equivalence_is_two_one_sided_tests():
    sample = np.random.default_rng(0).normal(0.1, 1, 200)
    estimate = bootstrap(sample, np.random.default_rng(0))

    def equivalent(margin):
        return Condition("within", "<", margin).holds(estimate, alpha=0.05)

    margins = list(filter(equivalent, np.linspace(0.05, 0.6, 56)))
    p_values = [stats.ttest_1samp(sample, margin, alternative="less").pvalue for margin in margins]
    assert max(p_values) == pytest.approx(0.05, abs=0.02)
    assert not equivalent(0.05)


def test_replicates_needed():
    assert comparison.replicates_needed(100, 0.1, 0.05) == 400
    assert comparison.replicates_needed(100, 0.1, -0.01) == math.inf
