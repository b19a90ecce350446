import csv
import re

import numpy as np
import pandas as pd
import pytest

from pima_hp.report.build import file_names
from pima_hp.report.settings import comparable, display_names, in_words, literal, value_text
from pima_hp.report.style import SLOTS, slots
from pima_hp.report.tables import settings_table, summary, swept
from pima_hp.report.text import markdown_table, shown, text_table, write_csv

BATCHES = [{"batch.size": size} for size in (5, 10, 16, 32)]
ACTIVATIONS = [{"activation": name} for name in ("tanh", "sigmoid")]
STUDIES = {"Batch size": "batch.size", "Activation": "activation"}
HOSTILE = ["<b>", "$\\frac{$", "=1+1", "@x", "x" * 5000, "nul\0\x1b[31m", "-5"]


@pytest.fixture
def article(make_study):
    """Two studies about one baseline (relu, batch size 10), a run of batch size 5 diverged."""
    return make_study([*BATCHES, *ACTIVATIONS], 3, diverged={0: 60})


def test_summary_known_answers(article):
    table = summary(article, "batch.size").set_index("batch.size")
    assert table.index.tolist() == ["5", "10", "16", "32"]
    assert table.loc["5", ["n_runs", "n_diverged", "n_failed"]].tolist() == [3, 1, 0]
    runs = article[article["batch.size"].eq(5) & article["status"].eq("completed") & article["activation"].eq("relu")]
    finals = np.array([curve[80:].mean() for curve in runs["train/accuracy_end"]])
    assert len(finals) == 2
    assert table.loc["5", "final_train_accuracy_mean"] == pytest.approx(finals.mean())
    assert table.loc["5", "final_train_accuracy_sd"] == pytest.approx(finals.std(ddof=1))
    assert table.loc["5", "reached_fraction"] == pytest.approx(2 / 3)
    assert "final_test_accuracy_mean" in table.columns


def test_summary_counts_failed_runs_and_leaves_them_out(make_study):
    frame = make_study(BATCHES[:1], 3)
    frame.loc[0, "status"] = "failed"
    for key in ("train/accuracy", "train/accuracy_end", "val/accuracy"):
        frame.at[0, key] = None  # noqa: PD008 - a cell that may hold an array
    row = summary(frame, "batch.size").iloc[0]
    assert (row["n_runs"], row["n_failed"], row["reached_fraction"]) == (3, 1, 1.0)
    frame["status"] = "failed"
    assert np.isnan(summary(frame, "batch.size")["final_train_accuracy_mean"]).all()


def test_summary_of_curves_of_other_lengths(make_study):
    frame = pd.concat([make_study(BATCHES[:1], 2, epochs=30), make_study(BATCHES[1:2], 2).assign(config_id="other")])
    table = summary(frame, swept(frame))
    assert table["final_train_accuracy_mean"].notna().all()
    assert table["trainer.max_epochs"].tolist() == ["30", "100"]


def test_a_threshold_never_reached_is_infinite_and_shown_as_never(make_study):
    table = summary(make_study(BATCHES, 2), "batch.size", reach=0.99)
    assert np.isinf(table["epoch_of_train_accuracy_0.99_median"]).all()
    assert "never" in text_table(table)


def test_swept_settings_and_what_belongs_to_them(make_study, article):
    assert swept(article) == ["activation", "batch.size"]
    frame = make_study([{"optimizer": "adam", "optimizer.eps": 1e-7}, {"optimizer": "sgd", "optimizer.eps": None}], 1)
    assert swept(frame) == ["optimizer"]
    assert len(summary(article, swept(article))) == 6


def test_comparable_chooses_the_baseline_and_keeps_the_factors_own_settings(make_study):
    pair = [{"optimizer": "adam", "optimizer.eps": 1e-7}, {"optimizer": "sgd", "optimizer.eps": None}]
    assert len(comparable(make_study([*pair, *BATCHES], 1), ["optimizer"]).settings) == 3
    rates = [{"optimizer": name, "optimizer.lr": rate} for name in ("adam", "sgd") for rate in (0.1, 0.001)]
    chosen = comparable(make_study(rates, 1), ["optimizer"])
    assert len(set(chosen.settings["optimizer.lr"])) == 1
    assert (chosen.n_others, chosen.differing) == (1, ("optimizer.lr",))


def test_settings_table(article):
    table = settings_table(article, STUDIES).set_index("study")
    assert table.loc["Batch size", "batch size"] == "5, 10, 16, 32"
    assert table.loc["Activation", "activation"] == "relu, sigmoid, tanh"
    assert table.loc["Activation", "split (%)"] == "80/20"


def test_text_fits_100_columns(make_study, article):
    hostile = make_study([{"activation": text} for text in HOSTILE], 1, epochs=3)
    for frame, factors in [(article, "batch.size"), (article, swept(article)), (hostile, "activation")]:
        text = text_table(summary(frame, factors))
        assert max(map(len, text.splitlines())) <= 100
        assert "\x1b" not in text
    wide = pd.DataFrame({f"column number {n}": ["some long text"] for n in range(40)})
    assert max(map(len, text_table(wide).splitlines())) <= 100
    assert text_table(pd.DataFrame()) == ""


def test_markdown_cells_hold_no_markup():
    text = markdown_table(pd.DataFrame({"a|b": ["<b>x</b>", "[a](http://b)", "x\ny", "`$c$`"]}))
    assert len(text.splitlines()) == 6
    assert not re.search(r"(?<!\\)[<>`$\[\]]", text)


def test_a_spread_that_is_missing_is_not_shown_and_long_cells_are_whole():
    table = pd.DataFrame(
        {"score_mean": [0.5, float("nan")], "score_sd": [float("nan")] * 2, "claim": ["word " * 30] * 2}
    )
    assert [row[0] for row in shown(table)[1]] == ["0.500", "-"]
    assert "word " * 29 in markdown_table(table)


def test_settings_in_words():
    text = "depends on batch.shuffle, optimizer._target_=torch.optim.Adam, sustained_epochs 3"
    assert in_words(text) == "depends on shuffling, optimizer Adam, epochs in a row 3"


def test_csv_is_read_back_and_holds_no_formulas(tmp_path):
    texts = ["=1+1", "+a", "-b", "@c", "-5", "+1e-3", "plain", 'quo"te,', "\tx"]
    path = write_csv(pd.DataFrame({"=head": texts, "number": np.arange(9) - 4.5}), tmp_path / "t.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["'=head", "number"]
    assert [row[0] for row in rows[1:]] == [
        "'=1+1",
        "'+a",
        "'-b",
        "'@c",
        "-5",
        "+1e-3",
        "plain",
        'quo"te,',
        "'\tx",
    ]
    assert rows[1][1] == "-4.5"


def test_file_names_are_plain_and_different():
    titles = ["Batch size", "batch-size!", "../../etc", "Settings", "…", "x" * 500]
    names = file_names(titles)
    assert names["Batch size"] == "batch_size"
    assert len(set(names.values())) == len(titles)
    assert all(name.replace("_", "").isalnum() and name.isascii() and len(name) < 70 for name in names.values())
    assert "settings" not in names.values()


def test_equal_values_have_one_text():
    assert value_text(1) == value_text(1.0) == value_text(np.int64(1)) == "1"
    assert value_text(np.array([12, 8])) == value_text([12.0, 8.0]) == "[12, 8]"
    assert (value_text(True), value_text(None), value_text(float("nan"))) == ("true", "none", "none")


def test_text_is_shown_without_what_cannot_be_seen():
    assert literal("a\ud800\u202eb\n") == "a□□b□"
    assert literal("x" * 5000, 10) == "xxxxxxxxx…"


def test_display_names_stay_different():
    names = display_names(["0.00031622776601683794", "0.0003162", "0", "relu", "x" * 99, "x" * 99 + "y"])
    assert names["0.00031622776601683794"] == "0.0003162"
    assert len(set(names.values())) == 6


def test_values_have_slots_of_their_own_until_there_are_none():
    fifteen = slots(str(number) for number in range(100, 115))
    assert sorted(fifteen.values()) == sorted(SLOTS)
    assert len(slots(str(number) for number in range(100, 140))) == 40
