import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis import curves
from pima_hp.ledger.ledger import mean, quantiles

NAN, INF = np.nan, np.inf
RISING = np.arange(1, 101) / 100  # (E,): the value of an epoch is its number / 100


def test_final_score_is_the_mean_of_epochs_81_to_100_or_of_all_of_a_short_training():
    assert curves.final_score(RISING[None]) == pytest.approx([0.905])
    assert curves.final_score(np.array([[0.2, 0.4]])) == pytest.approx([0.3])


def test_a_diverged_run_has_no_score_and_reached_nothing():
    diverged = np.array([[0.9, 0.9, 0.9, NAN]])
    scores = [curves.final_score(diverged, 2), curves.volatility(diverged)]
    assert np.isnan(scores).all()
    assert curves.first_epoch_reaching(diverged, 0.5).tolist() == [INF]


def test_first_epoch_counts_from_1_includes_equality_and_never_is_infinite():
    table = np.array([[0.7, 0.8, 0.9], [0.1, 0.7, 0.2], [0.1, 0.2, 0.3]])
    assert curves.first_epoch_reaching(table, 0.7).tolist() == [1, 2, INF]
    in_a_row = np.array([[0.8, 0.1, 0.8, 0.8, 0.8], [0.8, 0.8, 0.1, 0.8, 0.8]])
    assert curves.first_epoch_reaching(in_a_row, 0.7, sustained_epochs=3).tolist() == [3, INF]
    assert curves.first_epoch_reaching(in_a_row[:, :2], 0.7, sustained_epochs=3).tolist() == [INF, INF]


def test_volatility_equals_residuals_of_polyfit_with_18_degrees_of_freedom():
    table = np.random.default_rng(1).normal(size=(7, 100))
    epochs = np.arange(81, 101)
    residuals = [row - np.polyval(np.polyfit(epochs, row, 1), epochs) for row in table[:, 80:]]
    assert curves.volatility(table) == pytest.approx(np.sqrt((np.square(residuals)).sum(axis=1) / 18), rel=1e-10)
    assert curves.volatility(np.stack([RISING, np.full(100, 0.7)])) == pytest.approx([0, 0], abs=1e-12)
    assert np.isnan(curves.volatility(np.array([[0.0, 1.0]]))).all()


def test_mean_and_band_are_over_the_runs_that_have_a_value():
    table = np.array([[1.0, NAN, NAN], [3.0, 5.0, NAN]])
    assert mean(table) == pytest.approx([2, 5, NAN], nan_ok=True)
    assert quantiles(table, (0.25, 0.75))[1] == pytest.approx([2.5, 5, NAN], nan_ok=True)
    low, high = quantiles(np.arange(101.0)[:, None])  # 5 to 95 %
    assert (low[0], high[0]) == pytest.approx((5, 95))


def test_aligned_pads_shorter_and_missing_curves():
    table = curves.aligned([np.array([1.0, 2.0]), None, np.array([3.0])])
    assert table == pytest.approx(np.array([[1, 2], [NAN, NAN], [3, NAN]]), nan_ok=True)
    assert curves.aligned([]).shape == (0, 1)
    assert curves.final_score(curves.aligned([])).shape == (0,)


def test_events_of_a_curve():
    table = np.array([[0.70, 0.72, 0.60], [0.60, 0.70, 0.73], [0.73, NAN, NAN]])
    assert curves.exceeds(table, 0.72).tolist() == [0, 1, 0]
    never = curves.Statistic(name="never_exceeds", curve="train/accuracy", threshold=0.72)
    assert never.of(pd.DataFrame({"train/accuracy": [*table]})).tolist() == [1, 0, 1]
    assert curves.reaches(table, 0.72).tolist() == [1, 1, 0]
    assert curves.reaches(table, 0.72, by_epoch=2).tolist() == [1, 0, 0]
    assert curves.reaches(table, 0.60, sustained_epochs=3).tolist() == [1, 1, 0]


def test_a_run_too_short_to_answer_is_missing_and_one_that_reached_or_diverged_is_not():
    table = np.array([[0.60, 0.60, 0.60], [0.60, 0.73, 0.60], [0.60, NAN, NAN]])
    assert curves.reaches(table, 0.72, by_epoch=50) == pytest.approx([NAN, 1, 0], nan_ok=True)
    assert curves.reaches(table, 0.72, by_epoch=3).tolist() == [0, 1, 0]


def test_restricted_epochs_count_misses_and_diverged_runs_at_the_end():
    table = np.array([[0.70, 0.72, 0.60], [0.60, 0.60, 0.60], [0.73, NAN, NAN]])
    assert curves.restricted_epochs(table, 0.72).tolist() == [2, 3, 3]


def test_entropy_and_learns():
    assert curves.entropy(268 / 768) == pytest.approx(0.647, abs=5e-4)
    assert curves.entropy(0.0) == 0
    losses = np.array([[0.647] * 30, [0.626] * 30, [0.628] * 30, [0.1] * 29 + [NAN]])
    assert curves.learns(losses, 268 / 768).tolist() == [0, 1, 0, 0]
    rates = np.array([0.5, 0.2, NAN, 0.5])  # each run is held against its own training rows
    assert curves.learns(losses, rates) == pytest.approx([1, 0, NAN, 0], nan_ok=True)


def test_log_volatility_of_a_still_curve_is_a_tenth_of_a_row():
    assert curves.log_volatility(np.full((1, 100), 0.7), 614) == pytest.approx([np.log(0.1 / 614)])
    assert curves.log_volatility(np.full((2, 9), 0.7), np.array([614, 80])) == pytest.approx(
        np.log([0.1 / 614, 0.1 / 80])
    )


def test_slopes_are_those_of_polyfit():
    values, places = np.random.default_rng(0).normal(size=(5, 4)), np.log2([5, 10, 16, 32])
    assert curves.slopes(values, places) == pytest.approx(np.polyfit(places, values.T, 1)[0])
