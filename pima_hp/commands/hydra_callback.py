"""What a command does around Hydra's jobs: check, plan and lock before the first, publish and summarize at the end."""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from pima_hp.commands import study
from pima_hp.commands.compose import swept_keys
from pima_hp.commands.exits import Ended, current_command, say
from pima_hp.commands.job import Job, parse
from pima_hp.config import Config
from pima_hp.errors import ConfigurationError, EngineError, InputError
from pima_hp.run import Run, RunStatus

Overrides = tuple[str, ...]

_ONE_OPTION = ("data", "model", "activation", "optimizer", "scheduler", "batch", "trainer", "engine", "experiment")
"""Groups of which a list of options makes no sense; callbacks and loggers may be several."""


@contextmanager
def _carried() -> Iterator[None]:
    """Carry errors past Hydra, which turns an Exception of a callback into a warning."""
    try:
        yield
    except Exception as error:
        raise Ended from error


class StudyCallback(Callback):
    """The study of one command.

    A single run is checked in `on_run_start`, before Hydra makes its folder. The jobs of a sweep are checked in
    `on_sweep_start`, which the sweeper `grids` calls with all of them; under another sweeper each job checks itself.
    """

    def __init__(self) -> None:
        self._began_s = time.time()
        self._jobs: dict[Overrides, Job] = {}
        self._asked: dict[str, Run] = {}

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check and plan the run; end the command after `dry_run` or `export`."""
        with _carried():
            name_study(config)
            self._prepare([config], swept_keys([_overrides(config)]), sweep=False)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Give the sweep's jobs the name of their study and the token of this command."""
        with _carried():
            name_study(config)
            own = config.hydra.overrides.task
            own += [f"command={config.command}"]
            own += [f"study={config.study}"] if current_command().is_unnamed else []
            plugins = f"{config.hydra.sweeper._target_} {config.hydra.launcher._target_}"
            if "pima_hp" not in plugins:  # neither our sweeper nor our launcher: each job plans itself
                self._hold(Path(config.outputs) / config.study, config.command)

    def on_sweep_start(self, configs: Sequence[DictConfig], swept: Sequence[str]) -> list[int]:
        """Check and plan all jobs, and return the positions of those that have runs to train."""
        return self._prepare(configs, swept, sweep=True)

    def on_launch_start(self, configs: Sequence[DictConfig]) -> None:
        """Train what the ledger lacks of these jobs, in stacks; prepare those of a sweeper that has not."""
        if new := [config for config in configs if _overrides(config) not in self._jobs]:
            self._prepare(new, swept_keys([_overrides(config) for config in new]), sweep=True)
        jobs = [self._jobs[_overrides(config)] for config in configs]
        if jobs and jobs[0].is_recorded:
            study.train_jobs(jobs, study.planned(jobs, []), together=True)

    def on_run_end(self, config: DictConfig, **given: Any) -> None:
        """Publish and summarize."""
        if given["job_return"].status == JobStatus.COMPLETED:
            self._finish(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Publish and summarize."""
        self._finish(config)

    def _hold(self, folder: Path, command: str) -> None:
        current_command().closing.enter_context(study.held(folder, command))

    def _prepare(self, configs: Sequence[DictConfig], swept: Sequence[str], *, sweep: bool) -> list[int]:
        """Return the positions of the jobs that have runs to train; end the command after `dry_run` or `export`.

        Raises:
            ConfigurationError: problems of some jobs; nothing was written.
            StudyError: the study is busy, or was started with other settings.
        """
        jobs = checked(configs, together=sweep)
        first, swept = jobs[0], swept if sweep else []
        self._jobs.update(zip(map(_overrides, configs), jobs, strict=True))
        if not first.is_recorded:
            return list(range(len(jobs)))
        if first.settings.export:
            study.export(first.folder, first.settings.export)
            say(f"written to {first.folder / 'tensorboard'}")
            raise SystemExit(0)
        for note in dict.fromkeys(note for job in jobs for note in job.notes):
            say(f"note: {note}")
        if first.settings.dry_run:
            from pima_hp.commands.summary import print_plan

            print_plan(jobs, study.plan(jobs, swept), together=sweep or len(first.runs) > 1)
            raise SystemExit(0)
        self._hold(first.folder, str(first.settings.command))
        study.planned(jobs, swept)
        asked = {run.id: run for job in jobs for run in job.runs}
        self._asked |= asked
        lacking = {run.id for run in study.missing(first.folder, asked.values())}
        if sweep and len(lacking) < len(asked):
            n_held = len(asked) - len(lacking)
            say(f"{first.folder}: {n_held:,} of {len(asked):,} runs are in the ledger; {len(lacking):,} to train")
        kept = []
        for position, job in enumerate(jobs):
            mine = lacking.intersection(run.id for run in job.runs)
            lacking -= mine
            kept += [position] if mine else []
        return kept

    def _finish(self, config: DictConfig) -> None:
        with _carried():
            first = next(iter(self._jobs.values()), None) or parse(config)  # other plugins: jobs planned themselves
            if not first.is_recorded:
                return
            from pima_hp.commands.summary import print_summary

            frame = study.publish(first, list(self._asked.values()))
            new = frame["ended_s"] >= self._began_s
            asked = frame[frame["run_id"].isin(self._asked) if self._asked else new]
            n_asked = len(self._asked) or len(asked)
            print_summary(first, asked, n_asked, n_new=int(new[asked.index].sum()))
            if first.settings.report:
                from pima_hp.commands.report import report_study
                from pima_hp.report.page import Study

                report_study(Study.read(first.folder, own_table=True), first.settings.claim_dir)
        if len(asked) < n_asked or (asked["status"] == RunStatus.FAILED).any():
            raise SystemExit(1)


def name_study(config: DictConfig) -> None:
    """Give a study without a name a new one, which no other command has, and the command a token."""
    running = current_command()
    with open_dict(config):
        running.is_unnamed = not OmegaConf.is_missing(config, "study") and config.study is None
        if running.is_unnamed and any(line.startswith("study=") for line in config.hydra.overrides.task):
            raise ConfigurationError("study: must be the same for all jobs of a sweep")
        if running.is_unnamed:
            config.study = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(3)}"
        config.command = f"{time.time():.3f}-{secrets.token_hex(4)}"
    if not OmegaConf.is_missing(config, "study"):
        running.study = Path(str(config.outputs)) / str(config.study)


def checked(configs: Sequence[DictConfig], *, together: bool) -> list[Job]:
    """Parse composed jobs and check that they can be trained.

    Raises:
        ConfigurationError: the problems of all jobs, each line once.
    """
    jobs, problems = [], dict[str, None]()
    for config in configs:
        # Hydra composes all options of a list, the last over the others, and leaves the group out of its choices.
        several = [group for group in _ONE_OPTION if group not in config.hydra.runtime.choices]
        problems.update(dict.fromkeys(f"{group}: must be one option; found several, or none" for group in several))
        try:
            jobs.append(parse(config))
        except InputError as error:
            problems.update(dict.fromkeys(error.problems))
    for job in [] if problems else jobs:
        problems.update(dict.fromkeys(_untrainable(job, alone=not together and len(job.runs) == 1)))
    if not problems:
        own = {*Config.model_fields, "seed", "n_replicates", "streams"}
        values = [job.settings.model_dump(exclude=own) for job in jobs]
        shared = "must be the same for all jobs of a sweep"
        problems = {f"{key}: {shared}": None for key in values[0] if any(one[key] != values[0][key] for one in values)}
        problems |= {"test: must go with one run; found a sweep": None} if together and jobs[0].settings.test else {}
        if len({job.is_recorded for job in jobs}) > 1:
            problems["trainer.fast_dev_run: must be the same for all jobs of a sweep"] = None
    if problems:
        raise ConfigurationError(list(problems))
    if jobs[0].settings.ckpt_path:
        from pima_hp.commands.solo import check_checkpoint

        check_checkpoint(jobs[0])
    return jobs


def _untrainable(job: Job, *, alone: bool) -> Sequence[str]:
    """Return one line for each reason why a job cannot be trained here."""
    from pima_hp.training.checks import component_problems
    from pima_hp.training.dispatch import select

    if problems := component_problems(job.config):
        return problems
    try:
        engine = select(job.config, job.settings.engine.name, alone=alone, only_lightning=job.only_lightning)
    except EngineError as error:
        return error.problems
    if engine == "solo" or not job.is_recorded:
        return component_problems(job.config, callbacks=job.callbacks, loggers=job.loggers, folder=job.folder)
    return []


def _overrides(config: DictConfig) -> Overrides:
    return tuple(config.hydra.overrides.task)
