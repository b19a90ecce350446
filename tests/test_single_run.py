"""One run without `-m`: Lightning trains it; what it leaves, and which engine trains what (FAULTS A11, A12)."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchmetrics.functional.classification import binary_f1_score

from pima_hp.data.table import SHIPPED
from pima_hp.ledger import read_study
from pima_hp.ledger.ledger import curve_columns
from pima_hp.model import MLPClassifier
from pima_hp.model.metrics import EPOCH_METRICS
from pima_hp.run import tag_of
from tests.conftest import Command, job_of
from tests.test_app import QUICK, state_of


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads of a run: tag -> steps and values."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.parametrize(
    ("variant", "n_rates"),
    [
        (("scheduler=none", "activation=leaky_relu"), 1),
        (("scheduler=step", "scheduler.step_size=2", "data=pima_honest"), 3),
        (("scheduler=cosine", "batch=full"), 6),
        (("scheduler=plateau_half", "scheduler.patience=1", "scheduler.threshold=10.0", "batch.shuffle=true"), 3),
    ],
)
def test_tensorboard_shows_the_same_whichever_engine_trained_the_run(
    command: Command, tmp_path: Path, variant: tuple[str, ...], n_rates: int
) -> None:
    own = ("optimizer=adam", "seed=4", "trainer.max_epochs=6", "trainer.precision=64", "study=s", *variant)
    assert command(*own).code == 0
    assert command("engine=fused", "outputs=fast", *own).code == 0
    lightnings, fused = (tmp_path / name / "s" for name in ("outputs", "fast"))
    assert [read_study(path)["engine"].tolist() for path in (lightnings, fused)] == [["solo"], ["fused"]]
    (folder,), (other,) = (list((path / "tensorboard").glob("*/")) for path in (lightnings, fused))
    assert folder.name == other.name
    expected, found = shown(folder), shown(other)
    assert set(found) == set(expected) > {"val/accuracy", "train/loss_end", "~lr"}
    for tag, values in expected.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in values], tag
        np.testing.assert_allclose([v for _, v in found[tag]], [v for _, v in values], rtol=1e-6, err_msg=tag)
    assert len({value for _, value in expected["~lr"]}) == n_rates
    frames = [read_study(path) for path in (lightnings, fused)]
    for key in curve_columns(frames[0]):
        np.testing.assert_allclose(frames[1][key][0], frames[0][key][0], rtol=1e-9, err_msg=key)


def test_a_checkpoint_predicts_from_raw_rows_with_nothing_else(command: Command, tmp_path: Path) -> None:
    assert command("data=pima_honest", "optimizer=adam", "trainer.max_epochs=3", "study=s").code == 0
    (path,) = tmp_path.rglob("*.ckpt")
    assert path.parent.name == read_study(tmp_path / "outputs" / "s")["run_id"][0]
    module = MLPClassifier.load_from_checkpoint(path)
    rows = pd.read_csv(SHIPPED)
    predicted = module.predict(rows)
    assert predicted.shape == (768,)
    assert ((predicted > 0) & (predicted < 1)).all()
    shuffled = rows[rows.columns[::-1]].assign(note="x")
    assert torch.equal(module.predict(shuffled), predicted)
    one = module.predict(rows.head(1))
    assert torch.allclose(one, predicted[:1], rtol=1e-6)
    best = torch.load(path, weights_only=True)["callbacks"]
    (state,) = best.values()
    curve = read_study(tmp_path / "outputs" / "s")["val/loss"][0]
    assert float(state["best_model_score"]) == pytest.approx(curve.min(), rel=1e-6)


def test_a_metric_that_is_added_in_one_line_reaches_ledger_frame_tensorboard_and_claims(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def f1(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        two = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1, labels.shape[-1]).long()
        return binary_f1_score(two[0].sigmoid(), two[1], multidim_average="samplewise").reshape(logits.shape[:-1])

    monkeypatch.setitem(EPOCH_METRICS, "f1", f1)
    claim = {
        "id": "F1", "sentence": "F1 of the training rows exceeds 0.1.", "source": "a test", "family": "exploratory",
        "data": "shipped", "where": {},
        "statistic": {"name": "final_score", "curve": "train/f1_end"},
        "contrast": "difference",
        "parts": [{"name": "a", "where": {"activation": "relu"}, "over": {"activation": "tanh"}}],
        "supported": {"above": 0}, "refuted": {"below": 0},
    }  # fmt: skip
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "F1.yaml").write_text(yaml.safe_dump(claim), encoding="utf-8")
    sweep = ("-m", "activation=relu,tanh", "n_replicates=3", "trainer.max_epochs=4", "optimizer.lr=0.01", "batch=b32")
    done = command(*sweep, "study=s", "report=true", "claim_dir=claims")
    assert done.code == 0, done.err
    frame = read_study(tmp_path / "outputs" / "s")
    assert set(frame["engine"]) == {"stacked"}, "the kernel has no such metric"
    assert {"val/f1", "train/f1", "train/f1_end"} <= set(curve_columns(frame))
    assert np.isfinite(np.stack(frame["val/f1"].tolist())).all()
    for folder in (tmp_path / "outputs" / "s" / "tensorboard").glob("*/"):
        assert {"val/f1", "train/f1"} <= set(shown(folder))
    assert "F1" in (tmp_path / "outputs" / "s" / "report" / "verdicts.json").read_text()
    assert command("study=alone", "trainer.max_epochs=2").code == 0
    assert np.isfinite(read_study(tmp_path / "outputs" / "alone")["val/f1"][0]).all()


@pytest.mark.parametrize("engine", ["auto", "fused"])
def test_a11_a_finished_run_is_left_as_it_is_and_never_shown_twice(
    command: Command, tmp_path: Path, engine: str
) -> None:
    arguments = (f"engine={engine}", "study=s", *QUICK)
    assert "trained 1 run" in command(*arguments).err
    study = tmp_path / "outputs" / "s"
    before = {name: state for name, state in state_of(study).items() if not name.startswith("jobs")}
    again = command(*arguments)
    assert again.code == 0
    assert "nothing to train" in again.err
    run_id = read_study(study)["run_id"].iloc[0]
    for more in ((f"export={run_id}",), ("log_each_run=true",)):
        assert command(*arguments, *more).code == 0
    assert {name: state for name, state in state_of(study).items() if not name.startswith("jobs")} == before


def test_a12_events_that_were_deleted_are_written_again_from_the_ledger(command: Command, tmp_path: Path) -> None:
    assert command("study=s", *QUICK).code == 0
    (folder,) = (tmp_path / "outputs" / "s" / "tensorboard").glob("*/")
    content = shown(folder)
    for path in folder.iterdir():
        path.unlink()
    again = command("study=s", *QUICK)
    assert "nothing to train" in again.err
    assert shown(folder) == content


def test_a_run_that_joins_a_study_has_a_folder_and_counts_in_the_mean(command: Command, tmp_path: Path) -> None:
    command("-m", "activation=relu,tanh", "study=s", *QUICK)
    study = tmp_path / "outputs" / "s"
    overview = study / "tensorboard" / "tanh"
    before = [path.read_bytes() for path in sorted(overview.iterdir())]
    assert command("activation=tanh", "seed=1", "study=s", *QUICK).code == 0
    run_id = read_study(study).set_index("seed").loc[1, "run_id"]
    folders = {path.name for path in study.glob("tensorboard/*/")} - {"relu", "tanh"}
    assert folders == {f"tanh, seed 1, {run_id[:12]}"}
    assert [path.read_bytes() for path in sorted(overview.iterdir())] != before


def test_without_a_logger_nothing_is_written_for_tensorboard(command: Command, tmp_path: Path) -> None:
    assert command("logger=none", *QUICK).code == 0
    assert not list(tmp_path.rglob("*tfevents*"))


NO_ROW = ("activation=gelu", "activation.approximate=tanh")
ENGINES = {
    (): "solo",
    ("engine=fused",): "fused",
    ("engine=stacked",): "stacked",
    ("n_replicates=2",): "fused",
    ("n_replicates=2", "engine=solo"): "solo",
    ("n_replicates=2", "logger=csv"): "solo",
    ("n_replicates=2", "callbacks=early_stopping"): "solo",
    ("n_replicates=2", "+trainer.gradient_clip_val=1.0"): "solo",
    ("n_replicates=2", "optimizer=adam", "+optimizer.amsgrad=true"): "stacked",
    (*NO_ROW, "n_replicates=2"): "stacked",
}


@pytest.mark.parametrize("overrides", ENGINES, ids=" ".join)
def test_one_run_is_trained_by_lightning_and_several_by_the_fastest_engine_that_can(
    command: Command, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    engine, n_runs = ENGINES[overrides], 2 if "n_replicates=2" in overrides else 1
    planned = command(*overrides, "study=s", "dry_run=true", *QUICK)
    assert re.search(rf"{engine} +{n_runs} run", planned.out), planned.out
    assert command(*overrides, "study=s", *QUICK).code == 0
    study = tmp_path / "outputs" / "s"
    assert set(read_study(study)["engine"]) == {engine}
    assert len(list(study.rglob("metrics.csv"))) == (n_runs if "logger=csv" in overrides else 0)
    assert len(list(study.rglob("*.ckpt"))) == (n_runs if engine == "solo" else 0)


def test_without_llvmlite_a_sweep_is_stacked(command: Command, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pima_hp.training.fused.compiled", None)
    assert command("n_replicates=2", "study=s", *QUICK).code == 0
    assert read_study(tmp_path / "outputs" / "s")["engine"].tolist() == ["stacked"] * 2
    (log,) = (tmp_path / "outputs" / "s" / "jobs").rglob("*.log")
    assert "its compiler does not work here" in log.read_text()


def test_the_missing_one_of_several_replicates_is_trained_as_the_others_were(command: Command, tmp_path: Path) -> None:
    assert command(*NO_ROW, "n_replicates=2", "study=s", *QUICK).code == 0
    assert "trained 1 run" in command(*NO_ROW, "n_replicates=3", "study=s", *QUICK).err
    assert read_study(tmp_path / "outputs" / "s")["engine"].tolist() == ["stacked"] * 3


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_a_diverged_run_shows_its_curves_until_then(command: Command, tmp_path: Path, engine: str) -> None:
    wild = ("optimizer=sgd", "optimizer.lr=0.01", "activation=identity", "batch=full", "trainer.max_epochs=30")
    own = ("model.hidden_widths=[4,4,4]", "model.initialization=he_normal", "seed=1", "study=s", f"engine={engine}")
    done = command(*wild, *own)
    assert done.code == 0, done.err
    assert "1 diverged" in done.err
    (row,) = read_study(tmp_path / "outputs" / "s").to_dict("records")
    (folder,) = (tmp_path / "outputs" / "s" / "tensorboard").glob("*/")
    scalars = shown(folder)
    assert set(scalars) >= {tag_of(key) for key in ("val/loss", "train/accuracy", "lr")}
    assert 1 < row["stop_epoch"] <= 30
    assert [step for step, _ in scalars["val/loss"]][: row["stop_epoch"] - 1] == list(range(1, row["stop_epoch"]))
    assert np.isfinite(row["val/loss"][: row["stop_epoch"] - 1]).all()
    assert np.isnan(row["val/loss"][row["stop_epoch"] - 1 :]).all()


def test_the_fast_path_imports_neither_lightning_nor_a_compiler(tmp_path: Path) -> None:
    code = f"""
import sys
from pima_hp.commands.exits import exit_code
from pima_hp.commands.main import main
sys.argv = ["pima-hp-train", "optimizer=adam", "n_replicates=2", "study=s", *{QUICK}]
assert exit_code(main.__wrapped__) == 0
assert {{"torch", "pima_hp.training.fused.compiled"}} < set(sys.modules)
found = {{"lightning", "torchmetrics", "torch.utils.tensorboard", "torch._dynamo", "numba"}} & set(sys.modules)
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*tfevents*"))


def test_a_run_of_the_command_is_the_run_of_the_python_function(command: Command, tmp_path: Path) -> None:
    from pima_hp.training.solo import fit

    own = ("optimizer=nadam", "batch.shuffle=true", "trainer.max_epochs=2", "study=s")
    assert command(*own, "callbacks=early_stopping", "callbacks.early_stopping.patience=50").code == 0
    results, _ = fit(job_of(*own).runs[0])
    (row,) = read_study(tmp_path / "outputs" / "s").to_dict("records")
    for key, curve in results.curves.items():
        assert np.array_equal(row[key], curve[0]), key
