"""Lightning's loggers for a run that is trained alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from pima_hp.record import Run, run_folder


class Wanted(Protocol):
    """Which loggers a person asked for: the section `logger` of the settings."""

    @property
    def tensorboard(self) -> bool: ...  # noqa: D102
    @property
    def csv(self) -> bool: ...  # noqa: D102


def loggers_of(run: Run, study_folder: Path, labels: Mapping[str, str], wanted: Wanted) -> list[Logger]:
    """Return the loggers of a run: folders `tensorboard/<name>` and `csv/<name>` of its study.

    Args:
        run: its configuration and seed give the name.
        study_folder: `outputs/<study>`.
        labels: config_id -> name of the configuration.
        wanted: which loggers to make.
    """
    label = labels.get(run.configuration.config_id, run.configuration.config_id)
    name = run_folder(label, run.seeds.seed, run.run_id)
    loggers: list[Logger] = []
    if wanted.tensorboard:
        loggers.append(TensorBoardLogger(study_folder / "tensorboard", name=name, version="", default_hp_metric=False))
    if wanted.csv:
        loggers.append(CSVLogger(study_folder / "csv", name=name, version=""))
    return loggers
