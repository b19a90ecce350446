"""Runs on a short table, trained alone and by each engine of stacks, and how their results are compared."""

import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from tqdm import tqdm

from pima_hp.data.table import SHIPPED
from pima_hp.run import Results, Run
from pima_hp.training import stacked
from pima_hp.training.dispatch import Solo, stacks_of, train
from pima_hp.training.fused import compiled
from pima_hp.training.fused import engine as fused
from pima_hp.training.fused.compiled import FOLDER_VARIABLE, Kind
from pima_hp.training.solo import fit
from tests.conftest import job_of, members_of
from tests.training.kernels import KINDS, begin, content_of, finish

N_ROWS = 120  # of the short table: 96 to train on, 24 to watch
MODULES = {"fused": fused, "stacked": stacked}
ENGINES = sorted(MODULES)

RunsOf = Callable[..., list[Run]]


@pytest.fixture(scope="session")
def runs_of(tmp_path_factory: pytest.TempPathFactory) -> RunsOf:
    """`runs_of(*overrides)`: the runs that a command asks for, on the first rows of the shipped table."""
    path: Path = tmp_path_factory.mktemp("table") / "short.csv"
    lines = SHIPPED.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[: N_ROWS + 1]), encoding="utf-8")

    def runs(*overrides: str) -> list[Run]:
        return list(job_of(*overrides, f"data.path={path}").runs)

    return runs


def run_of(*overrides: str) -> Run:
    """The one run that a command asks for, on the whole shipped table."""
    (run,) = job_of(*overrides).runs
    return run


def alone(run: Run) -> Results:
    return fit(run)[0]


def together(runs: Sequence[Run], engine: str) -> list[Results]:
    """Train one stack with one engine, and return the results of each run."""
    return members_of(MODULES[engine].fit_stack(runs))


def dispatched(runs: Sequence[Run], solo: Solo = alone, **options: Any) -> list[Results]:
    """Train runs as a sweep does; every run is counted once."""
    with tqdm(total=len(runs), file=io.StringIO()) as progress:
        found = list(train(stacks_of(runs, **options), solo=solo, progress=progress))
    assert progress.n == pytest.approx(len(runs))
    return found


def ended(one: Results) -> tuple[str, int, int]:
    """How one run ended: its status, the epoch in which it did, its updates."""
    return str(one.status[0]), int(one.stop_epoch[0]), int(one.n_updates[0])


def scores_of(one: Results) -> dict[str, float]:
    """The final scores of one run; those of a run that diverged are NaN, or are not there."""
    return {key: float(score[0]) for key, score in one.scores.items() if not np.isnan(score[0])}


def same_bits(one: Results, other: Results) -> bool:
    """Whether the results of two runs are the same, bit for bit."""
    curves = [{key: curve.tobytes() for key, curve in of.curves.items()} for of in (one, other)]
    return curves[0] == curves[1] and scores_of(one) == scores_of(other) and ended(one) == ended(other)


def assert_parity(stacked: Results, solo: Results, rtol: float) -> None:
    """Equal curves and loss to `rtol`; torchmetrics gives AUROC, F1 and Brier in single precision: to 1e-6."""
    assert ended(stacked) == ended(solo)
    assert stacked.runs[0].id == solo.runs[0].id
    assert set(stacked.curves) == set(solo.curves)
    for key, curve in solo.curves.items():
        np.testing.assert_allclose(stacked.curves[key], curve, rtol=rtol, err_msg=key)
    found, expected = scores_of(stacked), scores_of(solo)
    assert set(found) == set(expected)
    for key, score in expected.items():
        exact = key.endswith(("accuracy", "loss"))
        assert found[key] == pytest.approx(score, rel=rtol if exact else 1e-6, abs=1e-12), key


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind, as a process of its own has compiled it, and its scores in another process.

    The workers of one test run share it.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            new = tmp_path_factory.mktemp("new")
            for kind in KINDS:
                compiled.kernel(kind)
                shutil.copy(kind.path, new)
                finish(begin(new, new, [kind]))
            new.rename(folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and nothing loaded in this process."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    monkeypatch.setattr(compiled, "failures", {})
    compiled.kernel.cache_clear()
    yield folder
    compiled.kernel.cache_clear()


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
