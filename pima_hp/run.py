"""A run, how it ended, and `Results`: what training hands to the ledger."""

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

import pima_hp
from pima_hp.config import Config, Seeds

Array = NDArray[np.float64]


def tag_of(key: str) -> str:
    """Return the tag of a curve in TensorBoard, which sorts `~` after every letter: `lr` comes last."""
    return key if "/" in key else f"~{key}"


@cache
def versions() -> dict[str, str]:
    """Return name -> version of all that the numbers depend on: the project, Python, the packages that compute."""
    packages = ("torch", "lightning", "numpy", "numba", "llvmlite")
    own = {"pima_hp": pima_hp.__version__, "python": platform.python_version()}
    return own | {name: version(name) for name in packages}


class RunStatus(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"  # trained for all its epochs
    STOPPED = "stopped early"  # ended before its last epoch or update, by a callback or an option of the Trainer
    DIVERGED = "diverged"  # its loss became infinite or not a number; the curves end there
    FAILED = "failed"  # raised an error; see its message


@dataclass(frozen=True)
class Run:
    """One training of one configuration with one seed."""

    config: Config
    seeds: Seeds

    @cached_property
    def id(self) -> str:
        """The digest of configuration and seeds."""
        return self.config.run_id(self.seeds)


# The curves that every engine records; callbacks may log others.
#
# `train/accuracy` and `train/loss` are running values: the mean over the rows of the epoch, each row scored just before
# the update that uses it (what Keras plots). `train/accuracy_end` and `train/loss_end` score all training rows with the
# weights at the end of the epoch. `val/*` score the validation rows (with `data=pima` these are the test rows, as in
# the article). Loss in nats. `lr` is the learning rate of the epoch.
CURVES = (
    *("train/accuracy", "train/loss", "train/accuracy_end", "train/loss_end"),
    *("val/accuracy", "val/loss", "lr"),
)


# Begins the key of a curve of `pima_hp.model.diagnostics`: `diagnostics/gradient_norm/layer1`.
DIAGNOSTICS = "diagnostics/"


@dataclass(frozen=True, eq=False)
class Results:
    """The results of M runs that were trained together, as columns; E epochs.

    A run that made fewer updates, or was scored in fewer epochs, than its configuration asks for is never COMPLETED:
    whatever ended it (a callback, `max_time`, `max_steps`, `fast_dev_run`), it is STOPPED, and `n_updates` says how
    many updates it made.

    The defaults are those of a run that failed.

    Attributes:
        runs: M, in order.
        status: (M,) how each ended.
        curves: key (`val/accuracy`, `lr`) -> (M, E); NaN from the epoch in which a run diverged, or after its last.
        scores: key (`val/auroc`) -> (M,) of the last weights; NaN for a run that diverged or failed.
        initial: quantity (`gradient_norm/layer1`) -> (M,) before the first update; empty without diagnostics.
        n_updates: (M,) optimizer steps made; of a run that diverged, those through the end of that epoch, whichever
            engine trained it; 0 for a run that failed.
        stop_epoch: (M,) the epoch (from 1) in which a run diverged, or the last of a run that was stopped; else 0.
        positive_rate: (M,) share of the training rows whose label is 1; NaN for a run that failed.
        n_train: rows that each run was trained on; 0 for runs that failed.
        duration_s: each run's share of the wall time of training; this and `engine` are noted by `dispatch.train`.
        ended_s: when training ended, in seconds since 1970; no part of the result.
        engine: what trained them, with the device unless that is the CPU (`stacked on cuda`); empty if they failed.
        message: the error of a failed run.
        versions: see `versions`.
    """

    runs: Sequence[Run]
    status: Sequence[RunStatus]
    curves: Mapping[str, Array] = field(default_factory=dict)
    scores: Mapping[str, Array] = field(default_factory=dict)
    n_updates: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    stop_epoch: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    positive_rate: Array = field(default_factory=lambda: np.full(1, np.nan))
    initial: Mapping[str, Array] = field(default_factory=dict)
    n_train: int = 0
    duration_s: float = 0.0
    ended_s: float = field(default_factory=time.time)
    engine: str = ""
    message: str = ""
    versions: Mapping[str, str] = field(default_factory=versions)
