"""Runs that Lightning trains, with the callbacks and loggers of their job; tests of checkpoints."""

import logging
import sys
from pathlib import Path
from typing import Any

from lightning import Callback
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf, open_dict
from tqdm import tqdm

from pima_hp.commands.exits import say
from pima_hp.commands.job import Job
from pima_hp.config import CallbackSection
from pima_hp.config.build import build
from pima_hp.errors import ConfigurationError
from pima_hp.model.module import MLPClassifier
from pima_hp.run import Results, Run
from pima_hp.training.solo import datamodule_of, fit, module_of, quiet, trainer_of


def train_solo(job: Job, run: Run, name: str, progress: tqdm | None = None) -> tuple[Results, MLPClassifier]:
    """Train a run of a job by Lightning and return its results and the module.

    Args:
        job: of the run.
        run: to be trained.
        name: of the run, `run_name` in the configuration.
        progress: counts the epochs of a sweep, in place of Lightning's progress bars.
    """
    callbacks, loggers = built(job, run, name, bar=progress is None)
    return fit(
        run,
        callbacks=callbacks,
        loggers=loggers,
        progress=progress,
        ckpt_path=job.settings.ckpt_path,
        default_root_dir=str(job.folder),
    )


def built(job: Job, run: Run, name: str, *, bar: bool = True) -> tuple[list[Callback], list[Logger]]:
    """Return the callbacks and loggers of one run; no checkpoints and logs of a debug run, no bars in a log file."""
    cfg = job.cfg.copy()
    with open_dict(cfg):
        cfg.run_name, cfg.run_id = name, run.id
    callbacks = [build(node, Callback) for node in _nodes(cfg.callbacks)]
    loggers = [build(node, Logger) for node in _nodes(cfg.logger)]  # type: ignore[type-abstract]
    dropped = () if bar and sys.stdout.isatty() else (ProgressBar,)
    if job.settings.debug:
        dropped, loggers = (*dropped, Checkpoint), []
    return [each for each in callbacks if not isinstance(each, dropped)], loggers


def _nodes(group: DictConfig) -> list[dict[str, Any]]:
    """Return the nodes of a group as they were checked and identified: without arguments that are null."""
    nodes = OmegaConf.to_container(group, resolve=True)
    return [CallbackSection.model_validate(node).node for node in nodes.values() if node]  # type: ignore[union-attr]


def train_unrecorded(job: Job) -> float | None:
    """Train or test the first run of a job without recording it, and return its last `val/accuracy`."""
    run, settings = job.runs[0], job.settings
    if not settings.train:
        return score_test_rows(job, None)
    if job.config.trainer.arguments.get("profiler"):  # its report is a log message of Lightning, kept quiet otherwise
        reports = logging.getLogger("lightning.pytorch.profilers")
        reports.handlers, reports.level, reports.propagate = [logging.StreamHandler()], logging.INFO, False
    results, module = train_solo(job, run, f"{run.id}, continued")
    last = {key: curve[0][curve[0] == curve[0]][-1:].tolist() for key, curve in results.curves.items()}
    scores = ", ".join(f"{key} {value:.3f}" for key, values in last.items() if key != "lr" for value in values)
    say(f"{results.status[0]}; last epoch: {scores}; not recorded (a debug run, or continued from a checkpoint)")
    if settings.test:
        score_test_rows(job, module)
    return next(iter(last["val/accuracy"]), None)


def score_test_rows(job: Job, module: MLPClassifier | None) -> float:
    """Run `trainer.test` on the test rows of a job's run, print the scores, and return the accuracy.

    Args:
        job: of one run.
        module: trained just now; None for that of the job's checkpoint, or the run's own.

    Raises:
        ConfigurationError: there is no checkpoint.
    """
    run = job.runs[0]
    if module is None:
        module = MLPClassifier.load_from_checkpoint(job.settings.ckpt_path or checkpoint_of(job.folder, run.id))
    data = datamodule_of(run.config, run.seeds)
    with quiet():
        (scores,) = trainer_of(run.config, []).test(module, datamodule=data, verbose=False)
    say("test rows: " + ", ".join(f"{key.removeprefix('test/')} {value:.3f}" for key, value in scores.items()))
    return float(scores["test/accuracy"])


def checkpoint_of(folder: Path, run_id: str) -> Path:
    """Return the checkpoint of the run of a study whose id begins so: the best, not `last.ckpt`, where there are both.

    Raises:
        ConfigurationError: there is no such run with a checkpoint, or several.
    """
    runs = [path for path in (folder / "checkpoints").glob("*") if len(run_id) >= 4 and path.name.startswith(run_id)]
    found = [path for run in runs for path in run.glob("*.ckpt")]
    if len(runs) != 1 or not found:
        raise ConfigurationError(
            f"run {run_id!r}: must be one run with a checkpoint in {str(folder)!r}; found {len(runs) if found else 0}"
        )
    return max(found, key=lambda path: (not path.name.startswith("last"), path.stat().st_mtime))


def check_checkpoint(job: Job) -> None:
    """Check that a job's checkpoint is one, and was made with the settings of the job.

    Raises:
        InputError: it is not, or it has no epoch left to train.
    """
    path, run, train = Path(str(job.settings.ckpt_path)), job.runs[0], job.settings.train
    found = MLPClassifier.load_from_checkpoint(path)
    data = datamodule_of(run.config, run.seeds)
    wanted, given = dict(module_of(run.config, data.n_features, run.seeds.init).hparams), dict(found.hparams)
    for arguments in (wanted, given):  # T_max follows max_epochs, which may be raised
        arguments["scheduler"] = {key: value for key, value in (arguments["scheduler"] or {}).items() if key != "T_max"}
    keys = ("model", "optimizer", "scheduler", "monitor", "init_seed", "dtype") if train else ("model", "dtype")
    wanted, given = ({key: arguments[key] for key in keys} for arguments in (wanted, given))
    wanted |= {f"data.{key}": value for key, value in data.identity.items()}
    given |= {f"data.{key}": value for key, value in (found.trained_on or {}).items()}
    if different := [key for key, value in wanted.items() if given.get(key) != value]:
        raise ConfigurationError(
            f"ckpt_path: must be of a run with the same settings; found others: {', '.join(different)}"
        )
    if train and found.n_epochs >= run.config.trainer.max_epochs:
        raise ConfigurationError(
            f"trainer.max_epochs: must be above the {found.n_epochs} epochs of the checkpoint; "
            f"found {run.config.trainer.max_epochs}"
        )
