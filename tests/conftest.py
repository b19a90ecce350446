"""What every test may use: requests composed as the command composes them, and the command itself in this process."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported; pytest's workers share the cores

import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf

from pima_hp.commands import CONFIG_PATH, train
from pima_hp.commands.exits import exit_code
from pima_hp.commands.job import Job, parse
from pima_hp.config import Seeds
from pima_hp.run import Results

ROOT = Path(__file__).parent.parent
Settings = dict[str, Any]
_KERNELS = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin with an empty cache of compiled kernels, which the workers of one test run share."""
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist has the folder from who started it
        config.stash[_KERNELS] = os.environ["PIMA_HP_CACHE_DIR"] = tempfile.mkdtemp(prefix="pima_hp-kernels-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if _KERNELS in config.stash:
        shutil.rmtree(config.stash[_KERNELS], ignore_errors=True)


@lru_cache(maxsize=1024)
def _composed(overrides: tuple[str, ...]) -> str:
    with hydra.initialize_config_dir(CONFIG_PATH, version_base="1.3"):
        config = hydra.compose("config", overrides=["study=test", *overrides])
    return OmegaConf.to_yaml(config, resolve=True)


def settings_of(*overrides: str) -> Settings:
    """The composed configuration as plain dictionaries, a copy of one's own."""
    settings = OmegaConf.to_container(OmegaConf.create(_composed(overrides)))
    assert isinstance(settings, dict)
    return settings  # type: ignore[return-value]


def job_of(*overrides: str) -> Job:
    """What `pima-hp-train <overrides>` asks for."""
    return parse(OmegaConf.create(settings_of(*overrides)))


def seeds_of(seed: int) -> Seeds:
    return Seeds(seed=seed, init=seed, split=seed, order=seed)


def members_of(results: Results) -> list[Results]:
    """The results of each run of a stack."""
    return [
        replace(
            results,
            **{
                name: getattr(results, name)[n : n + 1]
                for name in ("runs", "status", "n_updates", "stop_epoch", "positive_rate")
            },
            curves={key: curve[n : n + 1] for key, curve in results.curves.items()},
            scores={key: score[n : n + 1] for key, score in results.scores.items()},
            initial={key: value[n : n + 1] for key, value in results.initial.items()},
        )
        for n in range(len(results.runs))
    ]


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def refusals(self) -> list[str]:
        return [line.removeprefix("refused: ") for line in self.err.splitlines() if line.startswith("refused: ")]


Command = Callable[..., Outcome]


def _task(cfg: DictConfig) -> float | None:
    return train(cfg)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """`pima-hp-train` in this process, in an empty folder; all that it changes in the process is put back."""
    state = Singleton.get_state()
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    root = logging.getLogger()
    before, level = list(root.handlers), root.level

    def run(*arguments: str) -> Outcome:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["pima-hp-train", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        GlobalHydra.instance().clear()
        capfd.readouterr()
        try:
            code = exit_code(hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name="config")(_task))
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
        return Outcome(code, *capfd.readouterr())

    yield run
    if "joblib" in sys.modules:  # its workers go on, in this test's folder, for the next test that wants some
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)
    Singleton.set_state(state)
    for signum, handler in handlers.items():
        signal.signal(signum, handler)
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
        handler.close()
    for handler in before:
        root.addHandler(handler)
    root.setLevel(level)
    os.environ.pop("HYDRA_FULL_ERROR", None)
