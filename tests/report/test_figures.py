import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pima_hp.errors import InputError, StorageError
from pima_hp.report import style
from pima_hp.report.figures import learning_curves, overlaid_curves, save

BATCHES = [{"batch.size": size} for size in (5, 10, 16, 32)]
ACTIVATIONS = [{"activation": name} for name in ("relu", "tanh", "sigmoid", "leaky_relu")]
HOSTILE = [
    "<b>bold</b>",
    "$\\frac{$",
    "a & b",
    "x" * 5000,
    "x" * 5000 + "y",
    "nul\0\x1b[31m",
    'q"]',
    "",
]


def subtitle(chart):
    return " ".join(chart.to_dict()["title"]["subtitle"])


def layers(spec, mark):
    found = [layer for panel in spec["concat"] for layer in panel["layer"]]
    return [layer for layer in found if layer["mark"]["type"] == mark]


def colours(chart):
    scale = layers(chart.to_dict(), "line")[0]["encoding"]["color"]["scale"]
    return dict(zip(scale["domain"], scale["range"], strict=True))


def test_a_panel_for_each_value_in_the_order_of_numbers(make_study):
    spec = learning_curves(make_study([{"batch.size": size} for size in (32, 5, 16, 10)]), "batch.size").to_dict()
    titles = [panel["title"]["text"] for panel in spec["concat"]]
    assert titles == ["batch size 5", "batch size 10", "batch size 16", "batch size 32"]


@pytest.mark.parametrize("draw", [learning_curves, overlaid_curves])
def test_axes_have_titles_with_units_and_one_scale(make_study, draw):
    spec = draw(make_study(BATCHES), "batch.size").to_dict()
    lines = layers(spec, "line")
    assert {line["encoding"]["x"]["title"] for line in lines} == {"epoch"}
    assert lines[0]["encoding"]["y"]["title"] == "accuracy (fraction of rows)"
    assert len({json.dumps(line["encoding"]["y"]["scale"]) for line in lines}) == 1


@pytest.mark.parametrize("draw", [learning_curves, overlaid_curves])
def test_no_mark_is_empty(make_study, draw):
    spec = draw(make_study(BATCHES, 3), "batch.size").to_dict()
    for panel in spec["concat"]:
        for layer in panel["layer"]:
            assert spec["datasets"][layer["data"]["name"]]


def test_a_training_of_one_epoch_is_drawn_as_dots(make_study):
    assert layers(learning_curves(make_study(BATCHES, 2, epochs=1), "batch.size").to_dict(), "circle")


def test_the_majority_line_is_in_each_panel_and_in_the_legend(make_study):
    spec = learning_curves(make_study(BATCHES), "batch.size").to_dict()
    rules = layers(spec, "rule")
    assert len(rules) == 4
    assert spec["datasets"][rules[0]["data"]["name"]][0]["mean"] == pytest.approx(500 / 768)
    assert rules[0]["encoding"]["strokeDash"]["scale"]["range"][-1] == list(style.MAJORITY_DASH)
    assert "always the majority class (0.651)" in colours(learning_curves(make_study(BATCHES), "batch.size"))
    assert not layers(learning_curves(make_study(BATCHES), "batch.size", majority=None).to_dict(), "rule")


def test_drawn_numbers_are_mean_and_quantiles(make_study):
    frame = make_study(BATCHES[:1], 40)
    spec = learning_curves(frame, "batch.size").to_dict()
    points = spec["datasets"][layers(spec, "line")[0]["data"]["name"]]
    last = next(point for point in points if point["line"] == "test" and point["epoch"] == 100)
    values = np.array([curve[-1] for curve in frame["val/accuracy"]])
    assert last["mean"] == pytest.approx(values.mean(), abs=1e-6)
    assert [last["low"], last["high"]] == pytest.approx(np.quantile(values, [0.05, 0.95]), abs=1e-6)


def test_the_caption_names_replicates_band_and_what_is_fixed(make_study):
    caption = subtitle(learning_curves(make_study(BATCHES, 8), "batch.size"))
    assert "8 replicates a setting" in caption
    assert "5-95 %" in caption
    fixed = caption.partition("Fixed: ")[2]
    for text in (
        "relu",
        "rmsprop",
        "learning rate 0.001",
        "100 epochs",
        "uniform",
        "raw features",
        "80/20 split",
    ):
        assert text in fixed
    assert "batch size" not in fixed


def test_one_replicate_has_no_band_and_says_so(make_study):
    chart = learning_curves(make_study(BATCHES, 1), "batch.size")
    assert not layers(chart.to_dict(), "area")
    assert "1 replicate a setting" in subtitle(chart)
    assert "no band" in subtitle(chart)


def test_diverged_runs_are_counted_and_a_panel_without_values_says_so(make_study):
    chart = learning_curves(make_study(BATCHES, 2, diverged={0: 1, 1: 1, 2: 50}), "batch.size")
    assert "3 of 8 diverged" in subtitle(chart)
    panels = chart.to_dict()["concat"]
    assert [panel["title"]["subtitle"] for panel in panels[:3]] == [
        "2 of 2 diverged", "1 of 2 diverged", "all completed",
    ]  # fmt: skip
    assert panels[0]["layer"][-1]["encoding"]["text"]["value"] == "no run has a value"


@pytest.mark.parametrize("nothing", [None, float("nan"), np.empty(0)])
def test_a_failed_run_without_curves_is_counted(make_study, nothing):
    frame = make_study(BATCHES, 2)
    frame.loc[0, "status"] = "failed"
    for key in ("train/accuracy", "val/accuracy"):
        frame.at[0, key] = nothing
    assert "Missing: 1 of 8 failed" in subtitle(learning_curves(frame, "batch.size"))


def test_validation_rows_are_not_called_test(make_study):
    frame = make_study([{"data.val_fraction": 0.2, **batch} for batch in BATCHES])
    assert "validation" in colours(learning_curves(frame, "batch.size"))
    assert "test" not in colours(learning_curves(frame, "batch.size"))


def test_other_settings_are_never_pooled(make_study):
    crossed = [{**batch, "data.scaling": scaling} for batch in BATCHES for scaling in ("none", "standard")]
    caption = subtitle(learning_curves(make_study(crossed, 3), "batch.size"))
    assert "3 replicates a setting" in caption
    assert "Not drawn: 1 other combinations of scaling" in caption


def test_series_and_values_have_one_colour_in_all_figures(make_study):
    several, few = make_study(ACTIVATIONS, 2), make_study([*ACTIVATIONS[:2], {"activation": "custom"}], 2)
    series = [colours(learning_curves(make_study(some, 2), key))
              for some, key in [(BATCHES, "batch.size"), (ACTIVATIONS, "activation")]]  # fmt: skip
    assert series[0] == series[1]
    values = [colours(overlaid_curves(frame, "activation")) for frame in (several, few)]
    for name in ("relu", "tanh"):
        assert values[0][name] == values[1][name]
    assert not {style.TRAINING_COLOUR, style.WATCHED_COLOUR} & set(values[0].values())


def test_long_trainings_are_thinned_and_the_caption_says_so(make_study):
    rates = [{"optimizer.lr": 10.0**-exponent} for exponent in range(25)]
    chart = overlaid_curves(make_study(rates, 1, epochs=600), "optimizer.lr")
    assert max(map(len, chart.to_dict()["datasets"].values())) <= 5000
    assert "evenly spaced epochs" in subtitle(chart)


@pytest.mark.parametrize("draw", [learning_curves, overlaid_curves])
def test_hostile_text_is_plotted_literally(make_study, tmp_path, draw):
    frame = make_study([{"activation": text} for text in HOSTILE], 2, epochs=5)
    _, svg = save(draw(frame, "activation", "<script>alert(1)</script> & $x_1$ \0"), tmp_path / "hostile")
    root = ET.fromstring(svg.read_text(encoding="utf-8"))  # noqa: S314 - our own file
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for expected in ("<script>alert(1)</script> & $x_1$", "<b>bold</b>", "$\\frac{$", "a & b", "nul□□[31m"):
        assert any(expected in text for text in texts), expected
    assert "<script" not in svg.read_text(encoding="utf-8")
    assert max(map(len, texts)) < 200


def test_save_writes_a_valid_png_and_svg_and_nothing_else(make_study, tmp_path):
    paths = save(learning_curves(make_study(BATCHES, 2), "batch.size"), tmp_path / "new" / "fig.1")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["fig.1.png", "fig.1.svg"]
    content = paths[0].read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(content[16:20], "big") >= 1200  # width in pixels
    assert ET.fromstring(paths[1].read_text()).tag.endswith("svg")  # noqa: S314 - our own file


def test_save_into_a_file_says_what_cannot_be_written(make_study, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        save(learning_curves(make_study(BATCHES[:1], 1), "batch.size"), tmp_path / "taken" / "figure")


def test_an_unknown_factor_or_an_empty_study_is_refused(make_study):
    with pytest.raises(InputError, match=r"found 'batch\.sise'; allowed: activation, batch\.shuffle"):
        learning_curves(make_study(BATCHES, 1), "batch.sise")
    with pytest.raises(InputError, match="at least one run"):
        learning_curves(make_study(BATCHES, 1).iloc[:0], "batch.size")
