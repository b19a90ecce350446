"""The answer of a factor: which value is best and which worst, by how much, and whether chance can do it.

A number of many values is an axis: the best values are found, lines and cells are means of the runs.
"""

import re

import numpy as np
import pytest

from pima_hp.report.charts import is_log
from pima_hp.report.comparable import comparable
from pima_hp.report.factors import factor_section, places_of
from pima_hp.report.study import Study
from tests.report.conftest import drawn
from tests.report.test_figures import BATCHES

RATES = np.logspace(-4, 0, 9).tolist()


def section(frame, factor="batch.size"):
    return factor_section(Study(None, frame, None, []), [], factor, [])


def with_scores(frame, effects):
    """Runs whose final accuracy is 0.7, the effect of their batch size, and noise of their own and of their seed."""
    rng = np.random.default_rng(0)
    noise = 0.05 * np.sin(frame["seed"]) + rng.normal(0, 0.001, len(frame))
    return frame.assign(**{"val/accuracy": [np.full(100, of) for of in 0.7 + frame["batch.size"].map(effects) + noise]})


def test_best_and_worst_are_named_with_their_paired_difference_for_all_pairs_at_once(make_study):
    frame = with_scores(make_study(BATCHES, 20), {5: 0.02, 10: 0.01, 16: 0.005, 32: 0.0})
    text = section(frame).answer
    assert "highest with batch size 5 (0.7" in text
    assert "lowest with 32 (0.7" in text
    lower, upper = map(float, re.search(r"\[(.+), (.+)\] more of 100 patients", text).groups())
    assert 1.8 <= lower <= 2 <= upper <= 2.2
    assert "95 % interval over seeds, paired, for all 6 pairs at once" in text
    assert "chance" not in text


def test_the_answer_says_under_which_other_settings_of_the_study_it_holds(make_study):
    crossed = [{**batch, "optimizer": "sgd", "optimizer.lr": rate} for batch in BATCHES for rate in (0.001, 0.1)]
    text = section(make_study([*crossed, *BATCHES], 5)).answer
    assert text.startswith("With optimizer rmsprop and learning rate 0.001, the final test accuracy is highest with")


def test_a_difference_that_chance_can_make_is_called_so(make_study):
    frame = with_scores(make_study(BATCHES, 5), dict.fromkeys((5, 10, 16, 32), 0.0))
    frame["data_digest"] = "1a2b3c4d" * 8
    text = section(frame).answer
    assert "of 100 rows" in text
    assert text.endswith("That may be chance.")
    alone = section(make_study(BATCHES, 1)).answer
    assert "takes more replicates" in alone
    assert "Not known yet" in section(make_study(BATCHES[:1], 5)).answer


def planted(make_study, settings, peak_of):
    """Runs whose final validation accuracy is highest at a learning rate known for each setting."""
    frame = make_study(settings, 4, epochs=5)
    distance = np.log10(frame["optimizer.lr"]) - np.log10(frame.apply(peak_of, axis=1).astype(float))
    return frame.assign(**{"val/accuracy": [np.full(5, 0.75 - 0.05 * abs(of)) for of in distance]})


def test_the_best_value_is_named_for_each_value_of_a_crossed_factor(make_study):
    peaks = {"adam": 0.01, "sgd": 0.1}
    settings = [{"optimizer": name, "optimizer.lr": rate} for name in peaks for rate in RATES]
    frame = planted(make_study, settings, lambda run: peaks[run["optimizer"]])
    found = section(frame, "optimizer.lr")
    assert "The best learning rate by optimizer: adam 0.01 (0.750), sgd 0.1 (0.750)." in found.answer
    assert list(found.figures) == ["learning_rate_with_optimizer", "learning_rate_final"]
    figure = found.figures["learning_rate_with_optimizer"]
    points = drawn(figure.charts[0])
    of_adam = points[points["line"] == "adam"]
    np.testing.assert_allclose(of_adam["x"], RATES, rtol=1e-6)
    np.testing.assert_allclose(of_adam["mean"], 0.75 - 0.05 * abs(np.log10(RATES) + 2), atol=1e-9)
    assert "95 % interval of the mean over seeds" in figure.caption


def test_two_numbers_of_many_values_are_a_heat_map(make_study):
    settings = [{"batch.size": size, "optimizer.lr": rate} for size in range(2, 10) for rate in RATES]
    frame = planted(make_study, settings, lambda run: 0.001 * run["batch.size"])
    figures = section(frame, "batch.size").figures
    assert list(figures) == ["batch_size_with_optimizer_lr", "batch_size_final"]
    assert len(drawn(figures["batch_size_with_optimizer_lr"].charts[0])) == 72
    assert list(section(frame, "optimizer.lr").figures) == ["learning_rate_final"]  # one map of a pair


def test_very_many_values_are_averaged_in_bins(make_study):
    rates = np.exp(np.random.default_rng(0).uniform(np.log(1e-4), 0, 300)).tolist()
    frame = planted(make_study, [{"optimizer.lr": rate} for rate in rates], lambda _: 0.01)
    found = section(frame, "optimizer.lr")
    final = found.figures["learning_rate_final"]
    best = float(found.answer.partition("at learning rate ")[2].partition(":")[0])
    assert abs(np.log10(best) + 2) < 0.1
    assert "300 values of the learning rate in " in final.caption
    assert 30 <= drawn(final.charts[0])["x"].nunique() <= 42
    scores = found.table["final_test_accuracy_mean"].to_numpy()
    assert scores[:6].min() == np.sort(scores)[-6]
    assert (np.diff(scores[6:]) >= 0).all()


@pytest.mark.parametrize(
    ("values", "log"), [(RATES, True), ([1, 2, 3, 4], False), ([0, 0.1, 1, 10], False), ([4, 8, 16, 32, 64], True)]
)
def test_the_axis_is_logarithmic_where_the_spacing_is(values, log):
    assert is_log(np.array(values, float)) == log


def test_places_keep_the_order_of_their_numbers():
    numbers = np.sort(np.random.default_rng(0).uniform(0.5, 99, 500))
    places = places_of(numbers)
    assert (np.diff(places) >= 0).all()
    assert np.abs(places - numbers).max() <= np.ptp(numbers) / 80 + 1e-9


def test_a_truth_value_and_a_few_numbers_are_no_axis(make_study):
    assert not comparable(
        make_study([{"batch.shuffle": value} for value in (True, False)], 1), ["batch.shuffle"]
    ).is_axis
    assert not comparable(make_study([{"batch.size": size} for size in range(1, 7)], 1), ["batch.size"]).is_axis
    assert comparable(make_study([{"batch.size": size} for size in range(1, 8)], 1), ["batch.size"]).is_axis
