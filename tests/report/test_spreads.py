from functools import partial

import numpy as np
import pytest

from pima_hp.analysis import curves
from pima_hp.analysis.intervals import Share
from pima_hp.report.panels import interval_text, interval_texts
from pima_hp.report.spreads import Contrast, spreads
from tests.report.conftest import caption, layers, quantity, texts

BATCHES = [{"batch.size": size} for size in (5, 10, 16, 32)]
SCORE = quantity(curves.final_score, "train/accuracy_end", "final accuracy")
final = partial(spreads, quantities=[SCORE], title="Final accuracy")


def test_spreads_show_each_run_and_the_paired_difference(make_study):
    frame = make_study(BATCHES[:2], 10, diverged={3: 60})
    figure = final(frame, "batch.size")
    dots = layers(figure, "circle")[0]
    means = [layer["data"]["values"] for layer in layers(figure, "rule") if "row" in layer["data"]["values"][0]]
    scores = {
        size: np.array([c[80:].mean() for c in frame.loc[frame["batch.size"] == size, "train/accuracy_end"]])
        for size in (5, 10)
    }
    assert len(dots["data"]["values"]) == 19
    assert means[0][0]["mean"] == pytest.approx(np.nanmean(scores[5]), abs=1e-4)
    assert means[1][0]["mean"] == pytest.approx(np.nanmean(scores[5] - scores[10]), abs=1e-4)  # 10 is the baseline's
    assert "difference from batch size 10 under the same seed" in caption(figure)
    assert "1 of 20 diverged" in caption(figure)


def test_spreads_show_a_level_who_is_below_it_and_what_a_claim_compares(make_study):
    frame = make_study(BATCHES, 10, diverged={3: 60})
    compared = Contrast("H9", ("5", "10"), ("16", "32"), Share(3, 10))
    low = quantity(lambda table: curves.final_score(table) < 0.9, "train/loss").values
    loss = quantity(curves.final_score, "train/loss", level=0.9, told="learns below 0.900", contrasts=(compared,),
                    counted=low, verb="learn")  # fmt: skip
    figure = spreads(frame, "batch.size", [loss], "Who learns", ["More."])
    values = np.array([curve[80:].mean() for curve in frame["train/loss"][:10]])
    assert f"{(values < 0.9).sum()} of 10 learn" in texts(figure)
    assert {"learns below 0.900", "no difference", "claim H9", "0.3 [0.1, 0.6]"} <= set(texts(figure))
    assert "Claim H9 compares 5 and 10 over 16 and 32. More." in caption(figure)


def test_one_still_run_does_not_take_the_axis_and_is_counted(make_study):
    frame = make_study(BATCHES, 30)
    frame.at[0, "train/accuracy"] = np.full(100, 0.65)
    moving = partial(curves.log_volatility, n_train=614)
    figure = spreads(frame, "batch.size", [quantity(moving, "train/accuracy", log=True)], "V")
    low, high = layers(figure, "circle")[0]["encoding"]["x"]["scale"]["domain"]
    assert 0.002 < low < high < 0.03
    assert "Beyond the axes: 1 of 120 runs, 1 of 90 ratios." in caption(figure)
    assert len(layers(figure, "circle")[0]["encoding"]["x"]["axis"]["values"]) >= 3


def test_where_no_run_has_a_value_there_is_no_panel_of_differences(make_study):
    figure = final(make_study(BATCHES[:2], 3, diverged=dict.fromkeys(range(3), 60)), "batch.size")
    assert len(figure.spec["concat"]) == 1
    assert "no value" in texts(figure)


def test_an_interval_has_the_digits_it_bears():
    assert interval_text(0.7424, 0.7378, 0.7461) == "0.742 [0.738, 0.746]"
    assert interval_text(-0.01, -0.0128, -0.0091) == "\N{MINUS SIGN}0.0100 [\N{MINUS SIGN}0.0128, \N{MINUS SIGN}0.0091]"
    assert interval_text(1.0, 1.0, 1.0) == "1.000 [1.000, 1.000]"
    assert interval_text(3.2e30, 1e30, 7.1e30) == "3.2e+30 [1e+30, 7.1e+30]"


def test_a_column_of_intervals_has_one_number_of_decimals():
    assert interval_texts([(0.99, 0.95, 1.0), (1.0, 0.963, 1.0)]) == ["0.99 [0.95, 1.00]", "1.00 [0.96, 1.00]"]
