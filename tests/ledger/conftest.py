"""Synthetic runs, built with the real types and without training anything."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pima_hp.config import Config, Seeds
from pima_hp.ledger import Ledger, Manifest
from pima_hp.ledger.parts import VERSION, _digest
from pima_hp.run import CURVES, Results, Run, RunStatus

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
    "activation": {"_target_": "torch.nn.ReLU"},
    "optimizer": {"_target_": "torch.optim.Adam", "lr": 1.0e-3, "betas": [0.9, 0.999]},
    "scheduler": {"_target_": None, "monitor": None},
    "batch": {"size": 16, "shuffle": False},
    "trainer": {"max_epochs": 100, "precision": "32-true", "accelerator": "cpu"},
    "data_digest": "0" * 64,
}
LEAKY = {"_target_": "torch.nn.LeakyReLU", "negative_slope": 0.3}
SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}


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


def results_of(config: Config, seed: int, status: RunStatus = RunStatus.COMPLETED, **changes: Any) -> Results:
    """One run whose results are a function of configuration and seed, as a real one's are."""
    generator = np.random.default_rng([int(config.id, 16), seed])
    n_epochs = config.trainer.max_epochs
    curves = {key: generator.random((1, n_epochs)) for key in CURVES}
    stop_epoch = n_epochs // 2 + 1 if status in (RunStatus.DIVERGED, RunStatus.STOPPED) else 0
    n_trained = {RunStatus.COMPLETED: n_epochs, RunStatus.FAILED: 0}.get(status, stop_epoch)
    for curve in curves.values():
        curve[:, n_trained - (status is RunStatus.DIVERGED) :] = np.nan
    scores = {"val/auroc": generator.random(1), "test/brier": generator.random(1)}
    if status is RunStatus.DIVERGED:
        scores = {key: np.full(1, np.nan) for key in scores}
    failed = status is RunStatus.FAILED
    values: dict[str, Any] = {
        "runs": [Run(config, seeds_of(seed))],
        "status": [status],
        "curves": {} if failed else curves,
        "scores": {} if failed else scores,
        "n_updates": np.array([39 * n_trained]),
        "stop_epoch": np.array([stop_epoch]),
        "positive_rate": np.array([np.nan if failed else 214 / 614]),
        "n_train": 0 if failed else 614,
        "duration_s": 0.25,
        "ended_s": 1.75e9,
        "engine": "" if failed else "fused",
        "message": "raised in a test" if failed else "",
        "versions": {"pima_hp": "0.1.0", "torch": "2.13.0"},
    }
    return Results(**{**values, **changes})


def joined(results: Sequence[Results]) -> Results:
    """Some runs as one stack: they have the same curves, of the same length."""
    first = results[0]
    return replace(
        first,
        runs=[run for each in results for run in each.runs],
        status=[status for each in results for status in each.status],
        curves={key: np.concatenate([each.curves[key] for each in results]) for key in first.curves},
        scores={key: np.concatenate([each.scores[key] for each in results]) for key in first.scores},
        **{
            name: np.concatenate([getattr(each, name) for each in results])
            for name in ("n_updates", "stop_epoch", "positive_rate")
        },
    )


OLDER = f"{{study}}: must be of format {VERSION}; found 1; begin a new study (study=OTHER)"


def restamp(study: Path, version: int, *, parts: bool = True, manifest: bool = True) -> None:
    """Make a study that of another version: its parts and its manifest, as that version would have marked them."""
    for part in sorted((study / "ledger").glob("*.parquet")) if parts else []:
        sink = pa.BufferOutputStream()
        pq.write_table(pq.read_table(part).replace_schema_metadata({"pima_hp.schema_version": str(version)}), sink)
        part.unlink()
        content = sink.getvalue().to_pybytes()
        part.with_name(f"{_digest(content)}.parquet").write_bytes(content)
    if manifest and (study / "manifest.json").exists():
        document = json.loads((study / "manifest.json").read_bytes())
        document["manifest"]["schema_version"] = version
        (study / "manifest.json").write_text(json.dumps(document))


ENDED = 1_795_000_000.0


RELU = configuration_of(trainer__max_epochs=6)
LEAKY_FULL = configuration_of(trainer__max_epochs=6, activation=LEAKY, batch__size="full")
FAST = configuration_of(trainer__max_epochs=6, optimizer__lr=0.5)
LABELS = {
    RELU.id: "relu, lr 0.001, batch 16",
    LEAKY_FULL.id: "leaky_relu, lr 0.001, batch full",
    FAST.id: "relu, lr 0.5, batch 16",
}


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    """A study of three configurations with 7, 4 and 1 runs, which took 12 s each and ended one second apart."""
    ledger = Ledger(tmp_path / "study")
    for results in (
        *(results_of(RELU, seed) for seed in range(7)),
        results_of(LEAKY_FULL, 0),
        *(results_of(LEAKY_FULL, seed, RunStatus.DIVERGED) for seed in (1, 2)),
        results_of(LEAKY_FULL, 9, RunStatus.FAILED),
        results_of(FAST, 0),
    ):
        ledger.append(results)
    frame = ledger.frame()
    return frame.assign(ended_s=ENDED + np.arange(len(frame)), duration_s=12.0)


def manifest_of(*configurations: Config) -> Manifest:
    """The plan of one run of each configuration, or of the three above."""
    asked = configurations or (RELU, LEAKY_FULL, FAST)
    return Manifest.of([Run(configuration, seeds_of(0)) for configuration in asked])
