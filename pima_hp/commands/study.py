"""A study in use: what is asked of it, what its ledger lacks, training that, writing what is derived."""

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
from pima_hp.ledger.files import owner_of, study_lock, write_atomically
from pima_hp.ledger.plan import file_key, run_name
from pima_hp.run import Results, Run

_PUBLISH_S = 15.0


@contextmanager
def held(folder: Path, command: str = "") -> Iterator[int]:
    """Hold a study for as long as the block runs, unless the command with this token, which we work for, holds it.

    Yields:
        The process that holds it for us; 0 when this one does.

    Raises:
        StudyError: another command holds it.
    """
    owner = owner_of(folder)
    if command and owner is not None and owner.command == command:
        here = owner.host == socket.gethostname()  # the process of another machine cannot be asked whether it lives
        yield owner.pid if here and owner.pid != os.getpid() else 0
        return
    with study_lock(folder, command):
        yield 0


def plan(jobs: Sequence[Job], swept: Sequence[str]) -> Manifest:
    """Return the study's manifest with what these jobs ask; refuse what changes its meaning. Nothing is written."""
    folder = jobs[0].folder
    before = Manifest.read(folder)
    ledger = Ledger(folder)
    known = ledger.finished_run_ids()  # refuses parts of another version
    asked = Manifest.of([run for job in jobs for run in job.runs], swept)
    if before is None and known:  # it was deleted; the runs still say which files they were trained on
        frame = ledger.frame()
        for path, digest in zip(frame["data.path"], frame["data_digest"], strict=True):
            path = None if pd.isna(path) else path
            check_unchanged(path, digest, asked.data_files.get(file_key(path), digest))
    return before.extended(asked) if before else asked


def missing(folder: Path, runs: Iterable[Run], command: str | None = None) -> list[Run]:
    """Return the runs that the ledger of a study lacks, each once, in order.

    A run that has failed is missing to the next command, not to the one with this token, which begins with its time.
    """
    since = float(command.partition("-")[0]) if command else math.inf
    finished = Ledger(folder).finished_run_ids(since)
    return [run for run_id, run in {run.id: run for run in runs}.items() if run_id not in finished]


def train_jobs(jobs: Sequence[Job], *, together: bool, holder: int = 0) -> None:
    """Train what the ledger lacks of these jobs, and record each stack as soon as it is finished.

    Args:
        jobs: of one study, which is held.
        together: they are a sweep, or replicates: the fastest engine trains them.
        holder: the process that holds the study for this one, a worker; it must live.
    """
    from pima_hp.training.dispatch import stacks_of, train
    from pima_hp.training.progress import progress_bar

    first, ledger = jobs[0], Ledger(jobs[0].folder)
    runs = missing(first.folder, (run for job in jobs for run in job.runs), first.settings.command)
    if not runs:
        return
    labels = labels_in(first.folder)
    job_of = {run.id: job for job in jobs for run in job.runs}
    _remove_attempts(first.folder, [run.id for run in runs])
    publish_at = time.monotonic() + _PUBLISH_S
    with progress_bar(len(runs), shown=together) as progress:

        def solo(run: Run) -> Results:
            from pima_hp.commands.solo import train_solo  # brings in Lightning, two seconds

            return train_solo(job_of[run.id], run, name_of(run, labels), progress if together else None)

        stacks = stacks_of(
            runs,
            engine=first.engine.name,
            stack_size=first.engine.stack_size,
            together=together,
            only_lightning=first.only_lightning,
        )
        for results in train(stacks, solo=solo, progress=progress):
            if holder:
                _must_live(holder)
            ledger.append(results)
            if first.has_tensorboard and together and not holder and time.monotonic() > publish_at:
                began = time.monotonic()
                publish_events(first.folder, ledger.frame())
                publish_at = time.monotonic() + max(_PUBLISH_S, 20 * (time.monotonic() - began))


def _remove_attempts(folder: Path, run_ids: Sequence[str]) -> None:
    """Remove what attempts at runs that did not finish have logged and saved."""
    if (events := folder / "tensorboard").is_dir():
        from pima_hp.ledger.tensorboard import remove_runs

        remove_runs(events, run_ids)
    for run_id in run_ids:
        shutil.rmtree(folder / "checkpoints" / run_id, ignore_errors=True)


def labels_in(folder: Path) -> dict[str, str]:
    """Return config_id -> label of each configuration that was ever asked of a study."""
    manifest = Manifest.read(folder)
    return manifest.labels if manifest else {}


def name_of(run: Run, labels: dict[str, str]) -> str:
    """Return the name of a run's own folders."""
    return run_name(labels.get(run.config.id, run.config.id), run.seeds.seed, run.id)


def tally(folder: Path) -> str:
    """Return how many of the runs that were ever asked for are in the ledger, in words."""
    manifest = Manifest.read(folder)
    planned = set(manifest.run_ids) if manifest else set()
    ledger = Ledger(folder)
    return f"{len(planned & ledger.finished_run_ids()):,} of {len(planned):,} runs are in {ledger.folder}"


def publish(folder: Path, job: Job, asked: Sequence[Run]) -> pd.DataFrame:
    """Write what is derived from the ledger, `runs.csv` and event files; files that would not change stay.

    Args:
        folder: of the study.
        job: the first that was asked; its loggers say which event files are wanted.
        asked: runs. A single run gets its own folder; a study with only that run gets no other.

    Returns:
        All runs of the study.
    """
    ledger = Ledger(folder)
    frame = ledger.frame()
    for note in ledger.damaged:
        say(f"{folder}: {note}")
    keep(folder / "runs.csv", csv_text(runs_table(frame)))
    alone = asked[0] if len(asked) == 1 else None
    if job.has_tensorboard and (alone is None or len(frame) > 1):
        publish_events(folder, frame)
    if job.settings.log_each_run:
        write_runs(folder, frame)
    elif job.has_tensorboard and alone:
        write_runs(folder, frame, [alone.id])
    return frame


def publish_events(folder: Path, frame: pd.DataFrame) -> None:
    """Write the event files of a study: mean and band of each configuration; see `write_study`."""
    from pima_hp.ledger.tensorboard import write_study

    if manifest := Manifest.read(folder):
        write_study(folder / "tensorboard", frame, manifest)


def keep(path: Path, text: str) -> None:
    """Write a file, unless it is already what it should be."""
    write_atomically(path, text.encode())


def write_runs(folder: Path, frame: pd.DataFrame, run_ids: Sequence[str] | None = None) -> None:
    """Write runs of a study, all if not given, as event folders of their own."""
    from pima_hp.ledger.tensorboard import write_runs

    if manifest := Manifest.read(folder):
        write_runs(folder / "tensorboard", frame, manifest, run_ids)


def export(folder: Path, run_id: str) -> None:
    """Write the run whose id begins so as an event folder of its own."""
    frame = Ledger(folder).frame()
    found = frame[frame["run_id"].str.startswith(run_id)]
    if len(found) != 1:
        raise ConfigurationError(
            f"export: must be the id of one run of {folder}; {run_id!r} is that of {len(found)} of {len(frame)}; "
            f"ids are in {folder / 'runs.csv'}"
        )
    write_runs(folder, frame, found["run_id"].tolist())


def runs_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run without curves, times, engines and versions: equal for equal results."""
    dropped = [*curve_columns(frame), "duration_s", "ended_s", "engine", "versions", "message"]
    return frame.drop(columns=dropped, errors="ignore")


def mean_score(folder: Path, runs: Sequence[Run]) -> float | None:
    """Return the mean of the last `val/accuracy` over runs; None when no run has one.

    The last epoch of a run that was stopped early is the last that it trained.
    """
    scores = Ledger(folder).last_values()
    mean = float(pd.Series([scores.get(run.id) for run in runs], dtype=float).mean())
    return None if pd.isna(mean) else mean


def _must_live(holder: int) -> None:
    """End a worker whose command was killed: the study may be another command's by now."""
    try:
        os.kill(holder, 0)
    except ProcessLookupError:
        raise SystemExit(f"the command that held the study (process {holder}) has ended") from None
    except PermissionError:  # it lives, as another user's
        return
