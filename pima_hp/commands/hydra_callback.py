"""What a command does around Hydra's jobs: check, plan and lock before the first, publish and summarize at the end."""

import secrets
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from pima_hp.commands import study
from pima_hp.commands.compose import Overrides, swept_keys
from pima_hp.commands.exits import current_command, say
from pima_hp.commands.job import Job, checked, parse
from pima_hp.errors import ConfigurationError
from pima_hp.ledger import Ledger
from pima_hp.ledger.files import study_lock
from pima_hp.ledger.parts import lacks_diagnostics
from pima_hp.run import RunStatus


class StudyCallback(Callback):
    """The study of one command.

    A single run is checked in `on_run_start`, before Hydra makes its folder. The jobs of a sweep are checked in
    `on_sweep_start`, which the sweeper `grids` calls with all of them; under another sweeper each job checks itself.

    Attributes:
        jobs: checked, by their overrides.
    """

    def __init__(self) -> None:
        self._began_s = time.time()
        self.jobs: dict[Overrides, Job] = {}

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check and plan the run; end the command after `dry_run` or `export`."""
        name_study(config)
        self.on_sweep_start([config])

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Give the sweep's jobs the name of their study and the token of this command."""
        name_study(config)
        own = config.hydra.overrides.task
        own += [f"command={config.command}"]
        own += [] if any(line.startswith("study=") for line in own) else [f"study={config.study}"]
        if "pima_hp" not in f"{config.hydra.sweeper._target_} {config.hydra.launcher._target_}":
            if config.dry_run or config.export:
                raise ConfigurationError("dry_run, export: must go with hydra/sweeper=grids or hydra/launcher=stacked")
            # each job plans itself
            current_command().enter_context(study_lock(Path(config.outputs) / config.study, config.command))

    def on_launch_start(self, configs: Sequence[DictConfig]) -> None:
        """Train what the ledger lacks of these jobs, in stacks; prepare those of a sweeper that has not."""
        if new := [config for config in configs if _overrides(config) not in self.jobs]:
            self.on_sweep_start(new)
        jobs = [self.jobs[_overrides(config)] for config in configs]
        if jobs and jobs[0].is_recorded:
            study.train_jobs(jobs)

    def on_sweep_start(self, configs: Sequence[DictConfig], swept: Sequence[str] = ()) -> list[int]:
        """Check and plan jobs, and return the positions of those that have runs to train; end a dry run or export.

        Args:
            configs: of the jobs.
            swept: of a single job, the settings that may differ from those of its study.

        Raises:
            ConfigurationError: problems of some jobs; nothing was written.
            StudyError: the study is busy, or was started with other settings.
        """
        jobs, named = checked(configs), [_overrides(config) for config in configs]
        swept = swept_keys(named) if len(named) > 1 else swept
        first, settings, again = jobs[0], jobs[0].settings, bool(self.jobs)
        self.jobs |= dict(zip(named, jobs, strict=True))
        if not first.is_recorded:
            return list(range(len(jobs)))
        if settings.export:
            found = [each for each in Ledger(first.folder).frame()["run_id"] if each.startswith(settings.export)]
            if len(found) != 1:
                raise ConfigurationError(f"export: must begin the id of one run of {first.folder}; found {len(found)}")
            study.publish(first, found)
            say(f"written to {first.folder / 'tensorboard'}")
            raise SystemExit(0)
        for note in dict.fromkeys(note for job in jobs for note in job.notes):
            say(f"note: {note}")
        if settings.report:
            from pima_hp.analysis.claims import load_claims

            load_claims(extra=settings.claim_dir)  # refuses a file that is wrong
        if settings.dry_run:
            from pima_hp.commands.summary import print_plan

            print_plan(jobs, study.planned(jobs, swept, write=False))
            raise SystemExit(0)
        if not again:
            current_command().enter_context(study_lock(first.folder, str(settings.command)))
        study.planned(jobs, swept)
        asked = {run.id: run for job in jobs for run in job.runs}
        lacking = {run.id for run in study.missing(first.folder, asked.values())}
        if first.in_sweep and len(lacking) < len(asked):
            n_held = len(asked) - len(lacking)
            say(f"{first.folder}: {n_held:,} of {len(asked):,} runs are in the ledger; {len(lacking):,} to train")
        if settings.diagnostics.name != "none" and len(lacking) < len(asked):
            frame = Ledger(first.folder).frame()
            if n_without := frame.loc[lacks_diagnostics(frame, settings.diagnostics), "run_id"].isin([*asked]).sum():
                say(f"note: {n_without:,} of these runs are in the ledger without such diagnostics; use study=OTHER")
        return [place for place, job in enumerate(jobs) if lacking.intersection(run.id for run in job.runs)]

    def on_run_end(self, config: DictConfig, **given: Any) -> None:
        """Publish and summarize."""
        if given["job_return"].status == JobStatus.COMPLETED:
            self.on_multirun_end(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Publish and summarize; exit with 1 where a run has failed or is missing."""
        jobs = list(self.jobs.values()) or [parse(config)]
        first, asked = jobs[0], {run.id for job in self.jobs.values() for run in job.runs}
        if not first.is_recorded:
            return
        from pima_hp.commands.summary import print_summary

        frame = study.publish(first, asked)
        new = frame["ended_s"] >= self._began_s
        found = frame[frame["run_id"].isin(asked) if asked else new]  # under other plugins, jobs planned themselves
        n_lost = max(0, len(asked) - len(found))
        print_summary(first, found, n_lost, n_new=int(new[found.index].sum()))
        if first.settings.report:
            from pima_hp.commands.report import report_study
            from pima_hp.report.study import Study

            report_study(Study.read(first.folder, own_table=True), first.settings.claim_dir)
        if n_lost or (found["status"] == RunStatus.FAILED).any():
            raise SystemExit(1)


def name_study(config: DictConfig) -> None:
    """Give a study without a name a new one, which no other command has, and the command a token."""
    if OmegaConf.select(config, "study") is None:
        if any(line.startswith("study=") for line in config.hydra.overrides.task):
            raise ConfigurationError("study: must be one name for all jobs of a sweep")
        config.study = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(3)}"
    config.command = f"{time.time():.3f}-{secrets.token_hex(4)}"
    current_command().study = Path(str(config.outputs)) / str(config.study)


def _overrides(config: DictConfig) -> Overrides:
    return tuple(config.hydra.overrides.task)
