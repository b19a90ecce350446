"""Event files for TensorBoard: one folder per configuration, which opens fast with thousands of runs."""

import shutil
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pandas as pd
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from pima_hp.ledger.files import explained, make_folder, write_atomically
from pima_hp.ledger.ledger import BAND, curve_columns, distinct, mean, quantiles
from pima_hp.ledger.parts import SCORE_PREFIX
from pima_hp.ledger.plan import ID_DIGITS, MAIN_SETTINGS, Manifest, Value, distinguishing, run_name
from pima_hp.run import RunStatus, tag_of

FINAL = "~final/"
"""Prefix of the tags of final scores: TensorBoard sorts `~` after every letter, so that the curves come first."""

EVENT_FILES = "events.out.tfevents*"
STUDY_FILE = "events.out.tfevents.{:010d}.pima_hp_study"
RUN_FILE = "events.out.tfevents.9999999999.pima_hp_run"  # read after Lightning's own, also by an open TensorBoard
COLUMNS_FILE = "events.out.tfevents.0.pima_hp_columns"
"""In the folder of a run: the columns of the HParams tab, until the study as a whole is written, which has its own.

TensorBoard takes the columns of any folder, chosen anew each time it starts.
"""


def write_study(folder: Path, frame: pd.DataFrame, manifest: Manifest) -> None:
    """Write the mean and the band of 5 % to 95 % over the runs of each configuration, and the HParams tab.

    Calling it again rewrites changed files, removes files under old labels and leaves equal files as they are. A
    file's name contains its number of runs, so that an open TensorBoard reads the new file of a configuration with
    more runs. Failed runs are left out and copies are counted once; after a run has diverged or was stopped, the mean
    is that of the other runs.

    Args:
        folder: `outputs/<study>/tensorboard`.
        frame: of `read_study`.
        manifest: of the study. Its settings are the columns of the HParams tab, which an open TensorBoard does not
            update: they must be complete from the start.

    Raises:
        StorageError: the folder cannot be written.
    """
    hparams = distinguishing(manifest.settings)
    columns = _columns(hparams.values(), _finals(frame))
    ended = distinct(frame[(frame["status"] != RunStatus.FAILED) & frame["config_id"].isin(hparams)])
    paths = []
    for config_id, runs in ended.groupby("config_id", sort=False):
        paths.append(folder / manifest.labels[str(config_id)] / STUDY_FILE.format(len(runs)))
        _write(paths[-1], runs, [columns, _session(hparams[str(config_id)]), *_scores(runs)])
    with explained(folder):
        for path in {*folder.glob("*/*.pima_hp_study"), *folder.glob("*/*.pima_hp_columns")} - {*paths}:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()


def write_runs(folder: Path, frame: pd.DataFrame, manifest: Manifest, chosen: Sequence[str] | None = None) -> None:
    """Write single runs, each to its own folder; the curves only where Lightning has not logged them.

    Failed runs are skipped.

    Args:
        folder: `outputs/<study>/tensorboard`.
        frame: of `read_study`.
        manifest: of the study; a run with an existing folder keeps it, also if its label has changed.
        chosen: ids of the runs that are written; all if not given.

    Raises:
        StorageError: the folder cannot be written.
    """
    hparams = distinguishing(manifest.settings)
    columns = _columns(hparams.values(), _finals(frame))
    alone = not any(folder.glob("*/*.pima_hp_study"))
    there = {path.name.rpartition(", ")[2]: path for path in folder.glob("*, seed *")}
    wanted = frame["run_id"].isin(frame["run_id"] if chosen is None else chosen)
    ended = frame[wanted & (frame["status"] != RunStatus.FAILED) & frame["config_id"].isin(hparams)]
    for _, run in ended.groupby("run_id", sort=False):
        config_id, seed, run_id = run[["config_id", "seed", "run_id"]].iloc[0]
        own = there.get(run_id[:ID_DIGITS], folder / run_name(manifest.labels[config_id], seed, run_id))
        logged = any(path.name not in (RUN_FILE, COLUMNS_FILE) for path in own.glob(EVENT_FILES))
        scores = _scores(run)[-1:] if logged else _scores(run)
        _write(own / RUN_FILE, run, [_session(hparams[config_id]), *scores])
        if alone:
            _write(own / COLUMNS_FILE, run, [columns])


def remove_runs(folder: Path, run_ids: Iterable[str]) -> None:
    """Remove the folders of unfinished runs, so that no curve is logged twice.

    Args:
        folder: `outputs/<study>/tensorboard`.
        run_ids: of the runs that will be trained again.
    """
    endings = {run_id[:ID_DIGITS] for run_id in run_ids}
    for path in folder.glob("*, seed *"):
        if path.name.rpartition(", ")[2] in endings:
            shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, runs: pd.DataFrame, events: Iterable[Any]) -> None:
    """Write an event file of some runs, which can be rebuilt from the ledger."""
    ended = float(runs["ended_s"].max())
    make_folder(path.parent)
    write_atomically(path, file_bytes(events, ended - float(runs["duration_s"].max()), ended), durable=False)


def file_bytes(events: Iterable[Any], began: float, ended: float) -> bytes:
    """Return an event file of these events, their times spread evenly over their steps.

    A record is its length, its content and a checksum of each, as TensorBoard's own `RecordWriter` writes it, which
    computes the checksums in Python.
    """
    records = [Event(file_version="brain.Event:2"), *events]
    last = max(event.step for event in records) or 1
    parts = []
    for event in records:
        timed = Event(wall_time=began + (ended - began) * event.step / last)
        timed.MergeFrom(event)  # a copy: the same event may begin several files
        content = timed.SerializeToString(deterministic=True)
        length = struct.pack("<Q", len(content))
        parts += [length, _checksum(length), content, _checksum(content)]
    return b"".join(parts)


def _checksum(content: bytes) -> bytes:
    """Return the masked CRC-32C of TensorFlow's record files."""
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _scores(runs: pd.DataFrame) -> list[Any]:
    """Return the events of one configuration: an epoch each (step 1 is the first), then the final scores."""
    curves: dict[str, Any] = {}  # tag -> (E,)
    for key in curve_columns(runs):
        values = np.stack(runs[key].tolist())  # (R, E)
        curves[tag_of(key)] = mean(values)
        if len(values) > 1:
            curves |= {f"~q{level * 100:02.0f}/{key}": q for level, q in zip(BAND, quantiles(values), strict=True)}
    rows = np.stack(list(curves.values()), axis=1).tolist()  # E rows
    epochs = [_scalars(epoch, dict(zip(curves, row, strict=True))) for epoch, row in enumerate(rows, 1)]
    epochs = [event for event in epochs if event.summary.value]
    # the last scores of runs that were stopped are of other lengths of training
    whole = runs[runs["status"] != RunStatus.STOPPED] if len(runs) > 1 else runs
    final = {tag: float(whole[column].mean()) for column, tag in _finals(runs).items()}
    return [*epochs, _scalars(epochs[-1].step if epochs else 0, final)]


def _scalars(step: int, values: Mapping[str, float]) -> Any:
    """Return one event with these numbers by their tags; NaN is left out."""
    numbers = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items() if value == value]
    return Event(step=step, summary=Summary(value=numbers))


def _finals(frame: pd.DataFrame) -> dict[str, str]:
    """Return column -> tag of the final scores: validation first, since the HParams tab shows five at first."""
    names = [name for name in frame.columns if name.startswith(SCORE_PREFIX)]
    names.sort(key=lambda name: (not name.startswith(f"{SCORE_PREFIX}val/"), name))
    return {name: FINAL + name.removeprefix(SCORE_PREFIX) for name in names}


def _session(hparams: Mapping[str, Value]) -> Any:
    """Return the event that makes a folder a row of the HParams tab, with these settings."""
    data = HParamsPluginData()
    data.session_start_info.SetInParent()  # also where there is no setting to show
    for name, value in hparams.items():
        field = "number_value" if isinstance(value, float) else "string_value"
        setattr(data.session_start_info.hparams[name], field, value)
    return _plugin_event(metadata.SESSION_START_INFO_TAG, data)


def _columns(sessions: Iterable[Mapping[str, Value]], finals: Mapping[str, str]) -> Any:
    """Return the event that lists the columns of the HParams tab; without it, every curve would be a column."""
    data = HParamsPluginData()
    for name, value in {name: value for hparams in sessions for name, value in hparams.items()}.items():
        # TensorBoard shows five columns at first: those that "differ", by name
        kind = api_pb2.DATA_TYPE_FLOAT64 if isinstance(value, float) else api_pb2.DATA_TYPE_STRING
        data.experiment.hparam_infos.add(name=name, type=kind, differs=name in MAIN_SETTINGS)
    for tag in finals.values():
        data.experiment.metric_infos.add(name={"tag": tag}, display_name=tag.removeprefix(FINAL).replace("/", " "))
    return _plugin_event(metadata.EXPERIMENT_TAG, data)


def _plugin_event(tag: str, data: Any) -> Any:
    described = metadata.create_summary_metadata(data)
    data.version = metadata.PLUGIN_DATA_VERSION
    described.plugin_data.content = data.SerializeToString(deterministic=True)  # else maps differ between processes
    return Event(summary=Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)]))
