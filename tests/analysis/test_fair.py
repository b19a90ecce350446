"""Tuning judged by other seeds, tuning curves against enumeration and opda, coverage on simulated grids."""

from itertools import combinations

import numpy as np
import pytest
from opda.nonparametric import EmpiricalDistribution

from pima_hp.analysis.fair import TEST, Grid, expected_best, grids, median_band
from pima_hp.analysis.intervals import bootstrap
from tests.analysis.grids import frame_of, grid_of

RATES = [0.0001, 0.0012, 0.01]


def grid(validation, test):
    settings = [{"optimizer.lr": 10.0**-place} for place in range(validation.shape[1])]
    return Grid("optimizer", ["adam", "rmsprop", "sgd", *"abcdefgh"][: len(test)], settings, validation, test, 0)


def study(settings, rng, n_replicates=10, val_fraction=0.2):
    """Runs whose validation and test scores are noise about 0.7."""
    scores = 0.7 + rng.normal(0, 0.01, (2, len(settings), n_replicates))
    frame = frame_of([{"data.val_fraction": val_fraction, **own} for own in settings], scores[0])
    return frame.assign(**{TEST: scores[1].ravel()}), scores


def test_the_expected_best_of_k_is_the_mean_over_all_subsets_with_ties_shared():
    chosen_by, judged_by = np.array([[0.5, 0.7, 0.7, 0.6, 0.2]]), np.array([[0.1, 0.9, 0.3, 0.8, 0.7]])
    for k, found in enumerate(expected_best(chosen_by, judged_by)[0], start=1):
        subsets = [list(of) for of in combinations(range(5), k)]
        best = [judged_by[0, of][chosen_by[0, of] == chosen_by[0, of].max()].mean() for of in subsets]
        assert found == pytest.approx(np.mean(best), abs=1e-12)


def test_the_expected_best_of_k_is_that_of_opda():
    scores = np.random.default_rng(0).normal(size=(3, 30))
    for row, found in zip(scores, expected_best(scores, scores), strict=True):
        np.testing.assert_allclose(found, EmpiricalDistribution(row).u_tuning_curve(np.arange(1, 21)), atol=1e-9)


def test_the_median_has_the_interval_of_the_sign_test_and_opda_agrees():
    assert median_band(np.arange(1.0, 11.0), 0.95).tolist() == [5.5, 2, 9]  # 2 P(Binomial(10, 1/2) < 2) = 0.021
    scores = np.random.default_rng(0).normal(size=40)
    upper_cdf, _, lower_cdf = EmpiricalDistribution.confidence_bands(scores, 0.95, method="dkw")
    wide = sorted([lower_cdf.quantile_tuning_curve(1), upper_cdf.quantile_tuning_curve(1)])
    _, lower, upper = median_band(scores, 0.95)  # of one quantile, not of all at once: inside
    assert wide[0] < lower < upper < wide[1]


@pytest.mark.parametrize("n", [10, 40])
def test_the_interval_of_the_median_covers_in_any_distribution(n):
    draws = np.random.default_rng(0).exponential(1, (4_000, n)) ** 3  # seed 0
    _, lower, upper = median_band(draws, 0.95).T
    assert np.mean((lower <= np.log(2) ** 3) & (np.log(2) ** 3 <= upper)) >= 0.94  # two standard errors of 4,000


def test_each_half_of_the_seeds_is_judged_at_the_settings_that_the_other_half_chose():
    validation = np.zeros((1, 3, 10))
    validation[0, 1, 0::2] = validation[0, 2, 1::2] = 1
    test = np.broadcast_to(np.arange(3.0)[:, None], (1, 3, 10))
    found = grid(validation, test).scores
    assert found["tuned"].tolist() == [[2, 1] * 5]
    assert found["untuned"].tolist() == [[0] * 10]


def test_tuning_on_noise_gains_nothing():
    noise = np.random.default_rng(0).normal(0, 1, (400, 13, 40))  # seed 0; 400 levels
    found = grid(noise, noise).scores["tuned"].mean()  # judged by the very score that it was chosen by
    assert abs(found) < 4 / np.sqrt(noise[:, 0].size)
    assert noise.mean(axis=2).max(axis=1).mean() > 20 / np.sqrt(noise[:, 0].size)  # without other seeds to judge


@pytest.mark.parametrize(("apart", "share"), [("rate", 1.0), ("level", 0.0)])
def test_the_share_of_the_nuisance_is_that_of_the_planted_truth(apart, share):
    rng = np.random.default_rng(0)
    truth = np.array([[0.6, 0.7, 0.5], [0.7, 0.6, 0.5], [0.55, 0.6, 0.7]])  # each best at another rate, and equal
    if apart == "level":
        truth = np.array([[0.7], [0.68], [0.75]]) - np.array([0.0, 0.05, 0.1])
    split = rng.normal(0, 0.03, 40)
    scores = [truth[:, :, None] + split + rng.normal(0, 0.01, (3, 3, 40)) for _ in range(2)]
    untuned, tuned, (found, lower, upper) = grid(*scores).spread(rng)
    assert untuned[0] == pytest.approx(truth[:, 0].var(), rel=0.1)
    assert tuned[0] == pytest.approx(truth.max(axis=1).var(), rel=0.1, abs=2e-6)
    assert lower - 1e-9 <= share <= upper + 1e-9
    assert found == pytest.approx(share, abs=0.02)


def test_untuned_scores_are_compared_over_all_seeds_as_they_involve_no_choice():
    scores = np.random.default_rng(0).normal(0, 0.01, (2, 5, 4, 20))
    values = scores[1, :, 0] - scores[1, :, 0].mean(axis=0)
    noise = values.var(axis=1, ddof=1).mean() / 20
    found = grid(*scores + np.linspace(0, 0.02, 5)[:, None, None]).spread(np.random.default_rng(0), 50)[0, 0]
    shifted = values + np.linspace(-0.01, 0.01, 5)[:, None]
    assert found == pytest.approx(shifted.mean(axis=1).var() - noise, rel=1e-9)


def test_where_nothing_differs_there_is_no_share():
    noise = np.random.default_rng(0).normal(0, 0.01, (2, 5, 4, 20))
    rows = grid(*noise).spread(np.random.default_rng(0))
    assert np.isnan(rows[2]).all()
    assert rows[0, 1] == 0


@pytest.mark.parametrize(("n_simulations", "error"), [(100, 0.06), pytest.param(1000, 0.0, marks=pytest.mark.slow)])
def test_intervals_of_the_comparison_cover_the_truth_at_the_chosen_settings(n_simulations, error):
    rng = np.random.default_rng(1)
    best, top = rng.normal(5, 2, 8), 0.76 + rng.normal(0, 0.006, 8)
    truth = np.maximum(0.65, top[:, None] - 0.0012 * (np.arange(13) - best[:, None]) ** 2)  # (L, K)
    covered = np.zeros(4)
    for _ in range(n_simulations):
        of_run = rng.normal(0, 0.006, (8, 13, 40))  # shared by both scores
        scores = [
            truth[:, :, None] + of_run + rng.normal(0, 0.03, 40) + rng.normal(0, 0.012, (8, 13, 40)) for _ in range(2)
        ]
        found = grid(*scores)
        chosen = np.stack([truth[np.arange(8), of] for of in found.chosen])  # (2, L)
        variances = truth[:, 0].var(), chosen.var(axis=1).mean()
        rows = found.spread(rng, 300)
        lower, upper = bootstrap(found.scores["tuned"][1] - found.scores["tuned"][0], rng, 500).interval()
        true = [*variances, 1 - variances[1] / variances[0], (chosen[:, 1] - chosen[:, 0]).mean()]
        ends = [*rows[:, 1:], (lower, upper)]
        covered += [low <= of <= high for (low, high), of in zip(ends, true, strict=True)]
    assert (covered / n_simulations >= 0.92 - error).all(), covered / n_simulations


def test_each_factor_is_compared_where_all_its_values_exist():
    rng = np.random.default_rng(0)
    settings = grid_of({"optimizer": ["adam", "rmsprop", "sgd"], "optimizer.lr": RATES})
    settings += grid_of({"activation": ["tanh", "elu"], "optimizer.lr": RATES})  # with RMSprop
    frame, scores = study(settings, rng)
    activation, optimizer = grids(frame)
    assert [*activation.levels] == ["elu", "relu", "tanh"]
    assert [*optimizer.levels] == ["adam", "rmsprop", "sgd"]
    assert [of["optimizer.lr"] for of in optimizer.settings] == [0.0012, 0.0001, 0.01]  # the nearest to 0.001 first
    assert optimizer.nuisance == activation.nuisance == ["optimizer.lr"]
    assert (activation.reference, optimizer.reference) == (1, 1)
    np.testing.assert_array_equal(optimizer.validation[2, 0], scores[0, 7])
    np.testing.assert_array_equal(optimizer.test[2, 0], scores[1, 7])


def test_a_diverged_run_counts_as_the_majority_class():
    frame, _ = study(grid_of({"optimizer": ["adam", "sgd"], "optimizer.lr": RATES}), np.random.default_rng(0))
    at = frame.index[frame["run_id"] == "4-3"][0]
    frame.at[at, "val/accuracy"], frame.loc[at, ["status", TEST]] = np.array([np.nan]), ("diverged", np.nan)
    (found,) = grids(frame)
    assert (found.validation[1, 0, 3], found.test[1, 0, 3], found.n_diverged) == (0.65, 0.65, 1)


@pytest.mark.parametrize("lacking", ["validation rows", "replicates", "test scores", "crossing", "one table"])
def test_a_study_that_cannot_be_tuned_has_no_comparison(lacking):
    settings = grid_of({"optimizer": ["adam", "sgd"], "optimizer.lr": RATES})
    settings = settings[::4] if lacking == "crossing" else settings
    if lacking == "one table":
        settings = [{"data.scaling": scaling, **own} for own in settings for scaling in ("none", "standard")]
    n, fraction = 9 if lacking == "replicates" else 10, 0.0 if lacking == "validation rows" else 0.2
    frame, _ = study(settings, np.random.default_rng(0), n, fraction)
    assert grids(frame.drop(columns=TEST) if lacking == "test scores" else frame) == []
