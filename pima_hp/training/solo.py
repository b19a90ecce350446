"""Train one run with Lightning's Trainer: the definition of what a run is."""

import logging
import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from pima_hp.config import Config, Seeds
from pima_hp.data.datamodule import PimaDataModule
from pima_hp.data.prepared import DTYPES
from pima_hp.model.metrics import final_scores
from pima_hp.model.mlp import build_mlp
from pima_hp.model.module import MLPClassifier
from pima_hp.run import CURVE_KEYS, FINAL, MAIN_SETTINGS, LearningCurves, RunRecord, RunStatus
from pima_hp.seeds import Role, stream
from pima_hp.settings import hparams_of
from pima_hp.training.device import device_of, engine_on
from pima_hp.versions import versions

# Lightning reports devices, tips and warnings about loaders that this project chose on purpose.
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def train_solo(configuration: Config, seeds: Seeds, **options: Any) -> RunRecord:
    """Train one run and return its record; see `fit_solo` for the options."""
    return fit_solo(configuration, seeds, **options)[0]


def fit_solo(
    configuration: Config,
    seeds: Seeds,
    *,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[L.Callback] = (),
    **trainer_options: Any,
) -> tuple[RunRecord, MLPClassifier]:
    """Train one run and return its record and the trained module.

    Args:
        configuration: all settings but the seed.
        seeds: of the run and its streams.
        loggers: Lightning's; scores are logged once an epoch, hyperparameters with the final scores at the end.
        callbacks: any Lightning callbacks.
        trainer_options: further arguments of `lightning.Trainer`, such as `fast_dev_run`.
    """
    began = time.perf_counter()
    precision = configuration.trainer.precision
    data = PimaDataModule(configuration, seeds)
    data.setup()
    n_features = len(data.table.feature_names)
    model = build_mlp(configuration, n_features, stream(seeds.init, Role.INIT), DTYPES[precision])
    module = MLPClassifier(model, configuration.optimizer, configuration.scheduler)
    final = FinalScores(configuration)
    own = {
        "logger": list(loggers) or False,
        "callbacks": [*callbacks, final],
        "log_every_n_steps": 1 if trainer_options else len(data.train_dataloader()),  # scores come once an epoch
    }
    trainer = quiet_trainer(configuration, **own, **trainer_options)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*LeafSpec.*", category=FutureWarning
        )  # Lightning's own use of torch
        trainer.fit(module, datamodule=data)
    diverged = module.diverged or not final.finite
    n_updates, n_trained = trainer.global_step, len(module.history)
    whole = n_updates == configuration.trainer.max_epochs * len(data.train_dataloader())
    whole = whole and all(scores.keys() >= set(CURVE_KEYS.values()) for scores in module.history)
    status = RunStatus.DIVERGED if diverged else RunStatus.COMPLETED if whole else RunStatus.STOPPED
    _, labels = data.part("train")
    record = RunRecord(
        config=configuration,
        seeds=seeds,
        status=status,
        curves=_curves(module.history, configuration.trainer.max_epochs, diverged=diverged),
        scores={} if diverged else final.scores,
        n_updates=n_updates,
        stop_epoch=0 if status is RunStatus.COMPLETED else n_trained,
        duration_s=time.perf_counter() - began,
        engine=engine_on("solo", configuration),
        versions=versions(),
        n_train=len(labels),
        positive_rate=float(labels.double().mean()),
    )
    return record, module


class FinalScores(L.Callback):
    """Score each split with the final weights and log that with the hyperparameters: TensorBoard's HParams tab."""

    def __init__(self, configuration: Config) -> None:
        self.config = configuration
        self.scores: dict[str, float] = {}  # `train/auroc`, `val/brier`, ...; empty for a run that diverged

    @property
    def finite(self) -> bool:
        """Whether the final losses are finite; the module does not check this after an incomplete epoch."""
        return all(math.isfinite(self.scores.get(key, 0.0)) for key in ("train/loss", "val/loss"))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score and log."""
        assert isinstance(pl_module, MLPClassifier)  # noqa: S101 -- the only module of solo training
        if pl_module.diverged:
            return
        data: PimaDataModule = trainer.datamodule  # type: ignore[attr-defined]
        parts = ["train", "val", "test"] if self.config.data.val_fraction else ["train", "val"]
        with torch.inference_mode():
            for part in parts:
                features, labels = data.part(part)
                scores = final_scores(pl_module(features), labels)
                self.scores |= {f"{part}/{name}": score for name, score in scores.items()}
        settings = hparams_of(self.config.model_dump(by_alias=True))
        main = {key: settings[key] for key in MAIN_SETTINGS if key in settings}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                finals = {FINAL + key: score for key, score in self.scores.items()}
                logger.log_hyperparams(main, finals, step=len(pl_module.history))
            else:
                logger.log_hyperparams(settings)


def quiet_trainer(configuration: Config, **options: Any) -> L.Trainer:
    """Return Lightning's Trainer for a configuration, without its bar, summary, checkpoints and logger.

    Args:
        configuration: says how many epochs, how precisely and on which device.
        options: further arguments of `lightning.Trainer`, or other values for these.
    """
    quiet = {
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "logger": False,
        "num_sanity_val_steps": 0,
    }
    return L.Trainer(
        accelerator="gpu" if device_of(configuration).type == "cuda" else "cpu",
        devices=1,
        precision=configuration.trainer.precision,  # type: ignore[arg-type]
        max_epochs=configuration.trainer.max_epochs,
        **{**quiet, **options},
    )


def _curves(history: list[dict[str, float]], n_epochs: int, *, diverged: bool) -> LearningCurves:
    """Return the history as arrays (E,), NaN from the epoch of divergence and after the last."""
    kept = history[:-1] if diverged else history
    arrays = {}
    for name, key in CURVE_KEYS.items():
        array = np.full(n_epochs, np.nan)
        array[: len(kept)] = [scores.get(key, np.nan) for scores in kept]  # an epoch cut short may not be scored
        arrays[name] = array
    return LearningCurves(**arrays)
