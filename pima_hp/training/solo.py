"""Train runs with Lightning's Trainer: one at a time is the definition of what a run is."""

import logging
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelSummary, ProgressBar
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.profilers import PassThroughProfiler

from pima_hp.config import Config
from pima_hp.config.build import class_of
from pima_hp.config.flat import hparams_of
from pima_hp.data.datamodule import PimaDataModule
from pima_hp.model.metrics import final_scores
from pima_hp.model.module import MLPClassifier, Scores
from pima_hp.run import CURVES, FINAL, MAIN_SETTINGS, Results, Run, RunStatus
from pima_hp.seeds import Role, seeded
from pima_hp.training.device import device_of, engine_on
from pima_hp.versions import versions

# Lightning reports devices, tips and warnings about loaders that this project chose on purpose.
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)

_EXPECTED = (
    (".*LeafSpec.*", FutureWarning),  # Lightning's own use of torch
    ("GPU available but not used", UserWarning),
    (".*smaller than the logging interval", UserWarning),  # scores are logged once an epoch
    ("The dirpath has changed", UserWarning),  # of a run continued from another's checkpoint
    ("Checkpoint directory .* exists and is not empty", UserWarning),
    ("ReduceLROnPlateau conditioned on metric", RuntimeWarning),  # an epoch cut short was not watched
    (r"(?s)Detected call of `lr_scheduler.step\(\)` before", UserWarning),  # a run stopped before its first update
)


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings of Lightning about what is intended here."""
    with warnings.catch_warnings():
        for message, category in _EXPECTED:
            warnings.filterwarnings("ignore", message=message, category=category)
        yield


def fit(
    run: Run,
    *,
    callbacks: Sequence[L.Callback] = (),
    loggers: Sequence[Logger] = (),
    ckpt_path: str | None = None,
    **trainer_arguments: Any,
) -> tuple[Results, MLPClassifier]:
    """Train one run and return its results and the module; `module.trainer` is the Trainer, with the datamodule.

    Args:
        run: its configuration and seeds.
        callbacks: any of Lightning.
        loggers: of Lightning; scores are logged once an epoch, hyperparameters with the final scores at the end.
        ckpt_path: a checkpoint of this run, to be continued.
        trainer_arguments: of `lightning.Trainer`, in place of those of the configuration.
    """
    began, config = time.perf_counter(), run.config
    final = FinalScores(config)
    with quiet(), seeded(run.seeds.init, Role.NOISE):
        data = datamodule_of(config, run.seeds)
        module = module_of(config, data, run.seeds.init)
        trainer = trainer_of(config, [*callbacks, final], loggers, **trainer_arguments)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    diverged = bool(np.isfinite(module.diverged_in)) or not final.finite
    last_epoch, n_updates = max(module.history, default=0), trainer.global_step
    whole = n_updates == planned_updates(config, len(data.train_dataloader()))
    whole = whole and all(scores.keys() >= set(CURVES) for scores in module.history.values())
    status = RunStatus.DIVERGED if diverged else RunStatus.COMPLETED if whole else RunStatus.STOPPED
    labels = data.tensors("train")[1]
    results = Results(
        runs=[run],
        status=[status],
        curves=curves_of(module.history, max(config.trainer.max_epochs, last_epoch), module.diverged_in.reshape(1)),
        scores={key: np.where(diverged, np.nan, np.reshape(score, 1)) for key, score in final.scores.items()},
        n_updates=np.array([n_updates]),
        stop_epoch=np.array([0 if status is RunStatus.COMPLETED else last_epoch]),
        positive_rate=np.array([float(labels.double().mean())]),
        n_train=len(labels),
        duration_s=time.perf_counter() - began,
        ended_s=time.time(),
        engine=engine_on("solo", config),
        versions=versions(),
    )
    return results, module


def datamodule_of(config: Config, seeds: Any, kind: type[PimaDataModule] | None = None) -> PimaDataModule:
    """Return the datamodule of one run, or of M runs of one configuration from the seeds of each."""
    return (kind or class_of(config.data.target, PimaDataModule))(
        **config.data.arguments,
        batch_size=config.batch.size,
        shuffle=config.batch.shuffle,
        seeds=seeds,
        dtype=torch.float64 if config.trainer.dtype == "float64" else torch.float32,
        digest=config.data_digest,
    )


def module_of(
    config: Config, data: PimaDataModule, init_seed: int | list[int], kind: type[MLPClassifier] = MLPClassifier
) -> MLPClassifier:
    """Return the module of one run, or of M runs of one configuration from the init seeds of each."""
    stacked = {} if isinstance(init_seed, int) else {"n_members": len(init_seed)}
    return kind(
        model={**config.model.node, "n_features": data.n_features, "activation": config.activation.node, **stacked},
        optimizer=config.optimizer.node,
        scheduler=None if config.scheduler.target is None else config.scheduler.node,
        monitor=config.scheduler.monitor or "val/loss",
        init_seed=init_seed,
        dtype="float64" if config.trainer.dtype == "float64" else "float32",
    )


def trainer_of(
    config: Config, callbacks: Sequence[L.Callback], loggers: Sequence[Logger] = (), **arguments: Any
) -> L.Trainer:
    """Return the Trainer of a configuration; bar, summary and checkpoints only where a callback provides them.

    Args:
        config: its `trainer` section.
        callbacks: of Lightning.
        loggers: of Lightning.
        arguments: of `lightning.Trainer`, in place of those of the configuration.
    """
    asked_for = {
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        "enable_model_summary": any(isinstance(callback, ModelSummary) for callback in callbacks),
        "enable_progress_bar": any(isinstance(callback, ProgressBar) for callback in callbacks),
    }
    device = {"accelerator": "gpu" if device_of(config).type == "cuda" else "cpu", "devices": 1}
    given = {
        "num_sanity_val_steps": 0,
        "profiler": _NoProfiler(),
        **asked_for,
        **config.trainer.arguments,
        **device,
        **arguments,
    }
    trainer = class_of(config.trainer.target, L.Trainer)
    return trainer(callbacks=list(callbacks), logger=list(loggers) or False, **given)


class _NoProfiler(PassThroughProfiler):
    """Lightning's profiler that measures nothing, at a tenth of its cost, which is a twentieth of a run's time."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]  # noqa: ARG002
        return self._nothing


def planned_updates(config: Config, n_batches: int) -> int:
    """Return how many updates a whole run makes, from the number of batches of all training rows."""
    extra = config.trainer.extra
    limit = extra.get("overfit_batches") or extra.get("limit_train_batches", 1.0)
    n_batches = int(n_batches * limit) if isinstance(limit, float) else min(n_batches, limit)
    return config.trainer.max_epochs * -(-n_batches // int(extra.get("accumulate_grad_batches", 1)))


def curves_of(history: Mapping[int, Scores], n_epochs: int, ends: np.ndarray) -> Scores:
    """Return each curve, (M, E), from the scores of each epoch.

    Args:
        history: epoch (from 1) -> key -> (M,), or () for one run.
        n_epochs: E.
        ends: (M,) the first epoch (from 1) without scores.
    """
    keys = dict.fromkeys([*CURVES, *(key for scores in history.values() for key in scores)])
    curves = {key: np.full((len(ends), n_epochs), np.nan) for key in keys}
    for epoch, scores in history.items():
        for key, score in scores.items():
            curves[key][:, epoch - 1] = np.where(epoch < ends, score, np.nan)
    return curves


class FinalScores(L.Callback):
    """Score each split with the last weights, and log that with the hyperparameters: TensorBoard's HParams tab.

    Attributes:
        scores: `train/auroc`, `val/brier`, ... -> () or (M,); empty for a run that diverged in its last epoch.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.scores: Scores = {}

    @property
    def finite(self) -> bool:
        """Whether the final losses are finite; the module does not check this after an incomplete epoch."""
        return all(math.isfinite(float(self.scores.get(key, 0.0))) for key in ("train/loss", "val/loss"))

    @torch.inference_mode()
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score and log."""
        assert isinstance(pl_module, MLPClassifier)  # noqa: S101 -- the only module of this project
        data: PimaDataModule = trainer.datamodule  # type: ignore[attr-defined]
        pl_module.eval()
        with trainer.precision_plugin.forward_context():
            for part in data.splits:
                features, labels = trainer.precision_plugin.convert_input(data.tensors(part))
                logits = pl_module(features)
                if logits.dtype != torch.float64:
                    logits, labels = logits.float(), labels.float()
                found = final_scores(logits, labels)
                self.scores |= {f"{part}/{name}": score.double().cpu().numpy() for name, score in found.items()}
        pl_module.train()
        if not trainer.loggers:
            return
        settings = hparams_of(self.config.model_dump(by_alias=True))
        main = {key: settings[key] for key in MAIN_SETTINGS if key in settings}
        scores = {f"{FINAL}{key}": float(score) for key, score in self.scores.items()}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                last = max(pl_module.history, default=0)
                logger.log_hyperparams(main, scores if self.finite else None, step=last)
            else:
                logger.log_hyperparams(settings)
