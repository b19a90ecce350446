"""Work on a study: plan jobs, find and train the runs that its ledger lacks, write what is derived from the ledger."""

import math
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from pima_hp.commands.exits import say
from pima_hp.commands.job import Job
from pima_hp.data.table import check_unchanged
from pima_hp.errors import ConfigurationError
from pima_hp.formatting import csv_text
from pima_hp.ledger import Ledger, Manifest, curve_columns
from pima_hp.ledger.files import locked, owner_of, study_lock, write_atomically
from pima_hp.ledger.plan import ID_DIGITS, file_key, run_folders, run_name
from pima_hp.run import Results, Run
from pima_hp.training.interruption import signals_deferred

_PUBLISH_S = 15.0


@contextmanager
def held(folder: Path, command: str = "") -> Iterator[int]:
    """Hold a study for as long as the block runs, unless the command with this token, whose worker this is, holds it.

    Yields:
        The id of the process that holds it; 0 when it is this one, or runs on another machine.

    Raises:
        StudyError: another command holds it.
    """
    owner = owner_of(folder)
    if command and owner is not None and owner.command == command:
        yield owner.pid if owner.host == socket.gethostname() and owner.pid != os.getpid() else 0
        return
    with study_lock(folder, command):
        yield 0


def plan(jobs: Sequence[Job], swept: Sequence[str]) -> Manifest:
    """Return the study's manifest extended by these jobs; refuse incompatible settings. Nothing is written."""
    ledger, before = Ledger(jobs[0].folder), Manifest.read(jobs[0].folder)
    recorded = ledger.finished_run_ids()  # refuses parts of another version
    asked = Manifest.of([run for job in jobs for run in job.runs], swept)
    if before:
        return before.extended(asked)
    if recorded:  # the manifest was deleted; the runs still say which files they were trained on
        frame = ledger.frame()
        for path, digest in zip(frame["data.path"], frame["data_digest"], strict=True):
            path = None if pd.isna(path) else path
            check_unchanged(path, digest, asked.data_files.get(file_key(path), digest))
    return asked


def planned(jobs: Sequence[Job], swept: Sequence[str]) -> Manifest:
    """Add these jobs to the study's manifest and return it; the caller holds the study."""
    folder = jobs[0].folder
    with locked(folder):
        manifest = Manifest.read(folder)
        if manifest is None or not {run.id for job in jobs for run in job.runs} <= set(manifest.run_ids):
            manifest = plan(jobs, swept)
            manifest.write(folder)
    return manifest


def missing(folder: Path, runs: Iterable[Run], command: str | None = None) -> list[Run]:
    """Return the runs that the ledger of a study lacks, each once, in order.

    A failed run counts as missing, except for the command with this token, which begins with its start time.
    """
    since = float(command.partition("-")[0]) if command else math.inf
    finished = Ledger(folder).finished_run_ids(since)
    return [run for run_id, run in {run.id: run for run in runs}.items() if run_id not in finished]


def train_jobs(jobs: Sequence[Job], manifest: Manifest, *, together: bool, holder: int = 0) -> None:
    """Train what the ledger lacks of these jobs, and record each stack as soon as it is finished.

    Args:
        jobs: of one study, which is held.
        manifest: of the study, with these jobs.
        together: they are a sweep, or replicates: the fastest engine trains them.
        holder: the process that holds the study for this one, a worker; it must live.
    """
    first, ledger = jobs[0], Ledger(jobs[0].folder)
    job_of = {run.id: job for job in jobs for run in job.runs}
    runs = missing(first.folder, (run for job in jobs for run in job.runs), first.settings.command)
    if not runs:
        return
    from pima_hp.training.dispatch import progress_bar, train

    remove_attempts(first.folder, runs)
    publish_at = time.monotonic() + _PUBLISH_S
    with progress_bar(len(runs), shown=together) as progress:

        def solo(run: Run) -> Results:
            from pima_hp.commands.solo import train_solo  # brings in Lightning, two seconds

            return train_solo(job_of[run.id], run, name_of(run, manifest), progress if together else None)[0]

        for results in train(stacks_of(jobs, runs, together=together), solo=solo, progress=progress):
            if holder:
                _must_live(holder)
            with signals_deferred():  # what is trained is recorded
                ledger.append(results)
            if first.has_tensorboard and together and not holder and time.monotonic() > publish_at:
                frame = ledger.frame()
                write_events(first.folder, frame, manifest)
                publish_at = time.monotonic() + max(_PUBLISH_S, len(frame) / 1000)  # it takes longer each time


def stacks_of(jobs: Sequence[Job], runs: Sequence[Run], *, together: bool) -> list[tuple[str, list[Run]]]:
    """Return the runs of some jobs as the engines train them: (engine, runs that are trained together)."""
    from pima_hp.training import dispatch

    engine, only = jobs[0].settings.engine, jobs[0].only_lightning
    return dispatch.stacks_of(
        runs, engine=engine.name, stack_size=engine.stack_size, together=together, only_lightning=only
    )


def _must_live(holder: int) -> None:
    """End a worker whose command was killed: another command may hold the study now."""
    try:
        os.kill(holder, 0)
    except ProcessLookupError:
        raise SystemExit(f"the command that held the study (process {holder}) has ended") from None


def remove_attempts(folder: Path, runs: Sequence[Run]) -> None:
    """Remove the logs and checkpoints of unfinished attempts at these runs."""
    logged = run_folders(folder / "tensorboard")
    for run in runs:
        shutil.rmtree(folder / "checkpoints" / run.id, ignore_errors=True)
        if (attempt := logged.get(run.id[:ID_DIGITS])) is not None:
            shutil.rmtree(attempt, ignore_errors=True)


def name_of(run: Run, manifest: Manifest) -> str:
    """Return the name of a run's own folders."""
    return run_name(manifest.labels.get(run.config.id, run.config.id), run.seeds.seed, run.id)


def tally(folder: Path) -> str:
    """Return how many of the planned runs are in the ledger, as text."""
    manifest = Manifest.read(folder)
    planned = set(manifest.run_ids) if manifest else set()
    return f"{len(planned & Ledger(folder).finished_run_ids()):,} of {len(planned):,} runs are in {folder / 'ledger'}"


def publish(job: Job, asked: Sequence[Run]) -> pd.DataFrame:
    """Write what is derived from the ledger, `runs.csv` and event files; files that would not change stay.

    Args:
        job: the first that was asked; its loggers say which event files are wanted.
        asked: runs. A single run gets its own folder; a study with only that run gets no other.

    Returns:
        All runs of the study.
    """
    ledger, manifest = Ledger(job.folder), Manifest.read(job.folder)
    frame = ledger.frame()
    for note in ledger.damaged:
        say(f"{job.folder}: {note}")
    not_reproducible = [*curve_columns(frame), "duration_s", "ended_s", "engine", "versions", "message"]
    table = csv_text(frame.drop(columns=not_reproducible, errors="ignore")).encode()
    write_atomically(job.folder / "runs.csv", table)
    alone, each = len(asked) == 1, job.settings.log_each_run
    if manifest and (job.has_tensorboard or each):
        run_ids = frame["run_id"] if each else [asked[0].id] if alone else ()
        means = job.has_tensorboard and (not alone or len(frame) > 1)
        write_events(job.folder, frame, manifest, run_ids, means=means)
    return frame


def write_events(
    folder: Path, frame: pd.DataFrame, manifest: Manifest, run_ids: Iterable[str] = (), *, means: bool = True
) -> None:
    """Write the event files of a study: mean and band of each configuration, and these runs."""
    from pima_hp.ledger import tensorboard

    tensorboard.write_events(folder / "tensorboard", frame, manifest, run_ids, means=means)


def export(folder: Path, run_id: str) -> None:
    """Write the run whose id begins so as an event folder of its own."""
    manifest = Manifest.read(folder)
    if manifest is None:
        raise ConfigurationError(f"export: must be a run of a study (study=NAME); found no study in {folder}")
    frame = Ledger(folder).frame()
    found = [each for each in frame["run_id"] if each.startswith(run_id)]
    if len(found) != 1:
        raise ConfigurationError(
            f"export: must be the id of one run in {folder / 'runs.csv'}; found {len(found)} of {run_id!r}"
        )
    write_events(folder, frame, manifest, found, means=False)


def mean_score(folder: Path, runs: Sequence[Run]) -> float | None:
    """Return the mean of the last `val/accuracy` that each run has trained; None when no run has one."""
    scores = Ledger(folder).last_values()
    found = [scores[run.id] for run in runs if run.id in scores]
    return sum(found) / len(found) if found else None
