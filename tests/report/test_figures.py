"""The figures of a factor: the numbers they draw are those of the runs, and their captions say what is drawn."""

import numpy as np
import pytest

from pima_hp.analysis import curves
from pima_hp.analysis.claims import load_claims
from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.verdicts import judge
from pima_hp.report.charts import COLORS, TRAINING, VALIDATION, apart, looks_of
from pima_hp.report.comparable import comparable
from pima_hp.report.figures import figures_of, final_accuracy, learning_curves, waiting_times, who_learns
from pima_hp.report.page import picture
from tests.report.conftest import drawn, texts

BATCHES = [{"batch.size": size} for size in (5, 10, 16, 32)]
HOSTILE = ["<b>bold</b>", "$\\frac{$", "a & b", "x" * 5000, "x" * 5000 + "y", "nul\0\x1b[31m", 'q"]', ""]
OTHER = "1a2b3c4d" * 8


def final(frame, factor="batch.size"):
    return final_accuracy(comparable(frame, [factor]), [])


def waiting(frame, threshold=0.70):
    reaches = Statistic(name="reaches", curve="train/accuracy", threshold=threshold)
    return waiting_times(comparable(frame, ["batch.size"]), [reaches])


def learning(frame, factor="batch.size"):
    return learning_curves(comparable(frame, [factor]), [])


def curve_of(chart, line):
    """The mean and band of a line, (E, 3)."""
    rows = drawn(chart)
    return rows.loc[rows["line"] == line, ["mean", "low", "high"]].to_numpy(float)


DRAW = pytest.mark.parametrize("draw", [learning, waiting, final])


@DRAW
def test_a_figure_is_drawn_without_a_warning_and_stands_alone(make_study, draw, capfd):
    figure = draw(make_study(BATCHES, 3))
    found = texts(picture(figure))
    assert {"5", "10", "16", "32"} <= set(found) | {text.removeprefix("batch size ") for text in found}
    assert figure.title in found
    assert figure.caption.split(". ")[0] in " ".join(found)
    assert "WARN" not in "".join(capfd.readouterr())


def test_axes_have_titles_with_units(make_study):
    frame = make_study(BATCHES, 3)
    assert {"accuracy (fraction of rows)", "epoch"} <= set(texts(learning(frame).panels[0]))
    assert {"share of runs that have not reached 0.70", "epoch"} <= set(texts(waiting(frame).panels[0]))
    found = [text for panel in final(frame).panels for text in texts(panel)]
    for title in ("final training accuracy", "final test accuracy", "difference to batch size 10"):
        assert f"{title} (fraction of rows)" in found


def test_curves_are_means_with_quantiles_and_named_at_their_ends(make_study):
    frame = make_study(BATCHES[:1], 40)
    figure = learning(frame)
    for line, key in (("training", "train/accuracy"), ("test", "val/accuracy")):
        table = np.stack(frame[key])
        expected = np.stack([table.mean(axis=0), *np.quantile(table, [0.05, 0.95], axis=0)], axis=1)
        np.testing.assert_allclose(curve_of(figure.charts[0], line), expected, atol=1e-6)
    mean, low, high = curve_of(figure.charts[0], "test")[-1]
    assert {"training", "test", "majority", "epoch 100"} <= set(texts(figure.panels[0]))
    assert f"test: {mean:.3f} [{low:.3f}, {high:.3f}]" in texts(figure.panels[0])


def test_the_majority_is_in_each_panel_and_in_the_caption(make_study):
    figure = learning(make_study(BATCHES, 3))
    assert [texts(panel).count("majority") for panel in figure.panels] == [1] * 4
    assert "majority class (0.651)" in figure.caption
    unknown = learning(make_study(BATCHES, 3).assign(positive_rate=np.nan))
    assert "majority" not in unknown.caption + " ".join(texts(picture(unknown)))


def test_survival_shares_are_those_of_the_runs_and_a_diverged_run_never_leaves(make_study):
    frame = make_study(BATCHES[:2], 10, diverged={0: 90})
    runs = frame[frame["batch.size"] == 5]
    first = [np.inf if at == 0 else np.argmax(curve >= 0.70) + 1 for at, curve in enumerate(runs["train/accuracy"])]
    shares = [np.mean([at > epoch for at in first]) for epoch in range(101)]
    np.testing.assert_allclose(curve_of(waiting(frame).charts[0], "5")[:, 0], shares, atol=1e-6)


def test_spreads_show_means_and_paired_differences_in_a_column(make_study):
    frame = make_study(BATCHES[:2], 10, diverged={3: 60})
    figure = final(frame)
    of = {size: np.array([curve[80:].mean() for curve in frame.loc[frame["batch.size"] == size, "train/accuracy_end"]])
          for size in (5, 10)}  # fmt: skip
    runs = drawn(figure.charts[0])
    np.testing.assert_allclose(runs.loc[runs["line"] == "5", "value"], np.sort(of[5][np.isfinite(of[5])]), atol=1e-6)
    single, paired = (" ".join(texts(panel)) for panel in figure.panels[:2])
    assert f"{np.nanmean(of[5]):.3f} [" in single
    assert f"{np.nanmean(of[5] - of[10]):.3f}".replace("-", "\N{MINUS SIGN}") + " [" in paired  # 10 is the default
    assert [drawn(chart, 3)["level"][0] for chart in figure.charts] == [pytest.approx(400 / 614), 0] * 2
    assert "difference from batch size 10 under the same seed" in figure.caption
    assert "majority class (0.651)" in figure.caption


def test_where_no_run_has_a_value_there_is_no_panel_of_differences(make_study):
    figure = final(make_study(BATCHES[:2], 3, diverged=dict.fromkeys(range(3), 60)))
    assert len(figure.panels) == 2
    assert "no value" in texts(figure.panels[0])


def test_one_replicate_has_no_interval(make_study):
    assert not [text for text in texts(final(make_study(BATCHES, 1)).panels[0]) if "[" in text]


def test_diverged_runs_are_counted_in_their_panel(make_study):
    panels = learning(make_study(BATCHES, 2, diverged={0: 1, 1: 1, 2: 50})).panels
    subtitles = [next((text for text in texts(panel) if "diverged" in text), "") for panel in panels]
    assert subtitles == ["2 of 2 diverged", "1 of 2 diverged", "", ""]


@DRAW
@pytest.mark.parametrize("nothing", [None, float("nan"), np.empty(0)])
def test_a_failed_run_without_curves_is_left_out(make_study, draw, nothing):
    frame = make_study(BATCHES, 2)
    frame.loc[0, "status"] = "failed"
    for key in ("train/accuracy", "val/accuracy", "train/accuracy_end"):
        frame.at[0, key] = nothing
    assert draw(frame).panels


@pytest.mark.parametrize("draw", [learning, waiting, final])
@pytest.mark.parametrize("rate", [0.35, np.nan])
def test_a_study_whose_runs_all_failed_is_drawn_or_left_out(make_study, draw, rate):
    frame = make_study(BATCHES, 2).assign(status="failed", positive_rate=rate)
    for key in ("train/accuracy", "val/accuracy", "train/accuracy_end"):
        frame[key] = None
    assert len(draw(frame).panels) in (0, 4)


@pytest.mark.parametrize(("epochs", "n_drawn"), [(600, 120), (1, 1)])
def test_short_and_long_trainings_are_drawn(make_study, epochs, n_drawn):
    figure = learning(make_study(BATCHES[:2], 1, epochs=epochs))
    assert len(curve_of(figure.charts[0], "test")) == n_drawn
    assert figure.panels[0].count("<path") > 10


def test_values_and_rows_have_one_color_in_all_figures(make_study):
    frame = make_study(BATCHES, 2)
    for figure in (waiting(frame), final(frame)):
        assert [color for color in COLORS if color in figure.panels[0]][:4] == list(COLORS[:4])
        assert not [color for color, _ in (TRAINING, VALIDATION) if color in picture(figure)]
    assert TRAINING[0] in picture(learning(frame))
    assert len(set(map(str, looks_of(map(str, range(15))).values()))) == 15
    assert len(looks_of(map(str, range(40)))) == 40


@pytest.mark.parametrize("draw", [learning, final])
def test_hostile_text_is_drawn_literally(make_study, draw):
    svg = picture(draw(make_study([{"activation": text} for text in HOSTILE], 2, epochs=5), "activation"))
    found = texts(svg)
    for expected in ("<b>bold</b>", "$\\frac{$", "a & b", "nul□□[31m"):
        assert any(expected in text for text in found), expected
    assert "<b>" not in svg
    assert max(map(len, found)) < 200


def test_labels_stand_apart_within_the_axis_and_move_little():
    assert not apart(np.array([]), 0.05, 1.0).size
    placed = apart(np.array([0.99, 0.0, 0.5, 0.01, 1.0]), 0.05, 1.0)
    assert min(np.diff(np.sort(placed))) >= 0.05 - 1e-12
    assert (placed.max(), placed[2]) == pytest.approx((1.0, 0.5))
    assert list(np.argsort(placed)) == [1, 3, 2, 0, 4]


def test_figures_are_those_of_the_claims_and_give_their_outcomes(make_study):
    frame = make_study(BATCHES, 12)
    verdicts = judge(load_claims(), frame, np.random.default_rng(0), 200)
    figures = figures_of(comparable(frame, ["batch.size"]), verdicts)
    assert list(figures) == ["curves", "waiting", "volatility", "final"]
    assert figures["waiting"].title == "Epochs until training accuracy has exceeded 0.72, by batch size"
    h1 = next(verdict for verdict in verdicts if verdict.claim.id == "H1")
    assert f"Claim H1, {h1.outcome}: {h1.reason}" in figures["waiting"].caption
    assert "Claim H4" in figures["volatility"].caption
    assert all("12 replicates a setting" in figure.caption for figure in figures.values())
    activations = make_study([{"activation": name} for name in ("relu", "tanh")], 12)
    verdicts = judge(load_claims(), activations, np.random.default_rng(0), 200)
    assert "learns" in figures_of(comparable(activations, ["activation"]), verdicts)


def test_figures_of_another_table_know_nothing_of_its_claims(make_study):
    frame = make_study(BATCHES, 12).assign(data_digest=OTHER, positive_rate=0.2)
    figures = figures_of(comparable(frame, ["batch.size"]), judge(load_claims(), frame, np.random.default_rng(0), 200))
    assert list(figures) == ["curves", "waiting", "final"]
    assert figures["waiting"].title == "Epochs until training accuracy has reached 0.84, by batch size"
    assert not [figure for figure in figures.values() if "Claim" in figure.caption]


def test_a_run_that_stopped_early_is_in_no_figure_but_counted(make_study):
    frame = make_study(BATCHES, 12)
    for row in (0, 1):
        frame.loc[row, ["status", "stop_epoch"]] = ["stopped early", 90]
        for key in ("train/accuracy", "train/accuracy_end", "val/accuracy"):
            frame.at[row, key] = np.where(np.arange(100) < 90, 0.99, np.nan)
    assert set(curve_of(waiting(frame, 0.98).charts[0], "5")[:, 0]) == {1}  # ten runs, none of which gets there
    assert len(drawn(final(frame).charts[0])) == 46
    assert "Missing: 2 of 48 stopped early" in figures_of(comparable(frame, ["batch.size"]), [])["final"].caption


def test_who_learns_is_measured_against_each_runs_own_labels(make_study):
    frame = make_study([{"activation": name} for name in ("relu", "tanh")], 20)
    rates = np.tile(np.linspace(0.30, 0.40, 20), 2)
    losses = curves.entropy(rates) - 0.025
    frame = frame.assign(positive_rate=rates, **{"train/loss": [np.full(100, loss) for loss in losses]})
    claimed = [Statistic(name="learns", curve="train/loss")]
    chart = who_learns(comparable(frame, ["activation"]), claimed).charts[0]
    np.testing.assert_allclose(drawn(chart)["value"], -0.025, atol=1e-6)
    assert drawn(chart, 3)["level"][0] == -0.02
