"""Lightning around a solo run: loggers, callbacks, checkpoints, early stops, arguments of the Trainer."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pima_hp.data.datamodule import PimaDataModule
from pima_hp.model.module import MLPClassifier
from pima_hp.run import CURVES
from pima_hp.training.solo import fit
from tests.training.conftest import alone, ended, run_of, same_bits, scores_of


def test_loggers_have_the_scores_of_each_epoch_and_the_hyperparameters(tmp_path: Path) -> None:
    run = run_of("trainer.max_epochs=3", "batch=b32", "optimizer=adam")
    loggers = [TensorBoardLogger(tmp_path, name="tb", version="", default_hp_metric=False)]
    loggers += [CSVLogger(tmp_path, name="csv", version="")]
    results, _ = fit(run, loggers=loggers)
    accumulator = EventAccumulator(str(tmp_path / "tb"), size_guidance={"scalars": 0})
    accumulator.Reload()
    assert set(accumulator.Tags()["scalars"]) >= {*CURVES}
    for key in CURVES:
        scalars = accumulator.Scalars(key)
        assert [scalar.step for scalar in scalars] == [1, 2, 3]
        # Lightning logs in single precision
        np.testing.assert_allclose([scalar.value for scalar in scalars], results.curves[key][0], rtol=1e-6)
    for name in ("tb", "csv"):
        assert "optimizer.lr: 0.001" in (tmp_path / name / "hparams.yaml").read_text()
    header, *rows = [line.split(",") for line in (tmp_path / "csv/metrics.csv").read_text().splitlines()]
    column, step = header.index("val/loss"), header.index("step")
    found = [(float(row[step]), float(row[column])) for row in rows if row[column]]
    assert [row[0] for row in found] == [1, 2, 3]
    np.testing.assert_allclose([row[1] for row in found], results.curves["val/loss"][0], rtol=1e-6)


class Counter(Callback):
    """Count batches and epochs, and log a number of its own once an epoch."""

    def __init__(self) -> None:
        self.n_batches = self.n_epochs = 0

    def on_train_batch_end(self, *_: object) -> None:
        self.n_batches += 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self.n_epochs += 1
        pl_module.log("own/batches", float(self.n_batches))


def test_any_callback_of_lightning_works_and_what_it_logs_becomes_a_curve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of("trainer.max_epochs=4", "batch=b32", "optimizer=adam", "optimizer.lr=0.01")
    checkpoint = ModelCheckpoint(tmp_path, monitor="val/loss", save_last=True)
    counter = Counter()
    results, module = fit(run, callbacks=[checkpoint, counter, TQDMProgressBar(), ModelSummary()])
    assert (counter.n_batches, counter.n_epochs) == (4 * 20, 4)
    bar = capsys.readouterr().out
    assert "Epoch 3" in bar
    assert {name for name in CURVES if f"{name}=" in bar} == {
        "val/loss",
        "val/accuracy",
        "train/loss",
        "train/accuracy",
    }
    assert results.curves["own/batches"][0].tolist() == [20, 40, 60, 80]
    best = results.curves["val/loss"].min()
    assert float(checkpoint.best_model_score or math.nan) == pytest.approx(best, rel=1e-6)
    loaded = MLPClassifier.load_from_checkpoint(checkpoint.best_model_path)
    (watched, *_) = module.trainer.datamodule.val_dataloader()
    ((features, labels),) = watched
    assert float(F.binary_cross_entropy_with_logits(loaded(features), labels).detach()) == pytest.approx(best, rel=1e-6)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    for name, tensor in module.state_dict().items():
        assert torch.equal(stored["state_dict"][name], tensor)
    plain = alone(run)
    del results.curves["own/batches"]  # type: ignore[attr-defined]
    assert same_bits(results, plain), "callbacks change nothing"
    assert capsys.readouterr() == ("", ""), "nothing is shown that nobody asked for"


def test_a_run_continues_from_a_checkpoint(tmp_path: Path) -> None:
    overrides = ("batch=b32", "optimizer=adam")
    fit(run_of("trainer.max_epochs=2", *overrides), callbacks=[ModelCheckpoint(tmp_path, save_last=True)])
    run = run_of("trainer.max_epochs=4", *overrides)
    callbacks = [ModelCheckpoint(tmp_path, save_last=True)]
    results, _ = fit(run, callbacks=callbacks, ckpt_path=str(tmp_path / "last.ckpt"))
    whole = alone(run)
    assert ended(results) == ("completed", 0, 80)
    for key, curve in results.curves.items():
        assert np.isnan(curve[0, :2]).all()
        assert np.array_equal(curve[0, 2:], whole.curves[key][0, 2:]), key
    assert scores_of(results) == scores_of(whole)


class StopAt(Callback):
    """Ask the trainer to stop in one of its hooks."""

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self._stop)

    def _stop(self, trainer: L.Trainer, *_: object, **__: object) -> None:
        trainer.should_stop = True


CUTS: dict[str, tuple[dict[str, Any], int, int, int]] = {
    "patience": ({"callbacks": [EarlyStopping("val/loss", patience=0, min_delta=10.0)]}, 2, 40, 2),
    "in the first batch": ({"callbacks": [StopAt("on_train_batch_end")]}, 1, 1, 1),
    "before the first batch": ({"callbacks": [StopAt("on_train_epoch_start")]}, 0, 0, 0),
    "no time": ({"max_time": timedelta(0)}, 0, 0, 0),
    "two epochs of steps": ({"max_steps": 40}, 2, 40, 2),
    "two epochs and a quarter": ({"max_steps": 45}, 3, 45, 2),
    "all steps but the last": ({"max_steps": 99}, 5, 99, 4),
    "nothing watched": ({"limit_val_batches": 0}, 5, 100, 0),
    "fast_dev_run": ({"fast_dev_run": True}, 1, 1, 1),
}


@pytest.mark.parametrize(("options", "stop_epoch", "n_updates", "n_watched"), CUTS.values(), ids=CUTS)
def test_a_run_that_is_cut_short_says_so_and_where(
    options: dict[str, Any], stop_epoch: int, n_updates: int, n_watched: int
) -> None:
    run = run_of("trainer.max_epochs=5", "batch=b32", "scheduler=plateau_half")
    results, module = fit(run, **options)
    assert ended(results) == ("stopped early", stop_epoch, n_updates)
    whole = alone(run)
    assert set(results.curves) == set(whole.curves)
    for key, curve in results.curves.items():
        n_scored = stop_epoch if key in ("train/loss", "train/accuracy", "lr") else n_watched
        assert np.isfinite(curve[0]).tolist() == [True] * n_scored + [False] * (5 - n_scored), key
        n_whole = min(n_updates // 20, n_scored)
        assert np.array_equal(curve[0, :n_whole], whole.curves[key][0, :n_whole]), key
    if n_updates:
        features, labels = PimaDataModule(seeds=run.seeds).tensors("val")
        with torch.no_grad():
            loss = F.binary_cross_entropy_with_logits(module(features), labels)
        assert results.scores["val/loss"][0] == pytest.approx(float(loss), rel=1e-6)  # of the last weights, in float32


@pytest.mark.parametrize(
    ("overrides", "n_updates"),
    [
        (("+trainer.limit_train_batches=5",), 10),
        (("+trainer.limit_train_batches=0.5",), 20),
        (("+trainer.limit_train_batches=9", "+trainer.accumulate_grad_batches=4"), 6),
        (("+trainer.limit_train_batches=100",), 40),
    ],
)
def test_batches_that_the_configuration_leaves_out_are_not_missing(overrides: tuple[str, ...], n_updates: int) -> None:
    results = alone(run_of("trainer.max_epochs=2", "batch=b32", *overrides))
    assert ended(results) == ("completed", 0, n_updates)


def test_updates_that_a_scheduler_of_accumulation_joins_are_not_missing() -> None:
    results, _ = fit(run_of("trainer.max_epochs=2", "batch=b32"), callbacks=[GradientAccumulationScheduler({1: 4})])
    assert ended(results) == ("completed", 0, 20 + 5)


def test_a_callback_that_only_logs_is_left_out_where_there_is_no_logger(tmp_path: Path) -> None:
    run = run_of("trainer.max_epochs=2", "batch=full")
    assert same_bits(fit(run, callbacks=[LearningRateMonitor()])[0], alone(run))
    fit(run, callbacks=[LearningRateMonitor()], loggers=[CSVLogger(tmp_path, name="csv", version="")])
    assert "lr-RMSprop" in (tmp_path / "csv/metrics.csv").read_text()


def test_a_stop_after_the_last_update_leaves_a_whole_run() -> None:
    run = run_of("trainer.max_epochs=2", "batch=full")
    stops = ({"max_steps": 2}, {"callbacks": [EarlyStopping("val/loss", patience=0, min_delta=10.0)]})
    for options in stops:
        results, _ = fit(run, **options)
        assert ended(results) == ("completed", 0, 2)
        assert same_bits(results, alone(run))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_lower_precisions_train_and_are_scored_in_single(precision: str) -> None:
    results = alone(
        run_of("trainer.max_epochs=3", "batch=b32", f"trainer.precision={precision}", "data.scaling=standard")
    )
    assert ended(results) == ("completed", 0, 60)
    full = alone(run_of("trainer.max_epochs=3", "batch=b32", "data.scaling=standard"))
    np.testing.assert_allclose(results.curves["val/loss"], full.curves["val/loss"], rtol=0.05)
    assert not np.array_equal(results.curves["val/loss"], full.curves["val/loss"])
