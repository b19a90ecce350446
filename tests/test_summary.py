import numpy as np

from pima_hp.commands.summary import settings_table
from tests.analysis.grids import frame_of

RATES = [{"optimizer.lr": round(0.001 * (n + 1), 3)} for n in range(60)]
SCORES = 0.6 + 0.002 * np.arange(60)[:, None] + 0.01 * np.random.default_rng(0).normal(size=4)


def test_of_many_settings_the_best_the_middle_and_the_worst_are_shown() -> None:
    table, note = settings_table(frame_of(RATES, SCORES))
    assert [*table["place"]] == [*range(1, 13), *range(28, 34), *range(49, 61)]
    assert [*table["optimizer.lr"]] == [f"{0.001 * (61 - place):.3g}" for place in table["place"]]
    assert note == "the best, middle and worst of 60 settings; "


def test_few_settings_are_all_shown_in_the_order_of_their_values() -> None:
    table, note = settings_table(frame_of(RATES[:40], SCORES[:40]))
    assert [*table["optimizer.lr"]] == [f"{0.001 * (n + 1):.3g}" for n in range(40)]
    assert note == ""


def test_settings_without_a_score_are_among_the_worst_and_equal_ones_share_a_place() -> None:
    scores = SCORES.copy()
    scores[59], scores[57] = np.nan, scores[58]
    table, _ = settings_table(frame_of(RATES, scores))
    assert [*table["place"][:3]] == [1, 1, 3]
    assert table["place"].iloc[-1] == 60
    assert table["optimizer.lr"].iloc[-1] == "0.06"
