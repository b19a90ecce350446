"""The public functions: what the commands do, from Python. Overrides are Hydra's strings everywhere."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from pima_hp.commands import study as studies
from pima_hp.commands.compose import composed, swept_keys
from pima_hp.commands.exits import running_command
from pima_hp.commands.hydra_callback import StudyCallback, name_study
from pima_hp.commands.main import train as task
from pima_hp.config.options import CONF
from pima_hp.errors import InputError
from pima_hp.ledger.ledger import study_folder
from pima_hp.ledger.parts import INITIAL_PREFIX
from pima_hp.report.study import Study
from pima_hp.run import Array


@dataclass(frozen=True)
class TrainedRun:
    """A run that was trained just now.

    Attributes:
        run_id: digest of its configuration and seeds.
        status: how it ended.
        curves: `val/accuracy`, ... -> (E,).
        scores: `val/auroc`, ... of the last weights; with diagnostics `initial/...` of the first ones.
        module: the LightningModule with the last weights; `module.trainer` is its Trainer.
    """

    run_id: str
    status: str
    curves: dict[str, Array]
    scores: dict[str, float]
    module: Any


def train(*overrides: str) -> TrainedRun:
    """Train one run by Lightning: `train("optimizer=adam", "batch=b32")`.

    It is recorded where `study=NAME` is among the overrides; if its ledger has it already, nothing is written.
    """
    from pima_hp.commands.solo import train_solo

    with running_command():
        config = composed(overrides)
        if config.n_replicates != 1 or any(map(OmegaConf.is_list, config.streams.values())):
            raise InputError("n_replicates, streams: must be of one run; pima_hp.sweep trains several runs")
        config.debug = config.debug or not any(line.startswith("study=") for line in overrides)
        config.engine.name = "solo"
        name_study(config)
        callback, trained = StudyCallback(), None
        callback.on_sweep_start([config], swept_keys([overrides]))
        ((job, run),) = ((job, run) for job in callback.jobs.values() for run in job.runs)
        if job.is_recorded:
            trained = studies.train_jobs([job])
            studies.publish(job, [run.id])
        if trained is None:  # not to be recorded, recorded before, or failed: then this raises its error
            config.debug = config.debug or job.is_recorded
            trained = train_solo(job, run, run.id)
    results, module = trained
    curves = {key: curve[0] for key, curve in results.curves.items()}
    numbers = {**results.scores, **{INITIAL_PREFIX + name: first for name, first in results.initial.items()}}
    scores = {key: float(score[0]) for key, score in numbers.items()}
    return TrainedRun(run.id, results.status[0], curves, scores, module)


def sweep(*overrides: str, **settings: object) -> Study:
    """Run a sweep as `pima-hp-train -m` does, and return its study: `sweep("experiment=article", n_replicates=100)`."""
    quiet = ["hydra/job_logging=none", "hydra.job_logging.root=null"]  # logging is the caller's
    quiet += ["hydra/hydra_logging=none", "hydra.hydra_logging.root=null"]
    lines = [
        *overrides,
        *(f"{key}={'null' if value is None else value}" for key, value in settings.items()),
        "hydra.mode=MULTIRUN",
        *quiet,
    ]
    with running_command() as command, initialize_config_dir(str(CONF), job_name="pima_hp", version_base="1.3"):
        with suppress(SystemExit):  # some runs failed: their status says so
            GlobalHydra.instance().hydra.multirun("config", task, lines)  # type: ignore[union-attr]
        return Study.read(command.study or Path(), own_table=True)


def predict(study: str | Path, run_id: str, rows: pd.DataFrame) -> Array:
    """Return the probability of a positive label for each raw row, from the checkpoint of a run of a study.

    Raises:
        InputError: `run_id` does not begin the id of one run with a checkpoint; runs that Lightning trains have one.
    """
    from pima_hp.commands.solo import checkpoint_of
    from pima_hp.model import MLPClassifier

    module = MLPClassifier.load_from_checkpoint(checkpoint_of(study_folder(study), run_id))
    probabilities: Array = np.asarray(module.predict(rows), float)
    return probabilities
