"""What a run leaves behind: `RunRecord`, handed from training to the ledger and on to analysis."""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pima_hp.config import Config, Seeds

Array = NDArray[np.float64]


class RunStatus(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"  # trained for all its epochs
    STOPPED = "stopped early"  # ended before its last epoch or update, by a callback or an option of the Trainer
    DIVERGED = "diverged"  # its loss became infinite or not a number; the curves end there
    FAILED = "failed"  # raised an error; see its message


@dataclass(frozen=True)
class Run:
    """One training to be made: a configuration and its seeds."""

    config: Config
    seeds: Seeds

    @cached_property
    def id(self) -> str:
        """Digest of configuration and seeds."""
        return self.config.run_id(self.seeds)


def replicate_of(
    init: int, split: int, order: int, shuffle: bool, size: int | str, n_train: float | None
) -> tuple[int, ...]:
    """Return the seeds that distinguish replicates of one configuration.

    The order of the rows is drawn only where they are shuffled, and changes only rounding where one batch holds them
    all. The run's own seed only provides defaults for the streams.
    """
    whole = isinstance(size, str) or (n_train is not None and size >= n_train)
    return (init, split, order) if shuffle and not whole else (init, split)


def run_folder(label: str, seed: int, run_id: str) -> str:
    """Return the name of a run's own event folder: its configuration, its seed, the beginning of its id."""
    return f"{label},seed={seed},{run_id[:6]}"


@dataclass(frozen=True)
class LearningCurves:
    """Scores against the epoch, each of shape (E,); NaN from the epoch in which a run diverged, or after its last.

    `train_accuracy` and `train_loss` are running values: the mean over the rows of the epoch, each row
    scored just before the update that uses it (what Keras plots). `train_accuracy_end` and
    `train_loss_end` score all training rows with the weights at the end of the epoch. `val_*` score
    the watched rows (with `data=pima` these are the test rows, as in the article). Loss in nats.
    """

    train_accuracy: Array
    train_loss: Array
    train_accuracy_end: Array
    train_loss_end: Array
    val_accuracy: Array
    val_loss: Array


CURVE_KEYS = {name: name.replace("_", "/", 1) for name in LearningCurves.__dataclass_fields__}
"""Field of `LearningCurves` -> the key under which it is logged: `val_accuracy` -> `val/accuracy`."""


@dataclass(frozen=True)
class RunRecord:
    """One finished run.

    A run that made fewer updates, or was scored in fewer epochs, than its configuration asks for is never COMPLETED:
    whatever ended it (a callback, `max_time`, `max_steps`) or left batches out (`fast_dev_run`,
    `limit_train_batches`), it is STOPPED, and `n_updates` says how many updates it made.

    Attributes:
        configuration: all settings without the seed.
        seeds: the seed of the run and of each of its streams.
        status: how it ended.
        curves: scores against the epoch.
        scores: scores of the last weights by key (`val/auroc`), empty for a run that diverged or failed.
        n_updates: optimizer steps made; of a run that diverged, those through the end of that epoch, whichever engine
            trained it; 0 for a run that failed.
        stop_epoch: the epoch (from 1) in which it diverged, or the last, perhaps not whole, of a run that was stopped;
            0 for any other.
        duration_s: its share of the wall time of training.
        engine: what trained it, `solo`, `stacked` or `fused`, with the device unless that is the CPU
            (`stacked on cuda`); empty for a run that failed.
        message: what a failed run said.
        versions: version of the project and of each package that the numbers depend on.
        n_train: rows that it was trained on; None for a run that failed.
        positive_rate: share of these rows whose label is 1; None for a run that failed.
    """

    config: Config
    seeds: Seeds
    status: RunStatus
    curves: LearningCurves
    scores: dict[str, float]
    n_updates: int
    stop_epoch: int = 0
    duration_s: float = 0.0
    engine: str = ""
    message: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    n_train: int | None = None
    positive_rate: float | None = None

    @property
    def id(self) -> str:
        """Digest of configuration and seeds."""
        return self.config.run_id(self.seeds)
