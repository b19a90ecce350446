"""Runs that Lightning trains: with the callbacks and loggers of their job."""

import sys
from typing import Any

from lightning import Callback
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf, open_dict
from tqdm import tqdm

from pima_hp.commands.job import Job
from pima_hp.config import CallbackSection
from pima_hp.config.build import build
from pima_hp.run import Results, Run
from pima_hp.training.solo import fit


def train_solo(job: Job, run: Run, name: str, progress: tqdm | None = None) -> Results:
    """Train a run of a job by Lightning and return its results.

    Args:
        job: of the run.
        run: to be trained.
        name: of the run.
        progress: counts the epochs of a sweep, in place of Lightning's progress bars.
    """
    callbacks, loggers = built(job, run, name, bar=progress is None)
    results, module = fit(
        run, callbacks=callbacks, loggers=loggers, progress=progress, default_root_dir=str(job.folder)
    )
    if job.settings.test:
        from pima_hp.commands.unrecorded import score_test_rows

        score_test_rows(module, run)
    return results


def built(
    job: Job, run: Run, name: str, *, bar: bool = True, record: bool = True
) -> tuple[list[Callback], list[Logger]]:
    """Return the callbacks and loggers of one run of a job.

    Args:
        job: of the run.
        run: to be trained.
        name: of the run, `run_name` in the configuration.
        bar: whether progress bars are among the callbacks.
        record: whether checkpoints and logs are written.
    """
    cfg = job.cfg.copy()
    with open_dict(cfg):
        cfg.run_name, cfg.run_id = name, run.id
    callbacks = [build(node, Callback) for node in _nodes(cfg.callbacks)]
    loggers = [build(node, Logger) for node in _nodes(cfg.logger)] if record else []  # type: ignore[type-abstract]
    bar = bar and sys.stdout.isatty()  # a log file is no place for it
    dropped = ((ProgressBar,) if not bar else ()) + ((Checkpoint,) if not record else ())
    return [each for each in callbacks if not isinstance(each, dropped)], loggers


def _nodes(group: DictConfig) -> list[dict[str, Any]]:
    """Return the nodes of a group as they were checked and identified: without arguments that are null."""
    nodes = OmegaConf.to_container(group, resolve=True)
    return [CallbackSection.model_validate(node).node for node in nodes.values() if node]  # type: ignore[union-attr]
