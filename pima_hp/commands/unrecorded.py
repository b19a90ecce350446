"""Runs that are not recorded: debug runs, runs continued from a checkpoint, and tests of a checkpoint."""

import logging
from typing import TYPE_CHECKING

from pima_hp.commands.exits import say
from pima_hp.commands.job import Job
from pima_hp.commands.study import name_of
from pima_hp.errors import ConfigurationError
from pima_hp.run import Run

if TYPE_CHECKING:
    from pima_hp.model.module import MLPClassifier


def run_unrecorded(job: Job) -> float | None:
    """Train or test the first run of a job without recording it, and return its last `val/accuracy`."""
    run, settings = job.runs[0], job.settings
    if not settings.train:
        return test_checkpoint(job)
    from pima_hp.commands.solo import built
    from pima_hp.training.solo import fit

    if job.config.trainer.arguments.get("profiler"):  # its report is a log message of Lightning, kept quiet otherwise
        reports = logging.getLogger("lightning.pytorch.profilers")
        reports.handlers, reports.level, reports.propagate = [logging.StreamHandler()], logging.INFO, False
    name = f"{name_of(run, {})}, continued"
    callbacks, loggers = built(job, run, name, record=bool(settings.ckpt_path) and not settings.debug)
    results, module = fit(
        run, callbacks=callbacks, loggers=loggers, ckpt_path=settings.ckpt_path, default_root_dir=str(job.folder)
    )
    last = {key: curve[0][~(curve[0] != curve[0])][-1:] for key, curve in results.curves.items()}
    scores = ", ".join(f"{key} {value:.3f}" for key, values in last.items() if key != "lr" for value in values)
    scores = scores or "none, as the checkpoint is of the last one; raise trainer.max_epochs"
    why = "a debug run" if settings.debug else "continued from a checkpoint" if settings.ckpt_path else "fast_dev_run"
    say(f"{results.status[0]}; last epoch: {scores}; not recorded ({why})")
    if settings.test:
        score_test_rows(module, run)
    values = last.get("val/accuracy", ())
    return float(values[0]) if len(values) else None


def test_recorded(job: Job) -> None:
    """Score the test rows with the checkpoint of a run that is in the ledger already, if there is one."""
    from pima_hp.model.module import MLPClassifier

    (run,) = job.runs
    path = job.folder / "checkpoints" / run.id / "best.ckpt"
    if path.is_file():
        score_test_rows(MLPClassifier.load_from_checkpoint(path), run)
    else:
        say(f"test: the run is in the ledger, and has no checkpoint {path}")


def test_checkpoint(job: Job) -> float:
    """Score the test rows with the weights of a checkpoint; print and return their accuracy."""
    from pima_hp.model.module import MLPClassifier

    module = MLPClassifier.load_from_checkpoint(str(job.settings.ckpt_path))
    return score_test_rows(module, job.runs[0])


def score_test_rows(module: "MLPClassifier", run: Run) -> float:
    """Run `trainer.test` on the rows of a run's test split, print the scores, and return the accuracy.

    A module that was trained just now is scored with its best checkpoint, where it has one.

    Raises:
        ConfigurationError: the module was trained on other columns, or on data prepared otherwise.
    """
    from pima_hp.training.solo import datamodule_of, quiet, trainer_of

    data = datamodule_of(run.config, run.seeds)
    data.setup("test")
    if module.preprocessing != data.preprocessing:
        raise ConfigurationError("ckpt_path: must go with the data settings and the seed that it was trained with")
    checkpoint = module.trainer.checkpoint_callback if module._trainer else None
    if best := getattr(checkpoint, "best_model_path", ""):
        module = type(module).load_from_checkpoint(best)
    with quiet():
        (scores,) = trainer_of(run.config, []).test(module, datamodule=data, verbose=False)
    which = "best checkpoint" if best else "last weights"
    told = ", ".join(f"{key.removeprefix('test/')} {value:.3f}" for key, value in scores.items())
    say(f"test rows, {which}: {told}")
    return float(scores["test/accuracy"])
