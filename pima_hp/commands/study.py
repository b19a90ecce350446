"""Work on a study: plan jobs, find and train the runs that its ledger lacks, write what is derived from the ledger."""

import math
import os
import shutil
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd

from pima_hp.commands.exits import say
from pima_hp.commands.job import Job
from pima_hp.data.table import check_unchanged
from pima_hp.errors import StudyError
from pima_hp.formatting import csv_text
from pima_hp.ledger.files import Owner, locked, owner_of, write_atomically
from pima_hp.ledger.ledger import Ledger, curve_columns
from pima_hp.ledger.plan import ID_DIGITS, Manifest, file_key, run_folders, run_name
from pima_hp.run import Results, Run
from pima_hp.training.interruption import signals_deferred

# Seconds between two moments at which a sweep that trains shows in TensorBoard; more where writing takes longer.
_PUBLISH_S = 15.0


def planned(jobs: Sequence[Job], swept: Sequence[str], *, write: bool = True) -> Manifest:
    """Return the study's manifest extended by these jobs; refuse incompatible settings.

    Args:
        jobs: of one study.
        swept: settings that they sweep.
        write: whether to store it; the caller holds the study.
    """
    folder = jobs[0].folder
    with locked(folder) if write else nullcontext():
        before, asked = Manifest.read(folder), Manifest.of([run for job in jobs for run in job.runs], swept)
        recorded = Ledger(folder).finished_run_ids()  # refuses parts of another version
        if before and set(asked.run_ids) <= set(before.run_ids):
            return before
        if recorded and not before:  # the manifest was deleted; the runs still say which files they were trained on
            files = Ledger(folder).frame()[["data.path", "data_digest"]].drop_duplicates().itertuples(index=False)
            for path, digest in ((None if pd.isna(path) else path, digest) for path, digest in files):
                check_unchanged(path, digest, asked.data_files.get(file_key(path), digest))
        manifest = before.extended(asked) if before else asked
        if write:
            manifest.write(folder)
    return manifest


def missing(folder: Path, runs: Iterable[Run], command: str | None = None) -> list[Run]:
    """Return the runs that the ledger of a study lacks, each once, in order.

    A failed run counts as missing, except for the command with this token, which begins with its start time.
    """
    since = float(command.partition("-")[0]) if command else math.inf
    finished = Ledger(folder).finished_run_ids(since)
    return [run for run_id, run in {run.id: run for run in runs}.items() if run_id not in finished]


def train_jobs(jobs: Sequence[Job], swept: Sequence[str] = ()) -> tuple[Results, Any] | None:
    """Train what the ledger lacks of these jobs, and record each stack as soon as it is finished.

    Args:
        jobs: of one study, which this command holds, or the command whose worker this is.
        swept: settings that the jobs sweep.

    Returns:
        Results and module of the last run that Lightning trained; None where it trained none.

    Raises:
        StudyError: another command holds the study.
    """
    folder, command, together = jobs[0].folder, jobs[0].settings.command, jobs[0].together
    job_of = {run.id: job for job in jobs for run in job.runs}
    runs = missing(folder, (run for job in jobs for run in job.runs), command)
    if not runs:
        return None
    _check_held(folder, command)
    from pima_hp.training.dispatch import progress_bar, train

    trained, manifest, publish_at = None, planned(jobs, swept), time.monotonic() + _PUBLISH_S
    checkpoints, logged = folder / "checkpoints", run_folders(folder / "tensorboard")
    for run in runs:  # what attempts that did not finish have left
        shutil.rmtree(checkpoints / run.id, ignore_errors=True)
        shutil.rmtree(logged.get(run.id[:ID_DIGITS], checkpoints / run.id), ignore_errors=True)
    with progress_bar(len(runs), shown=together) as bar:

        def solo(run: Run) -> Results:
            from pima_hp.commands.solo import train_solo  # brings in Lightning, two seconds

            nonlocal trained
            name = run_name(manifest.labels[run.config.id], run.seeds.seed, run.id)
            trained = train_solo(job_of[run.id], run, name, bar if together else None)
            return trained[0]

        for results in train(stacks_of(jobs[0], runs), solo=solo, progress=bar):
            owner = _check_held(folder, command)
            with signals_deferred():  # what is trained is recorded
                Ledger(folder).append(results)
            if together and owner.pid == os.getpid() and time.monotonic() > publish_at:  # no worker
                began = time.monotonic()
                publish(jobs[0], ())
                publish_at = time.monotonic() + max(_PUBLISH_S, 10 * (time.monotonic() - began))
    return trained


def _check_held(folder: Path, command: str | None) -> Owner:
    """Return who holds a study; refuse where it is another command: that of this worker was killed."""
    owner = owner_of(folder)
    if owner is None or owner.command != command:
        raise StudyError(f"{str(folder)!r} must be held by this command; it is held by {owner or 'none'}")
    return owner


def stacks_of(job: Job, runs: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    """Return runs as the engines train them for a job and its like: (engine, runs that are trained together)."""
    from pima_hp.training import dispatch

    engine, only = job.settings.engine, job.only_lightning
    return dispatch.stacks_of(
        runs, engine=engine.name, stack_size=engine.stack_size, together=job.together, only_lightning=only
    )


def publish(job: Job, run_ids: Collection[str]) -> pd.DataFrame:
    """Write what is derived from the ledger, `runs.csv` and event files; files that would not change stay.

    Args:
        job: of the study; its loggers say which event files are wanted.
        run_ids: a single run gets an event folder of its own; a study with only that run gets no other.

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
    if manifest and job.has_tensorboard:
        from pima_hp.ledger.tensorboard import write_events

        own = frame["run_id"] if job.settings.log_each_run else run_ids if len(run_ids) == 1 else ()
        write_events(job.folder / "tensorboard", frame, manifest, own)
    return frame


def mean_score(folder: Path, runs: Sequence[Run]) -> float | None:
    """Return the mean of the last `val/accuracy` that each run has trained; None when no run has one."""
    scores = Ledger(folder).last_values()
    found = [scores[run.id] for run in runs if run.id in scores]
    return sum(found) / len(found) if found else None
