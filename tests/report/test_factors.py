"""The answer of a factor: which value is best and which worst, by how much, and whether chance can do it."""

import re

import numpy as np

from pima_hp.report.comparable import comparable
from pima_hp.report.factors import effect_in_words
from tests.report.test_figures import BATCHES


def with_scores(frame, effects):
    """Runs whose final accuracy is 0.7, the effect of their batch size, and noise of their own and of their seed."""
    rng = np.random.default_rng(0)
    noise = 0.05 * np.sin(frame["seed"]) + rng.normal(0, 0.001, len(frame))
    return frame.assign(**{"val/accuracy": [np.full(100, of) for of in 0.7 + frame["batch.size"].map(effects) + noise]})


def test_best_and_worst_are_named_with_their_paired_difference_for_all_pairs_at_once(make_study):
    frame = with_scores(make_study(BATCHES, 20), {5: 0.02, 10: 0.01, 16: 0.005, 32: 0.0})
    text = effect_in_words(comparable(frame, ["batch.size"]))
    assert "highest with batch size 5 (0.7" in text
    assert "lowest with 32 (0.7" in text
    lower, upper = map(float, re.search(r"\[(.+), (.+)\] more of 100 patients", text).groups())
    assert 1.8 <= lower <= 2 <= upper <= 2.2
    assert "95 % interval over seeds, paired, for all 6 pairs at once" in text
    assert "chance" not in text


def test_the_answer_says_under_which_other_settings_of_the_study_it_holds(make_study):
    crossed = [{**batch, "optimizer": "sgd", "optimizer.lr": rate} for batch in BATCHES for rate in (0.001, 0.1)]
    text = effect_in_words(comparable(make_study([*crossed, *BATCHES], 5), ["batch.size"]))
    assert text.startswith("With optimizer rmsprop and learning rate 0.001, the final test accuracy is highest with")


def test_a_difference_that_chance_can_make_is_called_so(make_study):
    frame = with_scores(make_study(BATCHES, 5), dict.fromkeys((5, 10, 16, 32), 0.0))
    frame["data_digest"] = "1a2b3c4d" * 8
    text = effect_in_words(comparable(frame, ["batch.size"]))
    assert "of 100 rows" in text
    assert text.endswith("That may be chance.")
    alone = effect_in_words(comparable(make_study(BATCHES, 1), ["batch.size"]))
    assert "takes more replicates" in alone
    assert "Not known yet" in effect_in_words(comparable(make_study(BATCHES[:1], 5), ["batch.size"]))
