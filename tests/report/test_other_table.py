"""Claims are about a table, and what is said of another table is true of it."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.claims import load_claims
from pima_hp.analysis.verdicts import judge
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.report.build import write_report
from pima_hp.report.factor import figures_of
from pima_hp.report.tables import majority_of, reach_of, summary
from tests.report.conftest import Page, caption, results_of

BATCHES = [{"batch.size": size} for size in (5, 10, 16, 32)]
OTHER = "1a2b3c4d" * 8
OF_THE_SHIPPED_ONE = r"(?i)glucose|pedigree|insulin|women|patients|literature|statlog|\bpima\b(?!-hp|_hp)"


def judged(claims, frame):
    return judge(claims, frame, np.random.default_rng(0), 200)


def test_claims_of_the_shipped_table_are_untestable_on_another(make_study):
    for found in judged(load_claims(), make_study(BATCHES, 12).assign(data_digest=OTHER)):
        name = found.claim.id
        assert found.outcome == "untestable"
        assert found.reason == f"{name} is about the shipped table; these runs use another table (SHA-256 1a2b3c4d...)"
        assert {part.problem for part in found.estimates} == {found.reason}


@pytest.mark.parametrize(
    ("data", "testable"),
    [("shipped", [True, False]), ("any", [True, True]), ("1a2b3c4d", [False, True]), (OTHER, [False, True]),
     ("00000000", [False, False])],
)  # fmt: skip
def test_a_claim_is_judged_on_the_table_that_it_names(make_study, data, testable):
    claim = next(claim for claim in load_claims() if claim.id == "H1").model_copy(update={"data": data})
    frames = [make_study(BATCHES, 12).assign(data_digest=digest) for digest in (SHIPPED_SHA256, OTHER)]
    assert [judged([claim], frame)[0].outcome != "untestable" for frame in frames] == testable
    if data == "1a2b3c4d":
        told = "H1 is about the table with SHA-256 1a2b3c4d...; these runs use another table (the shipped one)"
        assert judged([claim], frames[0])[0].reason == told


def test_in_a_study_of_two_tables_only_the_runs_of_the_claims_own_are_judged(make_study):
    claim = next(claim for claim in load_claims() if claim.id == "H1")
    own, other = make_study(BATCHES, 12), make_study(BATCHES, 12)
    other["train/accuracy"] = [np.zeros(100)] * len(other)
    other = other.assign(data_digest=OTHER, config_id="o" + other["config_id"], run_id="o" + other["run_id"])
    alone, both = (judged([claim], frame)[0] for frame in (own, pd.concat([other, own], ignore_index=True)))
    assert both.reason == alone.reason
    assert (both.decisive.config_ids, len(both.specifications)) == (
        alone.decisive.config_ids,
        len(alone.specifications),
    )


def test_a_command_is_not_named_where_runs_would_not_help(make_study):
    nothing = make_study(BATCHES, 1).iloc[:0]
    (claim,) = (claim for claim in load_claims() if claim.id == "H4a")
    measured, awaited = claim.parts
    only = claim.model_copy(update={"parts": [awaited], "command": "make-it"})
    assert "make-it" not in judged([only], nothing)[0].reason
    both = claim.model_copy(update={"parts": [measured, awaited], "command": "make-it"})
    assert "make-it" in judged([both], nothing)[0].reason


def test_the_accuracy_to_reach_is_relative_to_the_majority_of_another_table(make_study):
    frame = make_study(BATCHES, 3)
    assert reach_of(frame) == reach_of(frame.assign(positive_rate=0.3)) == 0.72
    assert reach_of(frame.assign(data_digest=OTHER)) == 0.72  # the majority is that of the shipped table
    assert reach_of(frame.assign(data_digest=OTHER, positive_rate=0.2)) == 0.84
    assert reach_of(frame.assign(data_digest=OTHER, positive_rate=0.9)) == 0.92
    assert reach_of(frame.assign(data_digest=OTHER, positive_rate=np.nan)) is None
    table = summary(frame.assign(data_digest=OTHER, positive_rate=0.2), "batch.size")
    assert "epoch_of_train_accuracy_0.84_median" in table.columns


def test_runs_of_two_tables_have_no_accuracy_to_reach_in_common(make_study):
    frame = make_study(BATCHES, 3)
    frame.loc[frame["batch.size"] == frame["batch.size"].iloc[0], ["data_digest", "positive_rate"]] = (OTHER, 0.1)
    assert majority_of(frame) is None
    assert reach_of(frame) is None
    table = summary(frame, ["batch.size", "data_digest"])
    assert not [name for name in table.columns if "epoch_of" in name or "reached" in name]
    assert table["n_runs"].sum() == len(frame)


def test_figures_of_another_table_know_nothing_of_these_claims(make_study, tmp_path):
    frame = make_study(BATCHES, 12).assign(data_digest=OTHER, positive_rate=0.2)
    figures = figures_of(results_of(frame, tmp_path / "s"), "batch.size")
    assert figures["waiting"].title == "Epochs until training accuracy has reached 0.84, by batch size"
    assert not [kind for kind, figure in figures.items() if "laim" in caption(figure)]
    shipped = figures_of(results_of(make_study(BATCHES, 12), tmp_path / "t"), "batch.size")
    assert "Claims: H1" in caption(shipped["curves"])
    assert "exceeded 0.72" in shipped["waiting"].title


def test_only_the_page_of_the_shipped_table_speaks_of_it(make_study, tmp_path):
    frame = make_study(BATCHES, 12)
    shipped, other = (
        Page(write_report(results_of(one, tmp_path / name)).read_text(encoding="utf-8")).text
        for name, one in (("shipped", frame), ("other", frame.assign(data_digest=OTHER)))
    )
    assert not re.findall(OF_THE_SHIPPED_ONE, other)
    words = {word.lower() for word in re.findall(OF_THE_SHIPPED_ONE, shipped)}
    assert words == {"glucose", "pedigree", "insulin", "women", "patients", "literature", "statlog"}
    assert "data=pima" not in other
    assert "data.scaling=standard" in other
    assert "median epoch at 0.72" in shipped


def test_a_csv_of_ones_own_with_a_fifth_of_positives(command, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 5 == 0
    rows = rng.normal(size=(300, 3)) + labels[:, None] * [1.8, 0, 0.8]
    lines = [f"{a:.4f},{b:.4f},{c:.4f},{int(sick)}" for (a, b, c), sick in zip(rows, labels, strict=True)]
    (tmp_path / "own.csv").write_text("\n".join(["a,b,c,sick", *lines]) + "\n")
    sweep = ("-m", "batch.size=16,64", "n_replicates=10", "trainer.max_epochs=5", "study=s", "report=true")
    done = command(*sweep, "data=csv", "data.path=own.csv", "data.label=sick")
    assert done.code == 0, done.err
    assert "0.84 median" in done.out
    assert "11 untestable" in done.out
    assert "note: 11 of 11 claims are about another table than these runs" in done.out
    report = tmp_path / "outputs" / "s" / "report"
    assert not re.findall(OF_THE_SHIPPED_ONE, Page((report / "index.html").read_text(encoding="utf-8")).text)
    told = [row["reason"] for row in json.loads((report / "verdicts.json").read_text())]
    assert all("is about the shipped table; these runs use another table (SHA-256 " in reason for reason in told)
    assert "epoch_of_train_accuracy_0.84_median" in (report / "tables" / "batch_size.csv").read_text()
