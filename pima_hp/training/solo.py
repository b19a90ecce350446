"""Train one run with Lightning's Trainer: this is the definition of a run."""

import logging
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch import callbacks as of_lightning
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.profilers import PassThroughProfiler
from tqdm import tqdm

from pima_hp.config import Config, Seeds
from pima_hp.config.build import class_of
from pima_hp.data.datamodule import PimaDataModule
from pima_hp.model.metrics import FINAL_METRICS, scored
from pima_hp.model.module import MLPClassifier
from pima_hp.run import CURVES, FINAL, MAIN_SETTINGS, Results, Run, RunStatus
from pima_hp.seeds import Role, seeded
from pima_hp.training.dispatch import device_of, engine_on

# Lightning reports devices, tips and warnings about loaders that this project chose on purpose.
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)

_EXPECTED = (
    ".*LeafSpec",  # Lightning's own use of torch
    "GPU available but not used",
    ".*smaller than the logging interval",  # scores are logged once an epoch
    "The dirpath has changed",  # of a run continued from another's checkpoint
    "Checkpoint directory .* exists and is not empty",
    "ReduceLROnPlateau conditioned on metric",  # an epoch cut short has no validation
    r"Detected call of `lr_scheduler.step\(\)` before",  # a run stopped before its first update
)

_NEED_A_LOGGER = (of_lightning.LearningRateMonitor, of_lightning.DeviceStatsMonitor, of_lightning.ThroughputMonitor)

_ENABLED_BY = {
    "enable_checkpointing": of_lightning.Checkpoint,
    "enable_model_summary": of_lightning.ModelSummary,
    "enable_progress_bar": of_lightning.ProgressBar,
}


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings of Lightning about what is intended here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f"(?s){'|'.join(_EXPECTED)}")
        yield


def fit(
    run: Run,
    *,
    callbacks: Sequence[L.Callback] = (),
    loggers: Sequence[Logger] = (),
    ckpt_path: str | None = None,
    progress: tqdm | None = None,
    **trainer_arguments: Any,
) -> tuple[Results, MLPClassifier]:
    """Train one run and return its results and the module; `module.trainer` is the Trainer, with the datamodule.

    Args:
        run: its configuration and seeds.
        callbacks: any of Lightning.
        loggers: of Lightning; scores are logged once an epoch, hyperparameters with the final scores at the end.
        ckpt_path: a checkpoint of this run, to be continued.
        progress: counts the epochs.
        trainer_arguments: of `lightning.Trainer`, in place of those of the configuration.
    """
    began, config, n_epochs = time.perf_counter(), run.config, run.config.trainer.max_epochs
    final = FinalScores(config)
    counter = of_lightning.LambdaCallback(on_train_epoch_end=lambda *_: progress and progress.update(1 / n_epochs))
    with quiet(), seeded(run.seeds.init, Role.NOISE):
        data = datamodule_of(config, run.seeds)
        module = module_of(config, data, run.seeds.init)
        trainer = trainer_of(config, [*callbacks, counter, final], loggers, **trainer_arguments)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    history, last_epoch = module.history, max(module.history, default=0)
    n_planned = n_epochs * planned_batches(config, len(data.train_dataloader()))
    whole = trainer.fit_loop.epoch_loop.total_batch_idx + 1 == n_planned
    whole = whole and all(scores.keys() >= set(CURVES) for scores in history.values())
    status = RunStatus.COMPLETED if whole else RunStatus.STOPPED
    if module.diverged_in <= last_epoch or not final.finite:
        status = RunStatus.DIVERGED
    keys = dict.fromkeys([*CURVES, *(key for scores in history.values() for key in scores)])
    curves = {key: np.full((1, max(n_epochs, last_epoch)), np.nan) for key in keys}
    for epoch, scores in history.items():
        for key, score in scores.items():
            curves[key][0, epoch - 1] = score if epoch < module.diverged_in else np.nan
    labels = data.tensors("train")[1]
    results = Results(
        runs=[run],
        status=[status],
        curves=curves,
        scores={
            key: np.full(1, np.nan if status is RunStatus.DIVERGED else score) for key, score in final.scores.items()
        },
        n_updates=np.array([trainer.global_step]),
        stop_epoch=np.array([0 if status is RunStatus.COMPLETED else last_epoch]),
        positive_rate=np.array([float(labels.double().mean())]),
        n_train=len(labels),
        duration_s=time.perf_counter() - began,
        engine=engine_on("solo", config),
    )
    return results, module


def datamodule_of(config: Config, seeds: Seeds) -> PimaDataModule:
    """Return the datamodule of one run."""
    return class_of(config.data.target, PimaDataModule)(
        **config.data.arguments,
        batch_size=config.batch.size,
        shuffle=config.batch.shuffle,
        seeds=seeds,
        dtype=getattr(torch, config.trainer.dtype),
        digest=config.data_digest,
    )


def module_of(config: Config, data: PimaDataModule, init_seed: int) -> MLPClassifier:
    """Return the module of one run."""
    return MLPClassifier(
        model={**config.model.node, "n_features": data.n_features, "activation": config.activation.node},
        optimizer=config.optimizer.node,
        scheduler=config.scheduler.node if config.scheduler.target else None,
        monitor=config.scheduler.monitor or "val/loss",
        init_seed=init_seed,
        dtype=config.trainer.dtype,
    )


def trainer_of(
    config: Config, callbacks: Sequence[L.Callback], loggers: Sequence[Logger] = (), **arguments: Any
) -> L.Trainer:
    """Return the Trainer of a configuration; bar, summary and checkpoints only where a callback provides them.

    Args:
        config: its `trainer` section.
        callbacks: of Lightning; those that only log are dropped where there is no logger.
        loggers: of Lightning.
        arguments: of `lightning.Trainer`, in place of those of the configuration.
    """
    callbacks = [each for each in callbacks if loggers or not isinstance(each, _NEED_A_LOGGER)]
    given: dict[str, Any] = {
        name: any(isinstance(each, kind) for each in callbacks) for name, kind in _ENABLED_BY.items()
    }
    given |= {"num_sanity_val_steps": 0, "profiler": _NoProfiler(), **config.trainer.arguments}
    given |= {"accelerator": "gpu" if device_of(config).type == "cuda" else "cpu", "devices": 1, **arguments}
    return class_of(config.trainer.target, L.Trainer)(callbacks=callbacks, logger=list(loggers) or False, **given)


class _NoProfiler(PassThroughProfiler):
    """Lightning's profiler that measures nothing, at a tenth of its cost, which is a twentieth of a run's time."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]  # noqa: ARG002
        return self._nothing


def planned_batches(config: Config, n_batches: int) -> int:
    """Return how many batches an epoch has, from the number of batches of all training rows."""
    extra = config.trainer.extra
    limit = extra.get("overfit_batches") or extra.get("limit_train_batches", 1.0)
    return int(n_batches * limit) if isinstance(limit, float) else min(n_batches, limit)


class FinalScores(L.Callback):
    """Score each split with the last weights, and log that with the hyperparameters: TensorBoard's HParams tab.

    Attributes:
        scores: `train/auroc`, `val/brier`, ...
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.scores: dict[str, float] = {}

    @property
    def finite(self) -> bool:
        """Whether the final losses are finite; the module does not check this after an incomplete epoch."""
        return all(math.isfinite(self.scores.get(key, 0.0)) for key in ("train/loss", "val/loss"))

    @torch.inference_mode()
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score and log."""
        assert isinstance(pl_module, MLPClassifier)  # noqa: S101 -- the only module of this project
        data: PimaDataModule = trainer.datamodule  # type: ignore[attr-defined]
        pl_module.eval()
        with trainer.precision_plugin.forward_context():
            for split in data.splits:
                features, labels = trainer.precision_plugin.convert_input(data.tensors(split))
                found = scored(f"{split}/{{}}", FINAL_METRICS, pl_module(features), labels)
                self.scores |= {key: float(score) for key, score in found.items()}
        pl_module.train()
        flat = self.config.flat.items() if trainer.loggers else ()
        settings = {key: value for key, value in flat if value is not None and not key.endswith("._target_")}
        main = {key: settings[key] for key in MAIN_SETTINGS if key in settings}
        scores = {f"{FINAL}{key}": score for key, score in self.scores.items()}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(main, scores if self.finite else None, step=max(pl_module.history, default=0))
            else:
                logger.log_hyperparams(settings)
