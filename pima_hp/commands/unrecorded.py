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

    return score_test_rows(MLPClassifier.load_from_checkpoint(str(job.settings.ckpt_path)), job.runs[0])


_NAMES = {"model": "model or activation", "init_seed": "seed", "split_seed": "seed", "dtype": "trainer.precision"}


def check_checkpoint(job: Job) -> None:
    """Check that a job's checkpoint is one, and was made with the settings of the job.

    Raises:
        InputError: it is not, or it has no epoch left to train.
    """
    from pima_hp.model.module import MLPClassifier, read_checkpoint
    from pima_hp.training.solo import datamodule_of, module_of

    path, (run,), train = str(job.settings.ckpt_path), job.runs, job.settings.train
    found = MLPClassifier.load_from_checkpoint(path)
    data = datamodule_of(run.config, run.seeds)
    wanted, given = dict(module_of(run.config, data.n_features, run.seeds.init).hparams), dict(found.hparams)
    for arguments in (wanted, given):  # T_max follows max_epochs, which may be raised
        arguments["scheduler"] = {key: value for key, value in (arguments["scheduler"] or {}).items() if key != "T_max"}
    keys = ("model", "optimizer", "scheduler", "monitor", "init_seed", "dtype") if train else ("model", "dtype")
    pairs = [(_NAMES.get(key, key), given[key], wanted[key]) for key in keys]
    before = found.trained_on or {}
    pairs += [(_NAMES.get(key, f"data.{key}"), before.get(key), value) for key, value in data.identity.items()]
    if different := list(dict.fromkeys(name for name, one, other in pairs if one != other)):
        raise ConfigurationError(
            f"ckpt_path: must go with the settings of its run; these differ: {', '.join(different)}"
        )
    n_epochs = int(read_checkpoint(path).get("epoch", -1)) + 1
    if train and n_epochs >= run.config.trainer.max_epochs:
        rule = f"trainer.max_epochs: must be above the {n_epochs} epochs of the checkpoint"
        raise ConfigurationError(f"{rule}; found {run.config.trainer.max_epochs}")


def score_test_rows(module: "MLPClassifier", run: Run) -> float:
    """Run `trainer.test` on the rows of a run's test split, print the scores, and return the accuracy.

    A module that was trained just now is scored with its best checkpoint, where it has one.
    """
    from pima_hp.training.solo import datamodule_of, quiet, trainer_of

    data = datamodule_of(run.config, run.seeds)
    checkpoint = module.trainer.checkpoint_callback if module._trainer else None
    if best := getattr(checkpoint, "best_model_path", ""):
        module = type(module).load_from_checkpoint(best)
    with quiet():
        (scores,) = trainer_of(run.config, []).test(module, datamodule=data, verbose=False)
    which = "best checkpoint" if best else "last weights"
    told = ", ".join(f"{key.removeprefix('test/')} {value:.3f}" for key, value in scores.items())
    say(f"test rows, {which}: {told}")
    return float(scores["test/accuracy"])
