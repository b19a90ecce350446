"""Train one run with Lightning's Trainer: this is the definition of a run."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch import callbacks as of_lightning
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler
from tqdm import tqdm

from pima_hp.config import Config, Seeds
from pima_hp.config.build import class_of
from pima_hp.data.datamodule import PimaDataModule
from pima_hp.model.module import MLPClassifier
from pima_hp.run import CURVES, Array, Results, Run
from pima_hp.seeds import Role, seeded
from pima_hp.training.diagnostics import Recorder, vectors_of
from pima_hp.training.dispatch import device_of, results_of

# Lightning reports devices, tips and warnings about loaders that this project chose on purpose.
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)

_EXPECTED = (
    ".*LeafSpec",  # Lightning's own use of torch
    "GPU available but not used",
    r"When using `Trainer\(accumulate_grad_batches",  # `optimizer_step` is called once an update
    ".*smaller than the logging interval",  # scores are logged once an epoch
    "The dirpath has changed",  # of a run continued from another's checkpoint
    "No (posi|nega)tive samples in targets",  # AUROC is logged as NaN
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
        loggers: of Lightning; hyperparameters are logged at the start, scores once an epoch.
        ckpt_path: a checkpoint of this run, to be continued.
        progress: counts the epochs.
        trainer_arguments: of `lightning.Trainer`, in place of those of the configuration.
    """
    config, n_epochs = run.config, run.config.trainer.max_epochs

    def diagnose(trainer: L.Trainer, epoch: int) -> None:
        found = recorder.record(epoch, lambda: vectors_of(module.model))
        for logger in trainer.loggers if found else ():
            logger.log_metrics(found, step=epoch)

    def after_epoch(trainer: L.Trainer, _: L.LightningModule) -> None:
        diagnose(trainer, trainer.current_epoch + 1)
        if progress and trainer.current_epoch + 1 < n_epochs:  # the caller counts the rest, without rounding
            progress.update(1 / n_epochs)

    watching = of_lightning.LambdaCallback(
        on_train_start=lambda trainer, _: diagnose(trainer, trainer.current_epoch), on_train_epoch_end=after_epoch
    )
    with quiet(), seeded(run.seeds.init, Role.NOISE):
        data = datamodule_of(config, run.seeds)
        recorder = Recorder([config], data.tensors)
        module = module_of(config, data.n_features, run.seeds.init)
        trainer = trainer_of(config, [*callbacks, watching], loggers, **trainer_arguments)
        for logger in loggers:
            logger.log_hyperparams({key: value for key, value in config.flat.items() if value is not None})
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    n_batches = trainer.fit_loop.epoch_loop.batch_progress.total.completed
    whole = n_batches == n_epochs * trainer.num_training_batches
    whole = whole and all(scores.keys() >= set(CURVES) for scores in module.history.values())
    labels, n_updates = data.tensors("train")[1].unsqueeze(0), np.array([trainer.global_step])  # (1, n), (1,)
    stopped_in = None if whole else max(module.history, default=0)
    columns = columns_of(module, n_epochs)
    return results_of([run], *columns, n_updates, labels, recorder, stopped_in=stopped_in), module


def columns_of(module: MLPClassifier, n_epochs: int) -> tuple[dict[str, Array], dict[str, Array], Array]:
    """Return the curves (M, E) and scores (M,) of a trained module, and the epoch in which each network diverged."""
    keys = dict.fromkeys([*CURVES, *(key for scores in module.history.values() for key in scores)])
    by_epoch = [module.history.get(epoch, {}) for epoch in range(1, n_epochs + 1)]
    nothing = np.full(module.diverged_in.shape, np.nan)
    curves = {key: np.stack([np.ravel(scores.get(key, nothing)) for scores in by_epoch], axis=1) for key in keys}
    scores = {key: score.reshape(-1) for key, score in module.scores.items()}
    return curves, scores, module.diverged_in.reshape(-1)


def datamodule_of(config: Config, seeds: Seeds | Sequence[Seeds]) -> PimaDataModule:
    """Return the datamodule of one run, or of M runs of one configuration from the seeds of each."""
    return class_of(config.data.target, PimaDataModule)(
        **config.data.arguments,
        batch_size=config.batch.size,
        shuffle=config.batch.shuffle,
        seeds=seeds,
        dtype=getattr(torch, config.trainer.dtype),
        device=device_of(config),
        digest=config.data_digest,
    )


def module_of(
    config: Config, n_features: int, init_seed: int | list[int], kind: type[MLPClassifier] = MLPClassifier
) -> MLPClassifier:
    """Return the module of one run, or of M runs of one configuration from the init seed of each."""
    stacked = {} if isinstance(init_seed, int) else {"n_members": len(init_seed)}
    return kind(
        model={**config.model.node, "n_features": n_features, "activation": config.activation.node, **stacked},
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
