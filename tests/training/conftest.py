"""Runs on a short table, trained alone and by each engine of stacks, and how their records are compared."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from filelock import FileLock

from pima_hp.config import TrainerSection
from pima_hp.data.table import SHIPPED
from pima_hp.run import LearningCurves, Run, RunRecord
from pima_hp.training.engines import train_stack
from pima_hp.training.fused import compiled
from pima_hp.training.fused.compiled import FOLDER_VARIABLE, Kind
from pima_hp.training.solo import train_solo
from tests.conftest import job_of
from tests.training.kernels import COMPILING, KINDS, begin, content_of, finish

N_ROWS = 120  # of the short table: 96 to train on, 24 to watch
ENGINES = sorted({*get_args(TrainerSection.model_fields["engine"].annotation)} - {"auto", "solo"})

RunsOf = Callable[..., list[Run]]


@pytest.fixture(scope="session")
def runs_of(tmp_path_factory: pytest.TempPathFactory) -> RunsOf:
    """`runs_of(*overrides)`: the runs that a command asks for, on the first rows of the shipped table."""
    path: Path = tmp_path_factory.mktemp("table") / "short.csv"
    lines = SHIPPED.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[: N_ROWS + 1]), encoding="utf-8")

    def runs(*overrides: str) -> list[Run]:
        return job_of(*overrides, f"data.path={path}").runs

    return runs


def alone(run: Run) -> RunRecord:
    return train_solo(run.config, run.seeds)


def together(runs: Sequence[Run], engine: str) -> list[RunRecord]:
    """Train one stack with one engine; how a run is trained is no part of its identity."""
    return train_stack([with_engine(run, engine) for run in runs])


def with_engine(run: Run, engine: str) -> Run:
    trainer = run.config.trainer.model_copy(update={"engine": engine})
    return replace(run, config=run.config.model_copy(update={"trainer": trainer}))


def arrays_of(curves: LearningCurves) -> dict[str, np.ndarray]:
    return {field.name: getattr(curves, field.name) for field in fields(curves)}


def same_bits(one: RunRecord, other: RunRecord) -> bool:
    """Whether two records hold the same result, bit for bit."""
    pairs = zip(arrays_of(one.curves).values(), arrays_of(other.curves).values(), strict=True)
    return (
        all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
        and repr(one.scores) == repr(other.scores)  # NaN equals NaN
        and (one.status, one.stop_epoch, one.n_updates) == (other.status, other.stop_epoch, other.n_updates)
    )


def assert_parity(stacked: RunRecord, solo: RunRecord, rtol: float) -> None:
    """Equal curves and loss to `rtol`; torchmetrics gives AUROC, F1 and Brier in single precision: to 1e-6."""
    assert (stacked.status, stacked.stop_epoch, stacked.n_updates) == (solo.status, solo.stop_epoch, solo.n_updates)
    assert (stacked.config.id, stacked.seeds) == (solo.config.id, solo.seeds)
    for name, curve in arrays_of(solo.curves).items():
        np.testing.assert_allclose(getattr(stacked.curves, name), curve, rtol=rtol, err_msg=name)
    assert set(stacked.scores) == set(solo.scores)
    for key, score in solo.scores.items():
        exact = key.endswith(("accuracy", "loss"))
        assert stacked.scores[key] == pytest.approx(score, rel=rtol if exact else 1e-6, abs=1e-12, nan_ok=True), key


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind, each made in a process of its own from an empty cache, and its scores.

    The workers of one test run share it.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            scores_of, empty = tmp_path_factory.mktemp("scores"), [tmp_path_factory.mktemp("alone") for _ in KINDS]
            for process in [begin(cache, scores_of, [kind]) for cache, kind in zip(empty, KINDS, strict=True)]:
                finish(process, says=COMPILING)
            for cache in empty:
                shutil.copy(next(cache.glob("*.bin")), scores_of)
            scores_of.rename(folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nothing loaded in this process."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    monkeypatch.setattr(compiled, "_loaded", {})
    compiled._tell_once.cache_clear()
    return folder


@pytest.fixture
def asked(made: Path, monkeypatch: pytest.MonkeyPatch) -> list[Kind]:
    """The kinds that this process has asked the compiler for; it answers at once with what it made before."""
    kinds: list[Kind] = []

    def compile_again(kind: Kind) -> bytes:
        kinds.append(kind)
        return content_of(kind, made)

    monkeypatch.setattr(compiled, "_compile", compile_again)
    return kinds


@pytest.fixture
def filled(cache: Path, made: Path) -> Path:
    """A cache that holds every kind."""
    for path in made.glob("*.bin"):
        shutil.copy(path, cache)
    return cache
