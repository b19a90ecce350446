"""The public functions: what the commands do, from Python, with Hydra's overrides."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pima_hp
from pima_hp.commands import study as studies
from pima_hp.data.table import SHIPPED
from pima_hp.errors import ConfigurationError, InputError
from pima_hp.model import MLPClassifier
from pima_hp.training.solo import fit
from tests.conftest import job_of

QUICK = ("optimizer=adam", "batch=b32", "trainer.max_epochs=2")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_train_gives_curves_scores_and_the_module_and_writes_nothing_without_a_study(tmp_path: Path) -> None:
    trained = pima_hp.train(*QUICK)
    results, _ = fit(job_of(*QUICK).runs[0])
    assert (trained.run_id, trained.status) == (job_of(*QUICK).runs[0].id, "completed")
    assert all(np.array_equal(trained.curves[key], curve[0]) for key, curve in results.curves.items())
    assert trained.scores["val/auroc"] == results.scores["val/auroc"][0]
    assert trained.module.predict(pd.read_csv(SHIPPED)).shape == (768,)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_trained_into_a_study_is_read_and_predicts_from_there() -> None:
    for _ in range(2):
        trained = pima_hp.train(*QUICK, "study=s")
    (row,) = pima_hp.read_study("s").to_dict("records")
    assert row["run_id"] == trained.run_id
    assert np.array_equal(row["val/loss"], trained.curves["val/loss"])
    probabilities = pima_hp.predict("s", trained.run_id[:6], pd.read_csv(SHIPPED))
    assert ((probabilities > 0) & (probabilities < 1)).all()
    for wrong in ("0000", "", "*", trained.run_id[:3]):
        with pytest.raises(InputError, match="checkpoint"):
            pima_hp.predict("s", wrong, pd.read_csv(SHIPPED))
    assert len(list(Path("outputs/s/checkpoints").rglob("*.ckpt"))) == 1
    assert len(list(Path("outputs/s/tensorboard").glob("*/events*"))) <= 3, "the curves are logged once"


def test_tensorboard_shows_a_sweep_that_is_still_training(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    write = studies.publish

    def publish(*given: Any) -> pd.DataFrame:
        frame = write(*given)
        seen.extend(path.name for path in Path("outputs/s/tensorboard").glob("*/*.pima_hp_study"))
        return frame

    monkeypatch.setattr(studies, "publish", publish)
    monkeypatch.setattr(studies, "_PUBLISH_S", 0.0)
    pima_hp.sweep("trainer.max_epochs=1", "batch=b32", "engine.stack_size=2", n_replicates=4, study="s")
    assert [int(name.split(".")[3]) for name in seen][:1] == [2], "the first stack of two"
    assert int(seen[-1].split(".")[3]) == 4


def test_a_sweep_is_a_study_with_curves_the_best_setting_verdicts_and_a_report() -> None:
    study = pima_hp.sweep("batch.size=5,64", "trainer.max_epochs=3", n_replicates=2, study="s")
    assert len(study.frame) == 4
    curves = study.curves("train/loss_end")
    assert (curves.shape, list(curves.columns)) == ((4, 3), [1, 2, 3])
    best = study.best("train/loss_end")
    means = study.frame.assign(score=curves.mean(axis=1).to_numpy()).groupby("batch.size")["score"].mean()
    assert (best["batch.size"], best["train/loss_end"]) == (means.idxmin(), pytest.approx(means.min()))
    assert {verdict.claim.id for verdict in study.verdicts()} >= {"H1", "H9"}
    assert study.report().is_file()


def test_a_call_that_fails_raises_its_error_and_leaves_what_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = pima_hp.train(*QUICK, "study=s")

    def fail(*_: object) -> None:
        raise ArithmeticError("planted")

    monkeypatch.setattr(MLPClassifier, "on_train_epoch_start", fail)
    for own in (QUICK, (*QUICK, "seed=5")):
        with pytest.raises(ArithmeticError, match="planted"):
            pima_hp.train(*own, "study=s")
    assert pima_hp.predict("s", trained.run_id, pd.read_csv(SHIPPED)).shape == (768,)
    assert pima_hp.read_study("s").set_index("seed")["status"].to_dict() == {0: "completed", 5: "failed"}


def test_runs_with_other_settings_join_a_study() -> None:
    for rate in (0.1, 0.2):
        pima_hp.train(*QUICK, f"optimizer.lr={rate}", "study=s")
    assert sorted(pima_hp.read_study("s")["optimizer.lr"]) == [0.1, 0.2]


def test_what_is_wrong_raises_the_error_that_the_command_prints(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nearest: adam"):
        pima_hp.train("optimizer=adm")
    with pytest.raises(ConfigurationError, match=r"optimizer\.lr: must be greater than 0"):
        pima_hp.sweep("optimizer.lr=-1,0.1")
    with pytest.raises(InputError, match="n_replicates"):
        pima_hp.train("n_replicates=2")
    assert not list(tmp_path.iterdir())


def test_reading_a_study_imports_no_torch() -> None:
    code = "import sys, pima_hp; pima_hp.read_study; assert not {'torch', 'hydra'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
