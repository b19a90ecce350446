"""Tables of a study, for terminals and spreadsheets."""

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.claims import load_claims
from pima_hp.analysis.selection import varying_settings
from pima_hp.analysis.verdicts import judge
from pima_hp.report.tables import cells, counts_text, estimates_table, summary, text_table, verdict_table

BATCHES = [{"batch.size": size} for size in (5, 10, 16, 32)]
ACTIVATIONS = [{"activation": name} for name in ("tanh", "sigmoid")]
HOSTILE = ["<b>", "$\\frac{$", "=1+1", "@x", "x" * 5000, "nul\0\x1b[31m", "-5"]


@pytest.fixture
def article(make_study):
    """Two studies about one baseline (relu, batch size 10), a run of batch size 5 diverged."""
    return make_study([*BATCHES, *ACTIVATIONS], 3, diverged={0: 60})


def test_summary_known_answers(article):
    table = summary(article, ["batch.size"]).set_index("batch.size")
    assert table.index.tolist() == ["5", "10", "16", "32"]
    assert table.loc["5", ["n_runs", "n_diverged", "n_stopped", "n_failed"]].tolist() == [3, 1, 0, 0]
    runs = article[article["batch.size"].eq(5) & article["status"].eq("completed") & article["activation"].eq("relu")]
    finals = np.array([curve[80:].mean() for curve in runs["train/accuracy_end"]])
    assert len(finals) == 2
    assert table.loc["5", "final_training_accuracy_mean"] == pytest.approx(finals.mean())
    assert table.loc["5", "final_training_accuracy_sd"] == pytest.approx(finals.std(ddof=1))
    assert table.loc["5", "share_that_reached_0.72"] == pytest.approx(2 / 3)
    assert "final_test_accuracy_mean" in table.columns
    assert len(summary(article, [*varying_settings(article)])) == 6
    assert summary(article[article["activation"] == "tanh"], [])["n_runs"].tolist() == [3]


def test_failed_and_stopped_runs_are_counted_and_left_out(make_study):
    frame = make_study(BATCHES[:1], 4)
    frame.loc[0, "status"], frame.loc[1, "status"] = "failed", "stopped early"
    for key in ("train/accuracy", "train/accuracy_end", "val/accuracy"):
        frame.at[0, key] = None  # noqa: PD008 - a cell that may hold an array
        frame.at[1, key] = np.full(100, 0.99)  # noqa: PD008 - as above
    row = summary(frame, ["batch.size"]).iloc[0]
    assert (row["n_runs"], row["n_failed"], row["n_stopped"]) == (4, 1, 1)
    assert row["final_training_accuracy_mean"] < 0.9
    frame["status"] = "failed"
    assert np.isnan(summary(frame, ["batch.size"])["final_training_accuracy_mean"]).all()


def test_curves_of_other_lengths_are_not_read_as_diverged(make_study):
    frame = pd.concat([make_study(BATCHES[:1], 2, epochs=30), make_study(BATCHES[1:2], 2).assign(config_id="other")])
    table = summary(frame, [*varying_settings(frame)])
    assert table["final_training_accuracy_mean"].notna().all()
    assert table["trainer.max_epochs"].tolist() == ["30", "100"]


def test_an_accuracy_that_is_never_reached_is_infinite_and_shown_as_never(make_study):
    frame = make_study(BATCHES, 2).assign(**{"train/accuracy": [np.full(100, 0.65)] * 8})
    table = summary(frame, ["batch.size"])
    assert np.isinf(table["median_epoch_at_0.72"]).all()
    assert "never" in text_table(table)


def test_text_fits_100_columns(make_study, article):
    hostile = make_study([{"activation": text} for text in HOSTILE], 1, epochs=3)
    for frame, factors in [
        (article, ["batch.size"]),
        (article, [*varying_settings(article)]),
        (hostile, ["activation"]),
    ]:
        text = text_table(summary(frame, factors))
        assert max(map(len, text.splitlines())) <= 100
        assert "\x1b" not in text
    wide = pd.DataFrame({f"column number {n}": ["some long text"] for n in range(33)})
    assert max(map(len, text_table(wide).splitlines())) <= 100
    long = {f"setting_of_the_network_{n}": ["glorot_uniform"] for n in range(3)}
    scores = {f"score_{n}_{kind}": [value] for n in range(5) for kind, value in (("mean", 0.781), ("sd", 0.013))}
    text = text_table(pd.DataFrame(long | scores))
    assert text.count("0.781±0.013") == 5
    assert max(map(len, text.splitlines())) <= 100


def test_verdicts_fit_a_terminal_and_keep_their_words(make_study):
    verdicts = judge(load_claims(), make_study(BATCHES, 12), np.random.default_rng(0), 200)
    text = text_table(verdict_table(verdicts))
    assert max(map(len, text.splitlines())) <= 100
    assert len(verdict_table(verdicts)) == sum(verdict.outcome != "untestable" for verdict in verdicts) >= 3
    assert {"H1:", "accuracy", "exceeds", "batch"} <= set(text.split())


def test_verdicts_are_counted_by_their_headline(make_study):
    frame = make_study([{"optimizer": "sgd", "data.scaling": scaling} for scaling in ("none", "standard")], 20)
    high = (frame["data.scaling"] == "standard").to_numpy()
    for key in ("train/accuracy", "train/accuracy_end"):
        frame[key] = [(0.9 if is_high else 0.6) * np.ones(100) for is_high in high]
    (verdict,) = judge([claim for claim in load_claims() if claim.id == "H8"], frame, np.random.default_rng(0), 200)
    assert (verdict.outcome, verdict.word) == ("supported", "depends")
    assert counts_text([verdict]) == "1 that depends on choices"
    assert verdict_table([verdict])["verdict"][0].startswith(verdict.headline)


def test_a_descriptive_estimate_has_no_outcome(make_study):
    verdicts = judge(load_claims(), make_study(BATCHES, 12), np.random.default_rng(0), 200)
    table = estimates_table(verdicts)
    assert len(table) == sum(len(verdict.estimates) for verdict in verdicts)
    assert set(table.loc[table["descriptive"], "outcome"]) == {""}
    assert "" not in set(table.loc[~table["descriptive"], "outcome"])
    assert {"sentence", "p_adjusted", "survives", "n_diverged", "n_stopped", "effect_probability"} <= set(table.columns)
    assert table.loc[table["value"].notna(), "config_ids"].str.len().min() > 0


def test_cells_join_means_with_their_spread_and_have_labels():
    table = pd.DataFrame({"batch.size": ["5", "10"], "score_mean": [0.512, np.nan], "score_sd": [0.251, np.nan],
                          "n_runs": [3, 3], "epoch": [46.5, 35.0]})  # fmt: skip
    headings, rows = cells(table)
    assert headings == ["batch size", "score", "runs", "epoch"]
    assert rows == [["5", "0.512±0.251", "3", "46.5"], ["10", "\N{EN DASH}", "3", "35.0"]]


def test_small_p_values_are_a_bound():
    assert cells(pd.DataFrame({"p": [8.1e-48, 0.123]}))[1] == [["<0.001"], ["0.123"]]
