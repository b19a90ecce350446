"""Runs that Lightning trains, with the callbacks and loggers of their job; tests of checkpoints."""

import logging
import sys
from pathlib import Path

from lightning import Callback
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf
from tqdm import tqdm

from pima_hp.commands.exits import say
from pima_hp.commands.job import Job, parse
from pima_hp.config.build import build
from pima_hp.errors import ConfigurationError
from pima_hp.model.module import MLPClassifier
from pima_hp.run import Results, Run
from pima_hp.training.solo import datamodule_of, fit, module_of, quiet, trainer_of


def train_solo(job: Job, run: Run, name: str, progress: tqdm | None = None) -> tuple[Results, MLPClassifier]:
    """Train a run of a job by Lightning and return its results and the module; a debug run saves and logs nothing.

    Args:
        job: of the run.
        run: to be trained.
        name: of the run, `run_name` in the configuration.
        progress: counts the epochs of a sweep, in place of Lightning's progress bars.
    """
    own = parse(OmegaConf.merge(job.cfg, {"run_name": name, "run_id": run.id})).settings  # type: ignore[arg-type]
    callbacks = [build(each.node, Callback) for each in own.callbacks.values()]
    loggers = [] if own.debug else [build(each.node, Logger) for each in own.logger.values()]  # type: ignore[type-abstract]
    dropped: list[type] = [Checkpoint] if own.debug else []
    dropped += [] if progress is None and sys.stdout.isatty() else [ProgressBar]
    return fit(
        run,
        callbacks=[each for each in callbacks if not isinstance(each, tuple(dropped))],
        loggers=loggers,
        progress=progress,
        ckpt_path=str(own.ckpt_path) if own.ckpt_path else None,
        default_root_dir=str(job.folder),
    )


def train_unrecorded(job: Job) -> float:
    """Train or test the first run of a job without recording it, and return its accuracy after the last epoch."""
    run, settings = job.runs[0], job.settings
    if not settings.train:
        return score_test_rows(job, None)
    if job.config.trainer.arguments.get("profiler"):  # its report is a log message of Lightning, kept quiet otherwise
        reports = logging.getLogger("lightning.pytorch.profilers")
        reports.handlers, reports.level, reports.propagate = [logging.StreamHandler()], logging.INFO, False
    results, module = train_solo(job, run, f"{run.id}, continued")
    say(f"{results.status[0]}; not recorded (a debug run, or continued from a checkpoint)")
    if settings.test:
        score_test_rows(job, module)
    return float(results.curves["val/accuracy"][0][-1])


def score_test_rows(job: Job, module: MLPClassifier | None) -> float:
    """Run `trainer.test` on the test rows of a job's run, which prints the scores, and return the accuracy.

    Args:
        job: of one run.
        module: trained just now; None for that of the job's checkpoint, or the run's own.

    Raises:
        ConfigurationError: there is no checkpoint.
    """
    run = job.runs[0]
    if module is None:
        module = MLPClassifier.load_from_checkpoint(job.settings.ckpt_path or checkpoint_of(job.folder, run.id))
    with quiet():
        (scores,) = trainer_of(run.config, []).test(module, datamodule=datamodule_of(run.config, run.seeds))
    return float(scores["test/accuracy"])


def checkpoint_of(folder: Path, run_id: str) -> Path:
    """Return the checkpoint of the run of a study whose id begins so: the best, not `last.ckpt`, where there are both.

    Raises:
        ConfigurationError: there is no such run with a checkpoint, or several.
    """
    runs = [path for path in (folder / "checkpoints").glob("*") if len(run_id) >= 4 and path.name.startswith(run_id)]
    found = [path for run in runs for path in run.glob("*.ckpt")]
    if len(runs) != 1 or not found:
        rule, n = f"must be one run with a checkpoint in {str(folder)!r}", len(runs) if found else 0
        raise ConfigurationError(f"run {run_id!r}: {rule}; found {n}")
    return max(found, key=lambda path: (not path.name.startswith("last"), path.stat().st_mtime))


def check_checkpoint(job: Job) -> None:
    """Check that a job's checkpoint is one, and was made with the settings of the job.

    Raises:
        InputError: it is not, or it has no epoch left to train.
    """
    run, train = job.runs[0], job.settings.train
    found = MLPClassifier.load_from_checkpoint(str(job.settings.ckpt_path))
    data = datamodule_of(run.config, run.seeds)
    wanted = module_of(run.config, data.n_features, run.seeds.init)
    keys = ("model", "optimizer", "scheduler", "monitor", "init_seed", "dtype") if train else ("model", "dtype")
    ours, theirs = ({key: module.hparams[key] for key in keys} for module in (wanted, found))
    for arguments in (ours, theirs):  # T_max follows max_epochs, which may be raised
        arguments["scheduler"] = {**(arguments.get("scheduler") or {}), "T_max": None}
    ours |= {f"data.{key}": value for key, value in data.identity.items()}
    theirs |= {f"data.{key}": value for key, value in (found.trained_on or {}).items()}
    if others := ", ".join(key for key, value in ours.items() if theirs.get(key) != value):
        raise ConfigurationError(f"ckpt_path: must be of a run with the same settings; found others: {others}")
    if train and (n := found.n_epochs) >= (most := run.config.trainer.max_epochs):
        raise ConfigurationError(f"trainer.max_epochs: must be above the {n} epochs of the checkpoint; found {most}")
