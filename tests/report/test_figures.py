import io
import json
import xml.etree.ElementTree as ET
from functools import partial

import numpy as np
import pytest
import vl_convert

from pima_hp.analysis import curves
from pima_hp.errors import InputError
from pima_hp.report import style
from pima_hp.report.figures import learning_curves, waiting_times
from pima_hp.report.panels import apart, still
from pima_hp.report.spreads import spreads
from tests.report.conftest import caption, layers, quantity, texts

BATCHES = [{"batch.size": size} for size in (5, 10, 16, 32)]
ACTIVATIONS = [{"activation": name} for name in ("relu", "tanh", "sigmoid", "leaky_relu")]
SCORE = quantity(curves.final_score, "train/accuracy_end", "final accuracy")
HOSTILE = ["<b>bold</b>", "$\\frac{$", "a & b", "x" * 5000, "x" * 5000 + "y", "nul\0\x1b[31m", 'q"]', ""]
final = partial(spreads, quantities=[SCORE], title="Final accuracy")
waiting = partial(waiting_times, threshold=0.70)
DRAW = pytest.mark.parametrize("draw", [learning_curves, waiting, final])


def scale(figure, mark="line"):
    found = layers(figure, mark)[0]["encoding"]["color"]["scale"]
    return dict(zip(found["domain"], found["range"], strict=True))


def data(figure, panel=0):
    return figure.spec["concat"][panel]["data"]["values"]


def test_a_panel_for_each_value_in_the_order_of_numbers(make_study):
    figure = learning_curves(make_study([{"batch.size": size} for size in (32, 5, 16, 10)]), "batch.size")
    titles = [panel["title"]["text"] for panel in figure.spec["concat"]]
    assert titles == ["batch size 5", "batch size 10", "batch size 16", "batch size 32"]


@DRAW
def test_axes_have_titles_and_curves_one_scale(make_study, draw):
    figure = draw(make_study(BATCHES), "batch.size")
    positions = [
        layer["encoding"]["x"]
        for layer in layers(figure, "line") + layers(figure, "circle")
        if "x" in layer["encoding"]
    ]
    assert all(position["title"] for position in positions)
    if draw is learning_curves:
        first = layers(figure, "line")[0]["encoding"]["y"]
        assert first["title"] == "accuracy (fraction of rows)"
        assert len({json.dumps(layer["encoding"]["y"]["scale"]) for layer in layers(figure, "line")}) == 1
        assert texts(figure).count("accuracy (fraction of rows)") == 1
    if draw is final:
        assert "final accuracy (fraction of rows)" in texts(figure)
        assert "difference to batch size 10, same seed (fraction of rows)" in texts(figure)


@DRAW
def test_a_chart_is_drawn_without_a_warning_and_stands_alone(make_study, draw, capfd):
    figure = draw(make_study(BATCHES, 3), "batch.size")
    svg = figure.framed(figure.svg())
    root = ET.fromstring(svg)  # noqa: S314 - our own file
    texts = " ".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text"))
    assert figure.title in texts
    assert "3 replicates a setting." in texts
    assert "WARN" not in "".join(capfd.readouterr())
    png = vl_convert.svg_to_png(svg, scale=style.PNG_SCALE)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(png[16:20], "big") >= 1100  # width in pixels


def test_a_training_of_one_epoch_is_drawn_as_dots(make_study):
    assert len(layers(learning_curves(make_study(BATCHES, 2, epochs=1), "batch.size"), "circle")) == 4


def test_the_majority_line_is_in_each_panel_and_in_the_caption(make_study):
    figure = learning_curves(make_study(BATCHES), "batch.size", majority=500 / 768)
    levels = [layer["data"]["values"] for layer in layers(figure, "rule") if "strokeDash" in layer["mark"]]
    assert levels == [[{"level": 500 / 768}]] * 4
    assert texts(figure).count("majority") == 4
    assert "majority class (0.651)" in caption(figure)
    assert "majority" not in texts(learning_curves(make_study(BATCHES), "batch.size"))


def test_lines_are_named_at_their_ends_and_an_odd_panel_has_a_key_beside_it(make_study):
    four, three = (learning_curves(make_study(BATCHES[:n]), "batch.size") for n in (4, 3))
    assert (texts(four).count("training"), texts(four).count("test")) == (4, 4)
    assert [len(figure.spec["concat"]) for figure in (four, three)] == [4, 4]
    assert "test, 5-95 % of runs" in texts(three)
    assert {"5", "10", "16"} <= set(texts(waiting(make_study(BATCHES[:3]), "batch.size")))
    many = waiting(make_study([{"batch.size": 2**n} for n in range(10)], 2), "batch.size")
    assert {str(2**n) for n in range(10)} <= set(texts(many))


def test_a_pointer_is_told_all_lines_at_its_epoch_and_nothing_stays_dimmed(make_study):
    frame = make_study(BATCHES, 10)
    for figure in (learning_curves(frame, "batch.size"), waiting(frame, "batch.size")):
        hovers = [item for panel in figure.spec["concat"] for item in panel["layer"] if "hover" in item.get("name", "")]
        params = [*figure.spec["params"], *(param for layer in hovers for param in layer.get("params", []))]
        assert params
        assert all(param["select"]["clear"] == "pointerout" and param["select"]["nearest"] for param in params)
        assert "hover" not in json.dumps(still(figure.spec))
    told = hovers[0]["transform"][0]["from"]["data"]["values"][50]["told"]
    assert list(told) == ["epoch", "batch size 5", "batch size 10", "batch size 16", "batch size 32"]
    dimmed = [item for item in figure.spec["concat"][0]["layer"] if "condition" in item["encoding"].get("opacity", {})]
    assert {item["mark"]["type"] for item in dimmed} == {"area", "line", "rule", "text", "circle"}


def test_drawn_numbers_are_mean_and_quantiles(make_study):
    frame = make_study(BATCHES[:1], 40)
    last = next(p for p in data(learning_curves(frame, "batch.size")) if p["line"] == "test" and p["epoch"] == 100)
    values = np.array([curve[-1] for curve in frame["val/accuracy"]])
    assert last["mean"] == pytest.approx(values.mean(), abs=1e-4)
    assert [last["low"], last["high"]] == pytest.approx(np.quantile(values, [0.05, 0.95]), abs=1e-4)


def test_waiting_shares_are_those_of_the_runs_and_a_diverged_run_never_leaves(make_study):
    frame = make_study(BATCHES[:2], 10, diverged={0: 90})
    points = [point for point in data(waiting(frame, "batch.size")) if point["line"] == "5"]
    runs = frame[frame["batch.size"] == 5]
    first = [
        np.inf if number == 0 else np.argmax(curve >= 0.70) + 1 for number, curve in enumerate(runs["train/accuracy"])
    ]
    assert points[0] == {"line": "5", "epoch": 0, "share": 1.0, "low": pytest.approx(0.722, abs=1e-3), "high": 1.0}
    assert [point["share"] for point in points[1:]] == [
        np.mean([at > epoch for at in first]) for epoch in range(1, 101)
    ]
    assert points[-1]["share"] >= 0.1


def test_the_caption_names_replicates_band_and_what_is_fixed(make_study):
    text = caption(learning_curves(make_study(BATCHES, 8), "batch.size"))
    assert "8 replicates a setting" in text
    assert "5-95 %" in text
    fixed = text.partition("Fixed: ")[2]
    for part in ("relu", "rmsprop", "learning rate 0.001", "100 epochs", "uniform", "raw features", "80/20 split"):
        assert part in fixed
    assert "batch size" not in fixed


def test_one_replicate_has_no_band_and_says_so(make_study):
    figure = learning_curves(make_study(BATCHES, 1), "batch.size")
    assert not layers(figure, "area")
    assert "1 replicate a setting" in caption(figure)
    assert "no band" in caption(figure)
    assert "no interval" in caption(final(make_study(BATCHES, 1), "batch.size"))
    assert "mean [95 % interval]" not in texts(final(make_study(BATCHES, 1), "batch.size"))


def test_diverged_runs_are_counted_and_a_panel_without_values_says_so(make_study):
    figure = learning_curves(make_study(BATCHES, 2, diverged={0: 1, 1: 1, 2: 50}), "batch.size")
    assert "3 of 8 diverged" in caption(figure)
    panels = figure.spec["concat"]
    assert [panel["title"].get("subtitle") for panel in panels] == ["2 of 2 diverged", "1 of 2 diverged", None, None]


@DRAW
@pytest.mark.parametrize("nothing", [None, float("nan"), np.empty(0)])
def test_a_failed_run_without_curves_is_counted(make_study, draw, nothing):
    frame = make_study(BATCHES, 2)
    frame.loc[0, "status"] = "failed"
    for key in ("train/accuracy", "val/accuracy", "train/accuracy_end"):
        frame.at[0, key] = nothing
    figure = draw(frame, "batch.size")
    assert "Missing: 1 of 8 failed" in caption(figure)
    assert figure.svg()


def test_validation_rows_are_not_called_test(make_study):
    figure = learning_curves(make_study([{"data.val_fraction": 0.2, **batch} for batch in BATCHES]), "batch.size")
    assert list(scale(figure)) == ["training (running)", "validation"]


def test_other_settings_are_never_pooled(make_study):
    crossed = [{**batch, "data.scaling": scaling} for batch in BATCHES for scaling in ("none", "standard")]
    text = caption(learning_curves(make_study(crossed, 3), "batch.size"))
    assert "3 replicates a setting" in text
    assert "Not drawn: 1 other combinations of scaling" in text


def test_series_and_values_have_one_colour_in_all_figures(make_study):
    several, few = make_study(ACTIVATIONS, 2), make_study([*ACTIVATIONS[:2], {"activation": "custom"}], 2)
    pairs = [(BATCHES, "batch.size"), (ACTIVATIONS, "activation")]
    series = [scale(learning_curves(make_study(some, 2), key)) for some, key in pairs]
    assert series[0] == series[1]
    values = [scale(waiting(frame, "activation")) for frame in (several, few)] + [
        scale(final(several, "activation"), "circle")
    ]
    for name in ("relu", "tanh"):
        assert len({found[name] for found in values}) == 1
    assert not {style.TRAINING_COLOUR, style.WATCHED_COLOUR} & set(values[0].values())


def test_long_trainings_are_thinned_and_the_caption_says_so(make_study):
    figure = learning_curves(make_study(BATCHES, 1, epochs=600), "batch.size")
    assert len(data(figure)) <= 2 * 120
    assert "evenly spaced epochs" in caption(figure)


@DRAW
def test_of_many_values_some_are_drawn_and_the_caption_says_so(make_study, draw):
    figure = draw(make_study([{"optimizer.lr": 0.001 * n} for n in range(1, 101)], 2, epochs=5), "optimizer.lr")
    assert "Drawn: 24 of 100 values, evenly spaced." in caption(figure)


@DRAW
def test_hostile_text_is_plotted_literally(make_study, draw):
    figure = draw(make_study([{"activation": text} for text in HOSTILE], 2, epochs=5), "activation")
    svg = figure.framed(figure.svg())
    texts = [element.text or "" for element in ET.parse(io.StringIO(svg)).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    for expected in ("<b>bold</b>", "$\\frac{$", "a & b", "nul□□[31m"):
        assert any(expected in text for text in texts), expected
    assert "<b>" not in svg
    assert max(map(len, texts)) < 200


@DRAW
def test_an_unknown_factor_or_an_empty_study_is_refused(make_study, draw):
    with pytest.raises(InputError, match=r"found 'batch\.sise'; allowed: activation, batch\.shuffle"):
        draw(make_study(BATCHES, 1), "batch.sise")
    with pytest.raises(InputError, match="at least one run"):
        draw(make_study(BATCHES, 1).iloc[:0], "batch.size")


def test_labels_stand_apart_within_the_axis():
    placed = apart({"a": 0.0, "b": 0.01, "c": 0.99, "d": 1.0}, 0.05)
    heights = [placed[name] for name in "abcd"]
    assert min(np.diff(heights)) >= 0.05 - 1e-12
    assert max(heights) <= 1.0 + 1e-12
