"""What a command does between Hydra's composition and the study: check, plan, train, publish.

A single run and a sweep go the same way. `prepare` is called once before anything is trained (by the command itself for
a single run, by the sweeper `grids` for a sweep, and where another sweeper or launcher knows nothing of it, by the
first job), `train` once per job, `finish` at the end.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pima_hp.composition import explain
from pima_hp.data.sizes import split_sizes
from pima_hp.data.table import read_table
from pima_hp.errors import ConfigurationError
from pima_hp.jobs import Overrides
from pima_hp.request import Request, request_from
from pima_hp.run import RunStatus, replicate_of
from pima_hp.study import Study, label_of, say

_HOLDER = "PIMA_HP_HOLDER"  # tells worker processes which process holds the study
_MOST_PROBLEMS = 20
_SHARED = (
    "folder",
    "engine",
    "logger",
    "debug",
    "dry_run",
    "report",
    "claim_dir",
    "materialize",
)  # by all jobs of a sweep


def requests_of(jobs: Sequence[DictConfig]) -> list[Request]:
    """Check composed jobs.

    Raises:
        ConfigurationError: every problem of every job, each line once.
    """
    requests, problems = [], dict[str, None]()
    for config in jobs:
        try:
            requests.append(request_from(config))
        except ConfigurationError as error:
            problems.update(dict.fromkeys(error.problems))
        except Exception as error:  # noqa: BLE001 -- an interpolation that leads nowhere
            problems[explain(error)] = None
    if not problems:
        from pima_hp.training.checks import component_problems

        for request in requests:
            problems.update(dict.fromkeys(component_problems(request.config, request.engine.name)))
    if problems:
        more = [f"... and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
        raise ConfigurationError([*list(problems)[:_MOST_PROBLEMS], *more])
    return requests


def overrides_of(job: DictConfig) -> Overrides:
    """Return the overrides of a job, which are all that sets it apart from the others of a command."""
    return tuple((HydraConfig.get() if "hydra" not in job else job.hydra).overrides.task)


def swept_keys(jobs: Sequence[DictConfig]) -> list[str]:
    """Return the settings that jobs name and do not share; all that are named where there is one job."""
    overrides = list(map(overrides_of, jobs))
    shared = set[str]().union(*overrides).intersection(*overrides) if len(jobs) > 1 else set()
    own = [override for each in overrides for override in each if override not in shared]
    return list(dict.fromkeys(override.partition("=")[0].lstrip("+") for override in own))


class Session:
    """One command: the studies that it holds, and what it has been asked so far."""

    def __init__(self) -> None:
        self.studies: dict[Path, Study] = {}
        self._checked: dict[Overrides, Request] = {}
        self._prepared: set[Overrides] = set()
        self._to_publish: dict[Overrides, Request] = {}

    def close(self) -> None:
        """Let go of every study and forget what was asked."""
        for study in self.studies.values():
            study.close()
        self.__init__()  # type: ignore[misc]
        os.environ.pop(_HOLDER, None)

    def opened(self, folder: Path) -> Study:
        """Return the study of a folder, held by this command or by the one that this worker works for."""
        if folder not in self.studies:
            pid, _, held = os.environ.get(_HOLDER, "").partition(" ")
            study = Study(folder, holder=int(pid) if held == str(folder.resolve()) else 0)
            if not study.holder:
                study.hold()
                os.environ[_HOLDER] = f"{os.getpid()} {folder.resolve()}"
            self.studies[folder] = study
        return self.studies[folder]

    @property
    def n_unfinished(self) -> int:
        """Runs asked for that failed, or were not trained."""
        return sum(study.n_unfinished for study in self.studies.values())

    def prepare(self, jobs: Sequence[DictConfig], swept: Sequence[str], *, sweep: bool = True) -> list[int] | None:
        """Check all jobs, write down what is asked, and return the positions of the jobs that have runs to be trained.

        Args:
            jobs: composed.
            swept: the settings that tell them apart; they name the configurations.
            sweep: whether they were asked for as a sweep.

        Returns:
            None where a question was asked and answered: a plan, or a run as an event folder.

        Raises:
            ConfigurationError: every problem of every job; nothing was written.
            StudyError: the study is busy, or was begun with another meaning.
        """
        requests = requests_of(jobs)
        asked = dict(zip(map(overrides_of, jobs), requests, strict=True))
        self._checked.update(asked)
        self._prepared.update(asked)
        first = requests[0]
        for name in _SHARED:
            if any(getattr(one, name) != getattr(first, name) for one in requests):
                what = "study and outputs" if name == "folder" else name
                raise ConfigurationError(f"{what}: must be the same for all jobs of a sweep; one command, one study")
        if first.debug.trainer_options:
            return list(range(len(requests)))  # nothing is recorded
        labels = [label_of(request, swept) for request in requests]
        if not first.materialize:
            for note in dict.fromkeys(note for request in requests for note in (*request.notes, *copies_note(request))):
                say(f"note: {note}")
        if first.dry_run:
            from pima_hp.plan import print_plan

            Study(first.folder).plan(requests, labels, swept if sweep else [])
            print_plan(requests, labels, together=sweep or len(first.seeds) > 1)
            return None
        if first.materialize:
            if not (first.folder / "ledger").is_dir():
                rule = "must be a run of a study (study=NAME)"
                raise ConfigurationError(f"materialize: {rule}; found no study in {first.folder}")
            self.opened(first.folder).materialize(first.materialize)
            say(f"written below {first.folder / 'tensorboard'}")
            return None
        self._to_publish.update(asked)
        study = self.opened(first.folder)
        study.plan(requests, labels, swept if sweep else []).write(study.folder)
        missing = {run.id for run in study.missing(requests)}
        study.expected |= missing
        n_asked = len({run.id for request in requests for run in request.runs})
        if sweep and len(missing) < n_asked:
            n_held = n_asked - len(missing)
            say(f"{first.folder}: {n_held:,} of {n_asked:,} runs are in the ledger; {len(missing):,} to train")
        kept = []
        for position, request in enumerate(requests):
            mine = {run.id for run in request.runs} & missing
            if mine:
                kept.append(position)
            missing -= mine
        return kept

    def train_together(self, jobs: Sequence[DictConfig]) -> None:
        """Train what the ledger lacks of these jobs, in stacks."""
        requests = self._ready(jobs)
        if requests and not requests[0].debug.trainer_options:
            study = self.opened(requests[0].folder)
            if runs := study.missing(requests):
                study.train(runs, together=True, engine=requests[0].engine)

    def train(self, job: DictConfig) -> float | None:
        """Make sure that the ledger holds the runs of one job; return their mean final `val/accuracy`."""
        requests = self._ready([job])
        if not requests:
            return None
        (request,) = requests
        if request.debug.trainer_options:
            return rehearse(request)
        study = self.opened(request.folder)
        if runs := study.missing([request]):
            study.train(runs, together=len(request.seeds) > 1, engine=request.engine, logger=request.logger)
        return study.mean_score(request, "val/accuracy")

    def _ready(self, jobs: Sequence[DictConfig]) -> list[Request]:
        """Return the requests of jobs that are to be trained; prepare those that nobody has prepared."""
        unknown = [job for job in jobs if overrides_of(job) not in self._checked]
        requests = requests_of(unknown)
        self._checked.update(zip(map(overrides_of, unknown), requests, strict=True))
        requests = [self._checked[overrides_of(job)] for job in jobs]
        folder = requests[0].folder
        for_another = bool(os.environ.get(_HOLDER)) and self.opened(folder).holder
        new = [job for job in jobs if overrides_of(job) not in self._prepared]
        if new and not requests[0].debug.trainer_options:
            if for_another:  # it has written the manifest; since then a data file may have changed
                own = [self._checked[overrides_of(job)] for job in new]
                self.opened(folder).plan(own, [label_of(request, []) for request in own], [])
            else:
                self.prepare(new, swept_keys(new))
        return [] if requests[0].dry_run or requests[0].materialize else requests

    def finish(self) -> None:
        """Publish what the command has left in its study, and print a summary."""
        if not self._to_publish:
            return
        requests = list(self._to_publish.values())
        self._to_publish = {}
        first = requests[0]
        study = self.opened(first.folder)
        runs = {run.id: run for request in requests for run in request.runs}
        frame = study.publish(first.logger, next(iter(runs.values())) if len(runs) == 1 else None)
        asked = frame[frame["run_id"].isin(runs)]
        n_trained = len(asked) - int((asked["status"] == RunStatus.FAILED).sum())
        study.n_unfinished = len(runs) - n_trained
        from pima_hp.summary import print_summary

        print_summary(study, asked, first.logger)
        if first.report:
            from pima_hp.reporting import report_study

            report_study(study.folder, first.claim_dir, own_table=True)


session = Session()


def copies_note(request: Request) -> list[str]:
    """Return what to say where the replicates of a request are copies of one run; nothing where they differ."""
    batch, n_replicates = request.config.batch, len(request.seeds)
    data = request.config.data
    n_train, _, _ = split_sizes(len(read_table(data).labels), data)
    distinct = {
        replicate_of(one.init, one.split, one.order, batch.shuffle, batch.size, n_train) for one in request.seeds
    }
    if len(distinct) == n_replicates:
        return []
    pinned = "streams.init and streams.split are pinned and rows are not shuffled"
    if batch.shuffle:
        pinned = "streams.init, streams.split and streams.order are pinned"
        if batch.size in ("full", n_train):
            pinned = "streams.init and streams.split are pinned and one batch holds all rows"
    return [f"n_replicates={n_replicates} trains one distinct run per configuration: {pinned}"]


def rehearse(request: Request) -> float | None:
    """Train the first run with the debug options of Lightning; nothing is recorded."""
    from pima_hp.training.solo import fit

    if request.debug.profiler:  # its report is a log message of Lightning, which is kept quiet otherwise
        reports = logging.getLogger("lightning.pytorch.profilers")
        reports.handlers, reports.level, reports.propagate = [logging.StreamHandler()], logging.INFO, False
    results = fit(request.runs[0], **request.debug.trainer_options)[0]
    options = ", ".join(f"{name}={value}" for name, value in request.debug.trainer_options.items())
    last = {key: curve[np.isfinite(curve)][-1:] for key, curve in results.curves.items()}
    scores = ", ".join(f"{key} {value:.3f}" for key, values in last.items() for value in values)
    say(f"rehearsal ({options}): {results.status[0]}; last epoch: {scores}; nothing was recorded")
    return float(results.scores["val/accuracy"][0]) if "val/accuracy" in results.scores else None
