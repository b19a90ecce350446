"""The command `pima-hp-report`: what it prints, writes and returns; no torch, no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.baselines import MODELS, keep_baselines, read_baselines
from pima_hp.commands.report import run
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.ledger import Ledger, Manifest
from pima_hp.run import CURVES, Run
from tests.conftest import Command
from tests.ledger.conftest import configuration_of, results_of, seeds_of

CLAIM = """id: {name}
sentence: Batches of 16 rows end {word} 0.7.
source: a test
family: primary
data: any
statistic: {{name: final_score, curve: train/accuracy}}
contrast: mean
parts:
  - {{name: batch 16, where: {{batch.size: 16}}}}
supported: {supported}
refuted: {refuted}
"""


def study_of(folder, level, digest="0" * 64, seeds=range(12)):
    """Twelve replicates of two batch sizes whose accuracies lie about a level."""
    runs, ledger = [], Ledger(folder)
    for size in (16, 32):
        configuration = configuration_of(batch__size=size, trainer__max_epochs=20).model_copy(
            update={"data_digest": digest}
        )
        for seed in seeds:
            runs.append(Run(configuration, seeds_of(seed)))
            values = level + np.random.default_rng([size, seed]).normal(0, 0.01, (6, 20))
            curves = dict(zip(CURVES, values[:, None], strict=False))
            ledger.append(
                results_of(configuration, seed, curves=curves, scores={}, n_train=0, positive_rate=np.full(1, np.nan))
            )
    Manifest.of(runs, ["batch.size"]).write(folder)
    return folder


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    return [str(study_of(folder / name, level)) for name, level in (("low", 0.65), ("high", 0.75))]


@pytest.fixture
def own_claims(tmp_path):
    (tmp_path / "claims").mkdir()
    rule = {"word": "above", "supported": "{above: 0.7}", "refuted": "{below: 0.7}"}
    (tmp_path / "claims" / "mine.yaml").write_text(CLAIM.format(name="mine", **rule))
    return str(tmp_path / "claims")


def test_the_verdicts_fit_a_terminal_and_the_exit_code_answers(studies, own_claims, capsys):
    low, high = studies
    assert run([low, "--claims", own_claims]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines()[:-1])) <= 100
    assert {"mine:", "Batches", "refuted,"} <= set(text.split())
    assert "24 of 24 runs finished" in text
    assert "11 of 12 claims are about another table than these runs" in text
    assert run([low, "--claims", own_claims, "--fail-on", "refuted,undecided"]) == 1
    assert run([high, "--claims", own_claims, "--fail-on", "refuted,undecided"]) == 0
    assert run([high, "--claims", own_claims, "--fail-on", "supported"]) == 1


def unread(program, *arguments, **options):
    """Run a command whose output nobody reads; return its exit code and standard error."""
    reader, writer = os.pipe()
    os.close(reader)
    code = f"from pima_hp.commands.{program} import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False, **options
    )
    os.close(writer)
    return done.returncode, done.stderr


def test_a_command_whose_output_nobody_reads_ends_quietly(studies, own_claims):
    report = [studies[0], "--claims", own_claims]
    assert unread("report", *report) == (0, b"")
    assert unread("report", *report, "--fail-on", "refuted") == (1, b"")
    assert unread("main", "--help") == (0, b"")


def compared(first, second, claims):
    assert run([first, "--claims", claims, "--compare", second]) == 0
    return pd.read_csv(Path(first) / "report" / "tables" / "compared.csv").set_index("estimate")


def test_two_studies_side_by_side_are_paired_by_seed(studies, own_claims, capsys):
    low, high = studies
    row = compared(low, high, own_claims).loc["batch 16"]
    text = capsys.readouterr().out
    assert max(map(len, [line for line in text.splitlines() if "report " not in line])) <= 100
    assert {"mine", "difference"} <= set(text.split())
    # made from the same numbers about another level: paired, nothing but the level is left
    assert row["difference"] == pytest.approx(0.1)
    assert row["difference_upper"] - row["difference_lower"] < 1e-9 < row["upper_1"] - row["lower_1"]
    assert (row["outcome_1"], row["outcome_2"], row["n_shared"]) == ("refuted", "supported", 12)
    assert row[["value_1", "upper_2", "n_replicates_1"]].tolist() == pytest.approx([0.65, 0.75, 12], abs=0.01)


def test_a_study_beside_itself_differs_by_exactly_nothing(studies, own_claims):
    table = compared(studies[0], studies[0], own_claims)
    assert len(table)
    assert (table[["difference", "difference_lower", "difference_upper"]] == 0).all(axis=None)


@pytest.mark.parametrize(("seeds", "n_shared"), [(range(2, 30), 10), (range(5, 30), 7), (range(50, 62), 0)])
def test_a_difference_needs_ten_shared_seeds(studies, own_claims, tmp_path, seeds, n_shared):
    row = compared(studies[0], str(study_of(tmp_path / "other", 0.75, seeds=seeds)), own_claims).loc["batch 16"]
    assert (row["n_shared"], row["n_replicates_2"]) == (n_shared, len(seeds))
    assert np.isfinite(row["difference"]) == (n_shared >= 10)


def test_a_descriptive_estimate_has_no_outcome(studies, own_claims):
    path = Path(own_claims) / "mine.yaml"
    more = "  - {name: batch 32, where: {batch.size: 32}, descriptive: true}\nsupported"
    path.write_text(path.read_text().replace("supported", more, 1))
    table = compared(studies[0], studies[1], own_claims)
    assert table.loc["batch 32", ["outcome_1", "outcome_2"]].isna().all()
    rows = pd.read_csv(Path(studies[0]) / "report" / "tables" / "verdicts.csv")
    rows = rows[rows["claim"] == "mine"].set_index("name")
    assert rows["outcome"].fillna("").tolist() == ["refuted", ""]
    assert {"headline", "p_adjusted", "survives", "replicates_needed"} <= set(rows.columns)
    assert rows.loc["batch 16", "headline"] == "refuted, robust to analysis choices"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "must be the folder of a study"),
        (
            ["{low}", "--fail-on", "refuted,maybe"],
            "--fail-on: must be of supported, refuted, mixed, undecided, untestable; found 'refuted,maybe'",
        ),
        (["{low}", "--claims", "/nonexistent"], "must be a folder of claims"),
        (["{low}", "--compare", "nowhere"], "must be the folder of a study"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(studies, capsys, arguments, told):
    assert run([argument.format(low=studies[0]) for argument in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]


def test_a_wrong_claim_is_refused_before_anything_is_trained(command: Command, tmp_path):
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "X1.yaml").write_text("id: X1\n")
    done = command("study=s", "report=true", "claim_dir=claims")
    assert (done.code, "claims/X1.yaml: " in done.err) == (2, True)
    assert not (tmp_path / "outputs").exists()


def test_baselines_are_computed_once_in_the_splits_of_the_runs(tmp_path):
    folder = study_of(tmp_path / "s", 0.7, SHIPPED_SHA256)
    frame = Ledger(folder).frame()
    keep_baselines(folder, frame)
    found = read_baselines(folder)
    assert found["split_seed"].tolist() == list(range(12))
    assert set(zip(found["n_train"], found["n_test"], strict=True)) == {(614, 154)}
    majority, logistic, _ = found[list(MODELS)].mean()
    assert majority == pytest.approx(0.65, abs=0.03)
    assert 0.74 < logistic < 0.81
    before = (folder / "baselines.csv").stat().st_mtime_ns
    keep_baselines(folder, frame)
    assert (folder / "baselines.csv").stat().st_mtime_ns == before
    more = pd.concat([frame, frame.assign(split_seed=frame["split_seed"] + 12)])
    assert len(keep_baselines(folder, more)) == len(read_baselines(folder)) == 24


def test_a_path_in_a_strangers_ledger_is_not_opened(tmp_path):
    folder = study_of(tmp_path / "s", 0.7)
    frame = Ledger(folder).frame().assign(**{"data.path": "/dev/zero"})
    keep_baselines(folder, frame)
    assert not (folder / "baselines.csv").exists()


def test_once_the_baselines_are_there_no_torch_is_loaded(tmp_path):
    folder = study_of(tmp_path / "s", 0.7, SHIPPED_SHA256)
    keep_baselines(folder, Ledger(folder).frame())
    code = f"import sys; from pima_hp.commands.report import run; run([{str(folder)!r}]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "False"
    assert json.loads((folder / "report" / "verdicts.json").read_text())


def test_a_study_of_one_split_has_baselines_without_an_interval(command: Command, tmp_path):
    settings = ("batch.size=5,10", "streams.split=0", "n_replicates=3", "trainer.max_epochs=3")
    assert command("-m", *settings, "study=s", "report=true").code == 0
    report = tmp_path / "outputs" / "s" / "report"
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "the network, " in page
    assert len(pd.read_csv(report / "tables" / "baselines.csv")) == 2 * 3
