"""Synthetic runs, built with the real types and without training anything."""

from typing import Any

import numpy as np

from pima_hp.configuration import Configuration, RunSeeds
from pima_hp.record import CURVE_KEYS, LearningCurves, RunRecord, RunStatus

SETTINGS: dict[str, Any] = {
    "data": {
        "path": None,
        "label": "outcome",
        "features": None,
        "zero_is_missing": ["glucose", "bmi"],
        "missing": "keep",
        "scaling": "none",
        "test_fraction": 0.2,
        "val_fraction": 0.0,
        "stratified": False,
    },
    "model": {"hidden_widths": [12, 8], "initialization": "uniform"},
    "activation": {"name": "relu", "_target_": "torch.nn.ReLU"},
    "optimizer": {"name": "adam", "_target_": "torch.optim.Adam", "lr": 1.0e-3, "betas": [0.9, 0.999]},
    "scheduler": {"name": "none", "_target_": None, "monitor": None},
    "batch": {"size": 16, "shuffle": False},
    "trainer": {"epochs": 100, "precision": 32, "accelerator": "cpu", "engine": "auto", "stack_size": 64},
    "data_digest": "0" * 64,
}
LEAKY = {"name": "leaky_relu", "_target_": "torch.nn.LeakyReLU", "negative_slope": 0.3}
SGD = {"name": "sgd", "_target_": "torch.optim.SGD", "lr": 0.1}


def configuration_of(**changes: Any) -> Configuration:
    """The article's configuration with changes: a whole section, or `trainer__epochs=3` for one key."""
    settings = {key: dict(value) if isinstance(value, dict) else value for key, value in SETTINGS.items()}
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            settings[section][name] = value
        else:
            settings[section] = value
    return Configuration.model_validate(settings)


def seeds_of(seed: int) -> RunSeeds:
    return RunSeeds(seed=seed, init=seed, split=seed, order=seed)


def record_of(
    configuration: Configuration, seed: int, status: RunStatus = RunStatus.COMPLETED, **changes: Any
) -> RunRecord:
    """A run whose result is a function of configuration and seed, as a real one's is."""
    generator = np.random.default_rng([int(configuration.config_id, 16), seed])
    n_epochs = configuration.trainer.epochs
    curves = {name: generator.random(n_epochs) for name in CURVE_KEYS}
    stop_epoch = 0
    if status is RunStatus.DIVERGED:
        stop_epoch = n_epochs // 2 + 1
        for curve in curves.values():
            curve[stop_epoch - 1 :] = np.nan
    completed = status is RunStatus.COMPLETED
    values: dict[str, Any] = {
        "configuration": configuration,
        "seeds": seeds_of(seed),
        "status": status,
        "curves": LearningCurves(**curves),
        "scores": {"val/auroc": generator.random(), "test/brier": generator.random()} if completed else {},
        "n_updates": 39 * n_epochs,
        "stop_epoch": stop_epoch,
        "duration_s": 0.25,
        "engine": "" if status is RunStatus.FAILED else "fused",
        "message": "raised in a test" if status is RunStatus.FAILED else "",
        "versions": {"pima_hp": "0.1.0", "torch": "2.13.0"},
        "n_train": None if status is RunStatus.FAILED else 614,
        "positive_rate": None if status is RunStatus.FAILED else 214 / 614,
    }
    return RunRecord(**{**values, **changes})
