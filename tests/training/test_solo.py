"""Solo training: the definition of what a run is."""

import math
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from pima_hp.request import Request
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pima_hp.data.datamodule import PimaDataModule
from pima_hp.ledger.names import run_name
from pima_hp.model.mlp import build_mlp
from pima_hp.run import CURVE_KEYS, LearningCurves, RunRecord
from pima_hp.seeds import Role, stream
from pima_hp.training.loggers import loggers_of
from pima_hp.training.solo import fit_solo, train_solo
from tests.conftest import job_of


def arrays_of(curves: LearningCurves) -> dict[str, np.ndarray]:
    return {field.name: getattr(curves, field.name) for field in fields(curves)}


def same_bits(one: RunRecord, other: RunRecord) -> bool:
    pairs = zip(arrays_of(one.curves).values(), arrays_of(other.curves).values(), strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs) and one.scores == other.scores


def solo(request: Request, **options: object) -> RunRecord:
    return train_solo(request.config, request.seeds[0], **options)


@pytest.mark.parametrize("overrides", [(), ("batch.shuffle=true", "optimizer=adam", "data=pima_honest", "seed=5")])
def test_the_same_configuration_and_seed_gives_the_same_bits(overrides: tuple[str, ...]) -> None:
    request = job_of("trainer.max_epochs=3", "batch=b32", *overrides)
    torch.manual_seed(1)
    first = solo(request)
    torch.manual_seed(2)
    torch.rand(3)
    assert same_bits(first, solo(request))
    other = job_of("trainer.max_epochs=3", "batch=b32", *overrides, "seed=6")
    assert not same_bits(first, solo(other))


def test_the_curves_are_what_a_loop_by_hand_gives() -> None:
    request = job_of("trainer.max_epochs=3", "trainer.precision=64", "optimizer=adam", "optimizer.lr=0.01", "batch=b16")
    record = solo(request)
    configuration, seeds = request.config, request.seeds[0]
    data = PimaDataModule(configuration, seeds)
    model = build_mlp(configuration, 8, stream(seeds.init, Role.INIT), torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, eps=1e-7)
    by_hand: dict[str, list[float]] = {name: [] for name in CURVE_KEYS}
    (features, labels), watched = data.part("train"), data.part("val")
    for _ in range(3):
        n_right, summed_loss = 0, 0.0
        for start in range(0, 614, 16):
            batch = slice(start, start + 16)
            logits = model(features[batch])
            loss = F.binary_cross_entropy_with_logits(logits, labels[batch])
            n_right += int(((logits > 0) == (labels[batch] > 0.5)).sum())
            summed_loss += float(loss.detach()) * len(labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        by_hand["train_accuracy"].append(n_right / 614)
        by_hand["train_loss"].append(summed_loss / 614)
        with torch.no_grad():
            for suffix, (rows, truth) in {"train_{}_end": (features, labels), "val_{}": watched}.items():
                logits = model(rows)
                by_hand[suffix.format("accuracy")].append(float(((logits > 0) == (truth > 0.5)).double().mean()))
                loss = F.binary_cross_entropy_with_logits(logits, truth)
                by_hand[suffix.format("loss")].append(float(loss))
    for name, curve in arrays_of(record.curves).items():
        # float64; sums are made in another order
        np.testing.assert_allclose(curve, by_hand[name], rtol=1e-12, err_msg=name)
    assert record.n_updates == 3 * 39
    assert record.scores["val/accuracy"] == record.curves.val_accuracy[-1]
    assert record.scores["train/loss"] == pytest.approx(record.curves.train_loss_end[-1], rel=1e-12)


def test_a_run_that_diverges_says_so_and_invents_no_number() -> None:
    request = job_of("optimizer=sgd", "optimizer.lr=1e30", "trainer.max_epochs=5", "batch=b32", "activation=identity")
    record = solo(request)
    assert record.status == "diverged"
    assert record.stop_epoch == 1
    assert record.scores == {}
    for curve in arrays_of(record.curves).values():
        assert len(curve) == 5
        assert np.isnan(curve).all()
    later = solo(
        job_of("optimizer=sgd", "optimizer.lr=4", "trainer.max_epochs=30", "batch=b32", "activation=identity",
                   "model.hidden_widths=[4,4,4]", "model.initialization=he_normal", "data.scaling=standard", "seed=1")
    )  # fmt: skip
    assert later.status == "diverged"
    assert (record.n_updates, later.n_updates) == (20, later.stop_epoch * 20)
    for curve in arrays_of(later.curves).values():
        assert np.isfinite(curve[: later.stop_epoch - 1]).all()
        assert np.isnan(curve[later.stop_epoch - 1 :]).all()


def test_validation_rows_of_their_own_leave_the_test_rows_for_the_end() -> None:
    record = solo(job_of("data=pima_honest", "trainer.max_epochs=2", "batch=full"))
    assert {key.partition("/")[0] for key in record.scores} == {"train", "val", "test"}
    watched = solo(job_of("data=pima", "trainer.max_epochs=2", "batch=full"))
    assert {key.partition("/")[0] for key in watched.scores} == {"train", "val"}
    assert {key.partition("/")[2] for key in watched.scores} == {"accuracy", "loss", "auroc", "f1", "brier"}


@pytest.fixture
def logged(tmp_path: Path) -> tuple[Request, RunRecord, Path]:
    request = job_of("logger=both", "trainer.max_epochs=3", "batch=b32", "optimizer=adam", f"outputs={tmp_path}")
    (run,) = request.runs
    loggers = loggers_of(run_name("adam", run.seeds.seed, run.id), request.folder, request.logger)
    return request, train_solo(run.config, run.seeds, loggers=loggers), request.folder


def test_tensorboard_shows_scores_against_the_epoch_and_hyperparameters(
    logged: tuple[Request, RunRecord, Path],
) -> None:
    request, record, folder = logged
    (run,) = request.runs
    (events,) = folder.rglob("events.out.tfevents*")
    assert events.parent.name == f"adam, seed 0, {run.id[:6]}"
    accumulator = EventAccumulator(str(events.parent), size_guidance={"scalars": 0})
    accumulator.Reload()
    tags = set(accumulator.Tags()["scalars"])
    assert tags >= {*CURVE_KEYS.values(), "~lr", *(f"~final/{key}" for key in record.scores)}
    for name, key in CURVE_KEYS.items():
        scalars = accumulator.Scalars(key)
        assert [scalar.step for scalar in scalars] == [1, 2, 3]
        # Lightning logs in single precision
        np.testing.assert_allclose([s.value for s in scalars], getattr(record.curves, name), rtol=1e-6)
    for key, score in record.scores.items():
        assert accumulator.Scalars(f"~final/{key}")[-1].value == pytest.approx(score, rel=1e-6)
    plugins = accumulator.summary_metadata
    hparams = [tag for tag, metadata in plugins.items() if metadata.plugin_data.plugin_name == "hparams"]
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= set(hparams)
    assert b"optimizer.lr" in plugins["_hparams_/session_start_info"].plugin_data.content


def test_the_csv_logger_writes_the_same_scores(logged: tuple[Request, RunRecord, Path]) -> None:
    _, record, folder = logged
    (path,) = folder.rglob("metrics.csv")
    header, *rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    column, step = header.index("val/loss"), header.index("step")
    found = [(float(row[step]), float(row[column])) for row in rows if row[column]]
    assert [row[0] for row in found] == [1, 2, 3]
    np.testing.assert_allclose([row[1] for row in found], record.curves.val_loss, rtol=1e-6)


class Counter(L.Callback):
    def __init__(self) -> None:
        self.n_batches = self.n_epochs = 0

    def on_train_batch_end(self, *_: object) -> None:
        self.n_batches += 1

    def on_train_epoch_end(self, *_: object) -> None:
        self.n_epochs += 1


def test_any_callback_of_lightning_works(tmp_path: Path) -> None:
    request = job_of("trainer.max_epochs=4", "batch=b32", "optimizer=adam", "optimizer.lr=0.01")
    checkpoint = ModelCheckpoint(tmp_path, monitor="val/loss", save_last=True)
    counter = Counter()
    record, module = fit_solo(
        request.config, request.seeds[0], callbacks=[checkpoint, counter], enable_checkpointing=True
    )
    assert (counter.n_batches, counter.n_epochs) == (4 * 20, 4)
    assert float(checkpoint.best_model_score or math.nan) == pytest.approx(record.curves.val_loss.min(), rel=1e-6)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    for name, tensor in module.state_dict().items():
        assert torch.equal(stored["state_dict"][name], tensor)
    assert same_bits(record, solo(request)), "callbacks change nothing"


class StopAt(L.Callback):
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
    "a quarter of each epoch": ({"limit_train_batches": 5}, 5, 25, 5),
    "nothing watched": ({"limit_val_batches": 0}, 5, 100, 0),
    "fast_dev_run": ({"fast_dev_run": True}, 1, 1, 1),
}


@pytest.mark.parametrize(("options", "stop_epoch", "n_updates", "n_watched"), CUTS.values(), ids=CUTS)
def test_a_run_that_is_cut_short_says_so_and_where(
    options: dict[str, Any], stop_epoch: int, n_updates: int, n_watched: int
) -> None:
    request = job_of("trainer.max_epochs=5", "batch=b32", "scheduler=plateau_half")
    record, module = fit_solo(request.config, request.seeds[0], **options)
    assert (record.status, record.stop_epoch, record.n_updates) == ("stopped early", stop_epoch, n_updates)
    whole = solo(request)
    for name, curve in arrays_of(record.curves).items():
        n_scored = stop_epoch if name in ("train_loss", "train_accuracy") else n_watched
        assert np.isfinite(curve).tolist() == [True] * n_scored + [False] * (5 - n_scored), name
        n_whole = 0 if "limit_train_batches" in options else min(n_updates // 20, n_scored)
        assert np.array_equal(curve[:n_whole], getattr(whole.curves, name)[:n_whole]), name
    if record.scores:
        features, labels = PimaDataModule(request.config, request.seeds[0]).part("val")
        with torch.no_grad():
            loss = F.binary_cross_entropy_with_logits(module(features), labels)
        assert record.scores["val/loss"] == pytest.approx(float(loss), rel=1e-6)  # of the last weights, in float32


def test_a_stop_after_the_last_update_leaves_a_whole_run() -> None:
    request = job_of("trainer.max_epochs=2", "batch=full")
    stops = ({"max_steps": 2}, {"callbacks": [EarlyStopping("val/loss", patience=0, min_delta=10.0)]})
    for options in stops:
        record = solo(request, **options)
        assert (record.status, record.stop_epoch, record.n_updates) == ("completed", 0, 2)
        assert same_bits(record, solo(request))


def test_weights_that_are_lost_in_an_epoch_cut_short_are_a_divergence() -> None:
    request = job_of("optimizer=sgd", "optimizer.lr=1e30", "trainer.max_epochs=5", "batch=b32", "activation=identity")
    record = solo(request, max_steps=1)
    assert (record.status, record.stop_epoch, record.n_updates, record.scores) == ("diverged", 1, 1, {})
