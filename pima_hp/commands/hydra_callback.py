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
from pima_hp.commands.explain import explain
from pima_hp.commands.job import Job, parse
from pima_hp.errors import ConfigurationError
from pima_hp.run import Run, RunStatus

_MOST_PROBLEMS = 20
_SHARED = (
    "study",
    "outputs",
    "dry_run",
    "debug",
    "train",
    "test",
    "ckpt_path",
    "report",
    "claim_dir",
    "log_each_run",
    "export",
)
Overrides = tuple[str, ...]


@contextmanager
def _carried() -> Iterator[None]:
    """Carry errors past Hydra, which turns an Exception of a callback into a warning."""
    try:
        yield
    except Exception as error:
        raise Ended(error) from error


class StudyCallback(Callback):
    """The study of one command.

    A single run is checked in `on_run_start`, before Hydra makes its folder. The jobs of a sweep are checked in
    `on_sweep_start`, which the sweeper `grids` calls with all of them; under another sweeper each job checks itself.
    """

    def __init__(self) -> None:
        self._jobs: dict[Overrides, Job] = {}
        self._asked: dict[str, Run] = {}
        self._expected: set[str] = set()
        self._first: Job | None = None
        self._apart = False  # whether the launcher trains each job by itself, maybe at the same time

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check the run, and answer a question about it."""
        with _carried():
            name_study(config)
            if self._prepare([config], swept_keys([_overrides(config)]), sweep=False) is None:
                raise SystemExit(0)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Give the sweep's jobs the name of their study and the token of this command."""
        with _carried():
            own = config.hydra.overrides.task
            missing = OmegaConf.is_missing(config, "study")
            if not missing and config.study is None and any(one.lstrip("+").startswith("study=") for one in own):
                raise ConfigurationError("study: must be the same for all jobs of a sweep; one command, one study")
            name_study(config)
            own += [f"command={config.command}"]
            own += [f"study={config.study}"] if current_command().made_up else []
            plugins = f"{config.hydra.sweeper._target_} {config.hydra.launcher._target_}"
            self._apart = "pima_hp_stacked" not in plugins
            if "pima_hp" not in plugins:  # neither our sweeper nor our launcher: each job plans itself
                self._hold(Path(config.outputs) / config.study, config.command)

    def on_sweep_start(self, jobs: Sequence[DictConfig], swept: Sequence[str]) -> list[int]:
        """Check all jobs, write down what is asked, and return the positions of those that have runs to train."""
        kept = self._prepare(jobs, swept, sweep=True)
        return [] if kept is None else kept

    def on_launch_start(self, configs: Sequence[DictConfig]) -> None:
        """Train what the ledger lacks of these jobs, in stacks; prepare those of a sweeper that has not."""
        new = [config for config in configs if _overrides(config) not in self._jobs]
        if new and self._prepare(new, swept_keys([_overrides(config) for config in new]), sweep=True) is None:
            raise SystemExit(0)
        jobs = [self._jobs[_overrides(config)] for config in configs]
        if jobs and jobs[0].is_recorded and not jobs[0].settings.dry_run:
            study.train_jobs(jobs, together=True)

    def on_run_end(self, config: DictConfig, **given: Any) -> None:
        """Publish and summarize."""
        if given["job_return"].status == JobStatus.COMPLETED:
            self._finish(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Publish and summarize."""
        self._finish(config)

    def _hold(self, folder: Path, command: str) -> None:
        current_command().closing.enter_context(study.held(folder, command))

    def _prepare(self, configs: Sequence[DictConfig], swept: Sequence[str], *, sweep: bool) -> list[int] | None:
        """Return the positions of the jobs that have runs to train; None where a question was asked and answered.

        Raises:
            ConfigurationError: every problem of every job; nothing was written.
            StudyError: the study is busy, or was begun with another meaning.
        """
        jobs = checked(configs, together=sweep)
        first = self._first = jobs[0]
        self._jobs.update(zip(map(_overrides, configs), jobs, strict=True))
        self._check_overlap(jobs)
        if not first.is_recorded:
            self._first = None
            return list(range(len(jobs)))
        settings, folder = first.settings, first.folder
        if settings.export:
            if not (folder / "ledger").is_dir():
                raise ConfigurationError(f"export: must be a run of a study (study=NAME); found no study in {folder}")
            with study.held(folder):
                study.export(folder, settings.export)
            say(f"written to {folder / 'tensorboard'}")
            return None
        for note in dict.fromkeys(note for job in jobs for note in job.notes):
            say(f"note: {note}")
        manifest = study.plan(jobs, swept if sweep else [])
        asked = {run.id: run for job in jobs for run in job.runs}
        self._asked |= asked
        if settings.dry_run:
            from pima_hp.commands.summary import print_plan

            print_plan(jobs, manifest, together=sweep or len(first.runs) > 1)
            return None
        self._hold(folder, first.settings.command or "")
        manifest.write(folder)
        lacking = {run.id for run in study.missing(folder, asked.values())}
        self._expected |= lacking
        if sweep and len(lacking) < len(asked):
            n_held = len(asked) - len(lacking)
            say(f"{folder}: {n_held:,} of {len(asked):,} runs are in the ledger; {len(lacking):,} to train")
        kept = []
        for position, job in enumerate(jobs):
            mine = {run.id for run in job.runs} & lacking
            if mine:
                kept.append(position)
            lacking -= mine
        return kept

    def _check_overlap(self, jobs: Sequence[Job]) -> None:
        """Refuse jobs that share some of their runs where a launcher may train both at once."""
        owners: dict[str, Job] = {}
        for job in jobs if self._apart else ():
            for run in job.runs:
                other = owners.setdefault(run.id, job)
                if other is not job and other.runs != job.runs:
                    asked = f"seed={other.settings.seed} and seed={job.settings.seed} with n_replicates={len(job.runs)}"
                    raise ConfigurationError(f"seed: two jobs must not share a part of their runs; found {asked}")

    def _finish(self, config: DictConfig) -> None:
        with _carried():
            if self._first is None and not self._jobs:  # another sweeper: its jobs have planned themselves
                self._first = parse(config)
            first = self._first
            if first is None or first.settings.dry_run or first.settings.export:
                return
            frame = study.publish(first.folder, first, list(self._asked.values()))
            asked, expected = frame[frame["run_id"].isin(self._asked)], self._expected
            if not self._asked:  # another sweeper and launcher: what was trained since this command began
                new = frame[frame["ended_s"] >= float(str(config.command).partition("-")[0])]
                asked, expected = (new if len(new) else frame), set(new["run_id"])
            from pima_hp.commands.summary import print_summary

            n_asked = len(self._asked) or len(asked)
            print_summary(first, asked, n_asked, expected)
            if first.settings.report:
                from pima_hp.commands.report import report_study

                claims = first.settings.claim_dir
                report_study(first.folder, Path(claims) if claims else None, own_table=True)
            say(f"{time.perf_counter() - current_command().began:.1f} s in all")
            n_unfinished = n_asked - len(asked) + int((asked["status"] == RunStatus.FAILED).sum())
        if n_unfinished:
            raise SystemExit(1)


def name_study(config: DictConfig) -> None:
    """Give a study without a name a new one, which no other command has, and the command a token."""
    running = current_command()
    with open_dict(config):
        running.made_up = not OmegaConf.is_missing(config, "study") and config.study is None
        if running.made_up:
            config.study = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(3)}"
        config.command = f"{time.time():.3f}-{secrets.token_hex(4)}"
    if not OmegaConf.is_missing(config, "study"):
        running.study = Path(str(config.outputs)) / str(config.study)


def checked(configs: Sequence[DictConfig], *, together: bool) -> list[Job]:
    """Parse composed jobs and check that they can be trained.

    Raises:
        ConfigurationError: every problem of every job, each line once.
    """
    jobs, problems = [], dict[str, None]()
    for config in configs:
        try:
            jobs.append(parse(config))
        except ConfigurationError as error:
            problems.update(dict.fromkeys(error.problems))
        except Exception as error:  # noqa: BLE001 -- an interpolation that leads nowhere
            problems[explain(error)] = None
    if not problems:
        from pima_hp.training.checks import component_problems
        from pima_hp.training.dispatch import select

        for job in jobs:
            alone = not together and len(job.runs) == 1
            found = component_problems(job.config)
            if not problems and not found:
                try:
                    engine = select(job.config, job.engine.name, alone=alone, only_lightning=job.only_lightning)
                except ConfigurationError as error:
                    found = list(error.problems)
                else:
                    if engine == "solo" or not job.is_recorded:
                        found = component_problems(
                            job.config, callbacks=job.callbacks, loggers=job.loggers, folder=job.folder
                        )
            problems.update(dict.fromkeys(found))
    if not problems:
        problems.update(dict.fromkeys(_not_shared(jobs)))
        for job in jobs:
            if not problems and job.settings.ckpt_path:
                from pima_hp.commands.unrecorded import check_checkpoint

                check_checkpoint(job)
        if together and jobs[0].settings.test:
            problems["test: must go with one run; found a sweep"] = None
    if problems:
        more = [f"... and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
        raise ConfigurationError([*list(problems)[:_MOST_PROBLEMS], *more])
    return jobs


def _not_shared(jobs: Sequence[Job]) -> list[str]:
    """Return one line for each setting that all jobs of a sweep must share, and do not."""
    first = jobs[0]
    names = [
        name for name in _SHARED if any(getattr(job.settings, name) != getattr(first.settings, name) for job in jobs)
    ]
    names += ["engine"] if any(job.engine != first.engine for job in jobs) else []
    names += ["logger"] if any(set(job.loggers) != set(first.loggers) for job in jobs) else []
    return [f"{name}: must be the same for all jobs of a sweep; one command, one study" for name in names]


def _overrides(config: DictConfig) -> Overrides:
    return tuple(config.hydra.overrides.task)
