"""Synthetic runs, built with the real types and without training anything."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pima_hp.config import Config, Seeds
from pima_hp.ledger.manifest import _digest
from pima_hp.ledger.parts import part_name
from pima_hp.run import CURVE_KEYS, LearningCurves, RunRecord, RunStatus

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
    "trainer": {"max_epochs": 100, "precision": "32-true", "accelerator": "cpu", "engine": "auto", "stack_size": 64},
    "data_digest": "0" * 64,
}
LEAKY = {"name": "leaky_relu", "_target_": "torch.nn.LeakyReLU", "negative_slope": 0.3}
SGD = {"name": "sgd", "_target_": "torch.optim.SGD", "lr": 0.1}


def configuration_of(**changes: Any) -> Config:
    """The article's configuration with changes: a whole section, or `trainer__max_epochs=3` for one key."""
    settings = {key: dict(value) if isinstance(value, dict) else value for key, value in SETTINGS.items()}
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            settings[section][name] = value
        else:
            settings[section] = value
    return Config.model_validate(settings)


def seeds_of(seed: int) -> Seeds:
    return Seeds(seed=seed, init=seed, split=seed, order=seed)


def record_of(configuration: Config, seed: int, status: RunStatus = RunStatus.COMPLETED, **changes: Any) -> RunRecord:
    """A run whose result is a function of configuration and seed, as a real one's is."""
    generator = np.random.default_rng([int(configuration.id, 16), seed])
    n_epochs = configuration.trainer.max_epochs
    curves = {name: generator.random(n_epochs) for name in CURVE_KEYS}
    stop_epoch = n_epochs // 2 + 1 if status in (RunStatus.DIVERGED, RunStatus.STOPPED) else 0
    n_trained = {RunStatus.COMPLETED: n_epochs, RunStatus.FAILED: 0}.get(status, stop_epoch)
    n_scored = n_trained - (status is RunStatus.DIVERGED)
    for curve in curves.values():
        curve[n_scored:] = np.nan
    scored = status in (RunStatus.COMPLETED, RunStatus.STOPPED)
    values: dict[str, Any] = {
        "config": configuration,
        "seeds": seeds_of(seed),
        "status": status,
        "curves": LearningCurves(**curves),
        "scores": {"val/auroc": generator.random(), "test/brier": generator.random()} if scored else {},
        "n_updates": 39 * n_trained,
        "stop_epoch": stop_epoch,
        "duration_s": 0.25,
        "engine": "" if status is RunStatus.FAILED else "fused",
        "message": "raised in a test" if status is RunStatus.FAILED else "",
        "versions": {"pima_hp": "0.1.0", "torch": "2.13.0"},
        "n_train": None if status is RunStatus.FAILED else 614,
        "positive_rate": None if status is RunStatus.FAILED else 214 / 614,
    }
    return RunRecord(**{**values, **changes})


MIXED = (
    "{study}: made by a version of pima_hp that could mix kernels, so its numbers may be wrong; "
    "begin a new study (study=OTHER)"
)
"""What is said of a study of version 1."""


def restamp(study: Path, version: int, *, parts: bool = True, manifest: bool = True) -> None:
    """Make a study that of another version: its parts and its manifest, as that version would have marked them."""
    for part in sorted((study / "ledger").glob("*.parquet")) if parts else []:
        sink = pa.BufferOutputStream()
        pq.write_table(pq.read_table(part).replace_schema_metadata({"pima_hp.schema_version": str(version)}), sink)
        part.unlink()
        content = sink.getvalue().to_pybytes()
        part.with_name(part_name(content)).write_bytes(content)
    path = study / "ledger" / "manifest.json"
    if manifest and path.exists():
        document = {**json.loads(path.read_bytes()), "schema_version": version}
        path.write_text(json.dumps({**document, "digest": _digest(document)}))
