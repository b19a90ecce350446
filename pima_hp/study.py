"""A study in use: what is asked of it, what its ledger lacks, training that, publishing the rest."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pandas as pd

from pima_hp.composition import job_folder
from pima_hp.config import EngineSection
from pima_hp.data.table import check_unchanged
from pima_hp.errors import ConfigurationError
from pima_hp.ledger import Ledger, Manifest, PlannedConfiguration, StudyLock, curve_columns
from pima_hp.ledger.atomic import write_atomically
from pima_hp.ledger.manifest import plain_path
from pima_hp.request import LoggerSection, Request
from pima_hp.run import Results, Run, RunStatus, run_folder
from pima_hp.versions import versions


@dataclass
class Study:
    """One study folder, held by this command alone until `close`.

    Attributes:
        folder: `outputs/<name>`.
        holder: the process that holds the study for this one, a worker; 0 in the process that holds it itself.
        expected: ids of the runs that the ledger lacked when the command was prepared.
        n_trained: runs that this process has trained.
        n_unfinished: runs asked for that failed or were not trained, known at the end.
        training_s: wall time of training.
    """

    folder: Path
    holder: int = 0
    expected: set[str] = field(default_factory=set)
    n_trained: int = 0
    n_unfinished: int = 0
    training_s: float = 0.0
    _lock: StudyLock | None = None
    _frame: tuple[tuple[int, int], pd.DataFrame] | None = None
    _positions: dict[str, int] | None = None
    _tried: set[str] = field(default_factory=set)
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.folder)

    def hold(self) -> Self:
        """Take the study's lock; `StudyError` when another command has it."""
        lock = StudyLock(self.folder)
        lock.__enter__()
        self._lock = lock
        if lock.note:
            say(f"{self.folder}: {lock.note}")
        return self

    def close(self) -> None:
        """Release the lock."""
        if self._lock:
            self._lock.__exit__(None, None, None)
            self._lock = None

    def missing(self, requests: Sequence[Request]) -> list[Run]:
        """Return the runs asked for that the ledger does not hold, each once, in the order of the requests.

        A run that has failed is missing to the next command, not to this one.
        """
        finished = self.ledger.finished_run_ids()
        wanted = {run.id: run for request in requests for run in request.runs}
        return [run for run_id, run in wanted.items() if run_id not in finished and run_id not in self._tried]

    def plan(self, requests: Sequence[Request], labels: Sequence[str], swept: Sequence[str]) -> Manifest:
        """Return the manifest with what is asked; refuse what changes the meaning of the study. Nothing is written."""
        asked: dict[str, PlannedConfiguration] = {}
        for request, label in zip(requests, labels, strict=True):
            config_id = request.config.id
            planned = PlannedConfiguration.of(request.config, label, request.seeds)
            asked[config_id] = asked[config_id].joined(planned) if config_id in asked else planned
        manifest = Manifest(asked, tuple(swept), versions())
        before = Manifest.read(self.folder)
        known = self.ledger.finished_run_ids()  # refuses parts of another version
        if before is None and known:  # it was deleted; the runs still say which files they were trained on
            pairs = zip(self.frame()["data.path"], self.frame()["data_digest"], strict=True)
            files = {plain_path(None if pd.isna(path) else path): digest for path, digest in pairs}
            for one in (request.config for request in requests):
                path = plain_path(one.data.path)
                check_unchanged(path, files.get(path, one.data_digest), one.data_digest)
        return before.extended(manifest) if before else manifest

    def train(
        self, runs: Sequence[Run], *, together: bool, engine: EngineSection, logger: LoggerSection | None = None
    ) -> None:
        """Train runs and record each stack as soon as it is finished.

        Args:
            runs: those that the ledger lacks.
            together: they are runs of a sweep, or replicates; see `stacks_of`.
            engine: which engine is asked for.
            logger: which Lightning loggers a run that Lightning trains gets.
        """
        from pima_hp.training.dispatch import train
        from pima_hp.training.progress import Progress

        def solo(run: Run) -> Results:
            from pima_hp.training.callbacks import EpochProgress
            from pima_hp.training.loggers import loggers_of
            from pima_hp.training.solo import fit

            loggers = loggers_of(run, self.folder, labels, logger) if logger else []
            return fit(run, loggers=loggers, callbacks=[EpochProgress(progress)])[0]

        labels = self.labels()
        if (events := self.folder / "tensorboard").is_dir():
            from pima_hp.ledger.tensorboard import remove_runs

            names = [_event_folder(labels, run.config.id, run.seeds.seed, run.id) for run in runs]
            remove_runs(events, set(names))
        began = time.perf_counter()
        with Progress(len(runs)) as progress:
            how: dict[str, Any] = {"engine": engine.name, "stack_size": engine.stack_size, "together": together}
            only = "logger.csv=true is Lightning's" if logger and logger.csv and not together else ""
            for results in train(runs, **how, only_lightning=only, solo=solo, progress=progress):
                if self.holder:
                    _must_live(self.holder)
                self.ledger.append(results)
                self._tried.update(run.id for run in results.runs)
                self.n_trained += len(results)
        self.training_s += time.perf_counter() - began

    def tally(self) -> str:
        """Return how many of the runs that were ever asked for are in the ledger, in words."""
        manifest = Manifest.read(self.folder)
        planned = set(manifest.run_ids) if manifest else set()
        return f"{len(planned & self.ledger.finished_run_ids()):,} of {len(planned):,} runs are in {self.ledger.folder}"

    def frame(self) -> pd.DataFrame:
        """Return all runs of the study; read again only after something was added."""
        state = (len(self.ledger.finished_run_ids()), self.n_trained)
        if self._frame is None or self._frame[0] != state:
            self._frame = (state, self.ledger.frame())
        return self._frame[1]

    def mean_score(self, request: Request, key: str) -> float | None:
        """Return the mean of a curve's last epoch over the runs of a request; None when no run has one.

        The last epoch of a run that was stopped early is the last that it trained.
        """
        frame = self.frame()
        if self._positions is None or len(self._positions) != len(frame):
            self._positions = {run_id: position for position, run_id in enumerate(frame["run_id"])}
        curves, stops, statuses = (frame[name].to_numpy() for name in (key, "stop_epoch", "status"))
        rows = [self._positions[run.id] for run in request.runs if run.id in self._positions]
        values = [curves[row][stops[row] - 1 if statuses[row] == RunStatus.STOPPED else -1] for row in rows]
        mean = float(pd.Series(values, dtype=float).mean())
        return None if pd.isna(mean) else mean

    def publish(self, logger: LoggerSection, alone: Run | None = None) -> pd.DataFrame:
        """Write what is derived from the ledger, `runs.csv` and event files; files that would not change stay.

        Args:
            logger: which event files are wanted.
            alone: the only run that was asked for, which gets a folder of its own. Of a study that holds no
                other run there is nothing more to show.

        Returns:
            All runs of the study.
        """
        frame = self.frame()
        for note in self.ledger.damaged:
            say(f"{self.folder}: {note}")
        self.keep("runs.csv", runs_table(frame).to_csv(index=False))
        if logger.tensorboard and (alone is None or len(frame) > 1):
            from pima_hp.ledger.tensorboard import write_study

            write_study(self.folder / "tensorboard", frame, self.labels())
        if logger.per_run:
            self.write_runs(frame)
        elif logger.tensorboard and alone:
            self.write_runs(frame[(frame["run_id"] == alone.id) & (frame["status"] != "failed")])
        return frame

    def keep(self, name: str, text: str) -> None:
        """Write a file of the study's folder, unless it is already what it should be."""
        path, content = self.folder / name, text.encode()
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)

    def labels(self) -> dict[str, str]:
        """Return config_id -> the name of each configuration that was ever asked of the study."""
        manifest = Manifest.read(self.folder)
        return manifest.labels if manifest else {}

    def write_runs(self, frame: pd.DataFrame) -> None:
        """Write each run of a frame as a normal event folder, named by its configuration and seed."""
        from pima_hp.ledger.tensorboard import write_run

        labels = self.labels()
        for _, row in frame.iterrows():
            folder = self.folder / "tensorboard" / _event_folder(labels, row["config_id"], row["seed"], row["run_id"])
            write_run(folder, row)

    def materialize(self, run_id: str) -> None:
        """Write the run whose id begins so as a normal event folder."""
        frame = self.frame()
        found = frame[frame["run_id"].str.startswith(run_id)]
        if len(found) != 1:
            raise ConfigurationError(
                f"materialize: must be the id of one run of {self.folder}; {run_id!r} is that of {len(found)} "
                f"of {len(frame)}; ids are in {self.folder / 'runs.csv'}"
            )
        self.write_runs(found)


def _must_live(holder: int) -> None:
    """End a worker whose command was killed: the study may be another command's by now."""
    try:
        os.kill(holder, 0)
    except ProcessLookupError:
        raise SystemExit(f"the command that held the study (process {holder}) has ended") from None
    except PermissionError:  # it lives, as somebody else's
        return


def runs_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run without curves, times, engines and versions: equal for equal results."""
    return frame.drop(
        columns=[*curve_columns(frame), "duration_s", "ended_s", "engine", "versions", "message"], errors="ignore"
    )


def _event_folder(labels: Mapping[str, str], config_id: str, seed: int, run_id: str) -> str:
    return run_folder(labels.get(config_id, config_id), seed, run_id)


def label_of(request: Request, swept: Sequence[str]) -> str:
    """Return the name of a configuration within its sweep: the value of each swept setting, or `baseline`."""
    settings = request.config.model_dump(by_alias=True)
    parts = []
    for key in swept:
        group, _, leaf = key.partition(".")
        if group not in settings:
            continue  # seeds, folders, logs: not part of a configuration
        value = settings[group]
        for name in leaf.split(".") if leaf else []:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, dict):
            value = value.get("name") or request.choices.get(group, request.config.id)
        parts.append(f"{key}={value}")
    return job_folder(",".join(parts))


def say(text: str) -> None:
    """Print one line for a person, beside the results."""
    sys.stderr.write(f"{text}\n")
