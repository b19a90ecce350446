"""The figures of a factor: the numbers they draw are those of the runs, and their captions say what is drawn."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pima_hp.analysis import curves
from pima_hp.analysis.claims import load_claims
from pima_hp.analysis.verdicts import judge
from pima_hp.report.charts import apart
from pima_hp.report.comparable import comparable
from pima_hp.report.figures import figures_of, learning_curves, spreads, waiting_times
from tests.report.conftest import hover_texts, texts

BATCHES = [{"batch.size": size} for size in (5, 10, 16, 32)]
HOSTILE = ["<b>bold</b>", "$\\frac{$", "a & b", "x" * 5000, "x" * 5000 + "y", "nul\0\x1b[31m", 'q"]', ""]
OTHER = "1a2b3c4d" * 8


def final(frame, factor="batch.size"):
    return spreads(comparable(frame, [factor]), factor, "final")


def waiting(frame, threshold=0.70):
    return waiting_times(comparable(frame, ["batch.size"]), threshold)


def learning(frame, factor="batch.size"):
    return learning_curves(comparable(frame, [factor]), factor)


DRAW = pytest.mark.parametrize("draw", [learning, waiting, final])


@DRAW
def test_a_figure_is_drawn_without_a_warning_and_stands_alone(make_study, draw, capfd):
    figure = draw(make_study(BATCHES, 3))
    found = texts(figure.svg())
    assert {"5", "10", "16", "32"} <= set(found) | {text.removeprefix("batch size ") for text in found}
    assert figure.title in found
    assert figure.caption.split(". ")[0] in " ".join(found)
    assert "WARN" not in "".join(capfd.readouterr())


def test_axes_have_titles_with_units(make_study):
    frame = make_study(BATCHES, 3)
    assert {"accuracy (fraction of rows)", "epoch"} <= set(texts(learning(frame).panels[0]))
    assert {"share of runs that have not reached 0.70", "epoch"} <= set(texts(waiting(frame).panels[0]))
    found = [text for panel in final(frame).panels for text in texts(panel)]
    for title in ("final training accuracy", "final test accuracy", "difference to batch size 10, same seed"):
        assert f"{title} (fraction of rows)" in found


def test_curves_are_means_with_quantiles_and_named_at_their_ends(make_study):
    frame = make_study(BATCHES[:1], 40)
    panel = learning(frame).panels[0]
    last = np.array([curve[-1] for curve in frame["val/accuracy"]])
    low, high = np.quantile(last, [0.05, 0.95])
    lines = hover_texts(panel)
    assert len(lines) == 100
    assert f"test: {last.mean():.3f} [{low:.3f}, {high:.3f}]" in lines[-1]
    assert "training (running): " in lines[0]
    assert {"training", "test", "majority"} <= set(texts(panel))


def test_the_majority_is_in_each_panel_and_in_the_caption(make_study):
    figure = learning(make_study(BATCHES, 3))
    assert [texts(panel).count("majority") for panel in figure.panels] == [1] * 4
    assert "majority class (0.651)" in figure.caption
    unknown = learning(make_study(BATCHES, 3).assign(positive_rate=np.nan))
    assert "majority" not in unknown.caption + " ".join(texts(unknown.svg()))


def test_survival_shares_are_those_of_the_runs_and_a_diverged_run_never_leaves(make_study):
    frame = make_study(BATCHES[:2], 10, diverged={0: 90})
    runs = frame[frame["batch.size"] == 5]
    first = [np.inf if at == 0 else np.argmax(curve >= 0.70) + 1 for at, curve in enumerate(runs["train/accuracy"])]
    lines = hover_texts(waiting(frame).panels[0])
    assert len(lines) == 101
    for epoch, line in enumerate(lines):
        assert line.startswith(f"epoch {epoch}; 5: {np.mean([at > epoch for at in first]):.3f} [")


def test_spreads_show_means_and_paired_differences_in_a_column(make_study):
    frame = make_study(BATCHES[:2], 10, diverged={3: 60})
    figure = final(frame)
    of = {size: np.array([curve[80:].mean() for curve in frame.loc[frame["batch.size"] == size, "train/accuracy_end"]])
          for size in (5, 10)}  # fmt: skip
    single, paired = (" ".join(texts(panel)) for panel in figure.panels[:2])
    assert f"{np.nanmean(of[5]):.3f} [" in single
    assert f"{np.nanmean(of[5] - of[10]):.3f}".replace("-", "\N{MINUS SIGN}") + " [" in paired  # 10 is the default
    assert "majority class 0.651" in single
    assert "no difference" in paired
    assert figure.panels[0].count("<path") > 19
    assert "difference from batch size 10 under the same seed" in figure.caption


def test_where_no_run_has_a_value_there_is_no_panel_of_differences(make_study):
    figure = final(make_study(BATCHES[:2], 3, diverged=dict.fromkeys(range(3), 60)))
    assert len(figure.panels) == 2
    assert "no value" in texts(figure.panels[0])


def test_one_replicate_has_no_interval(make_study):
    found = texts(final(make_study(BATCHES, 1)).panels[0])
    assert "one run each" in found
    assert not [text for text in found if "[" in text]


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


def test_short_and_long_trainings_are_drawn(make_study):
    assert len(hover_texts(learning(make_study(BATCHES[:2], 1, epochs=600)).panels[0])) == 120
    assert len(hover_texts(learning(make_study(BATCHES[:2], 1, epochs=1)).panels[0])) == 1


def test_values_and_rows_have_one_color_in_all_figures(make_study):
    frame = make_study(BATCHES, 2)
    colors = [[color for color in ("#009E73", "#E69F00", "#56B4E9", "#CC79A7") if color in figure.panels[0]]
              for figure in (waiting(frame), final(frame))]  # fmt: skip
    assert colors[0] == colors[1] == ["#009E73", "#E69F00", "#56B4E9", "#CC79A7"]
    assert not [color for color in ("#0072B2", "#D55E00") if color in waiting(frame).svg() + final(frame).svg()]
    assert "#0072B2" in learning(frame).svg()


@pytest.mark.parametrize("draw", [learning, final])
def test_hostile_text_is_drawn_literally(make_study, draw):
    svg = draw(make_study([{"activation": text} for text in HOSTILE], 2, epochs=5), "activation").svg()
    found = [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    for expected in ("<b>bold</b>", "$\\frac{$", "a & b", "nul□□[31m"):
        assert any(expected in text for text in found), expected
    assert "<b>" not in svg
    assert max(map(len, found)) < 200


def test_labels_stand_apart_within_the_axis():
    placed = apart({"a": 0.0, "b": 0.01, "c": 0.99, "d": 1.0}, 0.05)
    heights = [placed[name] for name in "abcd"]
    assert min(np.diff(heights)) >= 0.05 - 1e-12
    assert max(heights) <= 1.0 + 1e-12


def test_figures_are_those_of_the_claims_and_give_their_outcomes(make_study):
    frame = make_study(BATCHES, 12)
    verdicts = judge(load_claims(), frame, np.random.default_rng(0), 200)
    figures = figures_of(frame, verdicts, "batch.size")
    assert list(figures) == ["curves", "waiting", "volatility", "final"]
    assert figures["waiting"].title == "Epochs until training accuracy has exceeded 0.72, by batch size"
    h1 = next(verdict for verdict in verdicts if verdict.claim.id == "H1")
    assert f"Claim H1, {h1.outcome}: {h1.reason}" in figures["waiting"].caption
    assert "Claim H4" in figures["volatility"].caption
    assert all("12 replicates a setting" in figure.caption for figure in figures.values())
    activations = make_study([{"activation": name} for name in ("relu", "tanh")], 12)
    verdicts = judge(load_claims(), activations, np.random.default_rng(0), 200)
    assert "learns" in figures_of(activations, verdicts, "activation")


def test_figures_of_another_table_know_nothing_of_its_claims(make_study):
    frame = make_study(BATCHES, 12).assign(data_digest=OTHER, positive_rate=0.2)
    figures = figures_of(frame, judge(load_claims(), frame, np.random.default_rng(0), 200), "batch.size")
    assert list(figures) == ["curves", "waiting", "final"]
    assert figures["waiting"].title == "Epochs until training accuracy has reached 0.84, by batch size"
    assert not [figure for figure in figures.values() if "Claim" in figure.caption]


def test_a_run_that_stopped_early_is_in_no_figure_but_counted(make_study):
    frame = make_study(BATCHES, 12)
    for row in (0, 1):
        frame.loc[row, ["status", "stop_epoch"]] = ["stopped early", 90]
        for key in ("train/accuracy", "train/accuracy_end", "val/accuracy"):
            frame.at[row, key] = np.where(np.arange(100) < 90, 0.99, np.nan)
    lines = hover_texts(waiting(frame, 0.98).panels[0])
    assert all("; 5: 1.000" in line for line in lines)  # ten runs, none of which gets there
    assert "0.99" not in " ".join(texts(final(frame).panels[0]))
    assert "Missing: 2 of 48 stopped early" in figures_of(frame, [], "batch.size")["final"].caption


def test_who_learns_is_measured_against_each_runs_own_labels(make_study):
    frame = make_study([{"activation": name} for name in ("relu", "tanh")], 20)
    rates = np.tile(np.linspace(0.30, 0.40, 20), 2)
    losses = curves.entropy(rates) - 0.025
    frame = frame.assign(positive_rate=rates, **{"train/loss": [np.full(100, loss) for loss in losses]})
    panel = spreads(comparable(frame, ["activation"]), "activation", "learns").panels[0]
    assert "\N{MINUS SIGN}0.025" in " ".join(texts(panel))
    assert "learns below \N{MINUS SIGN}0.02" in texts(panel)
