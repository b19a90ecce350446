"""Event files for TensorBoard: one folder per configuration, which opens fast with thousands of runs."""

import struct
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pandas as pd
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

from pima_hp.ledger.files import explained, write_atomically
from pima_hp.ledger.ledger import BAND, curve_columns, distinct, mean, quantiles
from pima_hp.ledger.parts import INITIAL_PREFIX, SCORE_PREFIX
from pima_hp.ledger.plan import ID_DIGITS, MAIN_SETTINGS, Manifest, run_folders, run_name
from pima_hp.run import DIAGNOSTICS, RunStatus, tag_of

STUDY_FILE = "events.out.tfevents.{:010d}.pima_hp_study"
RUN_FILE = "events.out.tfevents.9999999999.pima_hp_run"  # read after Lightning's own, also by an open TensorBoard
# The columns of the HParams tab, in one folder only: TensorBoard would take those of any.
COLUMNS_FILE = "events.out.tfevents.0.pima_hp_columns"


def write_events(folder: Path, frame: pd.DataFrame, manifest: Manifest, run_ids: Collection[str] = ()) -> None:
    """Write the mean and the band of 5 % to 95 % over the runs of each configuration, single runs, and the HParams tab.

    Calling it again rewrites changed files, removes files under old labels and leaves equal files as they are. A
    file's name contains its number of runs, so that an open TensorBoard reads the new file of a configuration with
    more runs. Failed runs are left out and copies are counted once in a mean; after a run has diverged or was stopped,
    the mean is that of the other runs. A study of one run that has its own folder has no other.

    Args:
        folder: `outputs/<study>/tensorboard`.
        frame: of `read_study`.
        manifest: of the study. Its settings are the columns of the HParams tab, which an open TensorBoard does not
            update: they must be complete from the start.
        run_ids: runs that get their own folder, or keep it under another label; without the curves if Lightning has
            logged them there.

    Raises:
        StorageError: the folder cannot be written.
    """
    ended = frame[(frame["status"] != RunStatus.FAILED) & frame["config_id"].isin([*manifest.settings])]
    written: dict[Path, pd.DataFrame] = {}
    if len(frame) > 1 or not len(run_ids):
        for config_id, runs in distinct(ended).groupby("config_id", sort=False):
            written[folder / manifest.labels[str(config_id)] / STUDY_FILE.format(len(runs))] = runs
    there = run_folders(folder)
    for run_id, run in ended[ended["run_id"].isin([*run_ids])].groupby("run_id", sort=False):
        name = run_name(manifest.labels[run["config_id"].iloc[0]], run["seed"].iloc[0], str(run_id))
        written[there.get(str(run_id)[:ID_DIGITS], folder / name) / RUN_FILE] = run
    for path, runs in written.items():
        events = _scores(runs)
        if path.name == RUN_FILE and any(".pima_hp_" not in each.name for each in path.parent.glob("*tfevents*")):
            events = events[-1:]
        _write(path, runs, [_session(manifest.hparams[runs["config_id"].iloc[0]]), *events])
    for path, runs in [*written.items()][:1]:
        columns = path.with_name(COLUMNS_FILE)
        _write(columns, runs.head(1), [_columns(manifest, _finals(frame))])
        written[columns] = runs
    with explained(folder):
        for path in {*folder.glob("*/*.pima_hp_study"), *folder.glob("*/*.pima_hp_columns")} - {*written}:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()


def _write(path: Path, runs: pd.DataFrame, events: Iterable[Any]) -> None:
    """Write an event file of some runs, the times of its events spread evenly over the steps."""
    records = [Event(file_version="brain.Event:2"), *events]
    ended, duration_s = float(runs["ended_s"].max()), float(runs["duration_s"].max())
    last, parts = max(event.step for event in records) or 1, []
    for event in records:
        event.wall_time = ended - duration_s * (1 - event.step / last)
        content = event.SerializeToString(deterministic=True)
        length = struct.pack("<Q", len(content))
        parts += [length, _checksum(length), content, _checksum(content)]
    write_atomically(path, b"".join(parts), durable=False)


def _checksum(content: bytes) -> bytes:
    """Return the masked CRC-32C of TensorFlow's record files, which TensorBoard's own writer computes in Python."""
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _scores(runs: pd.DataFrame) -> list[Any]:
    """Return the events of one configuration: diagnostics at step 0, an epoch each (from 1), then the final scores."""
    curves: dict[str, Any] = {}  # tag -> (E,)
    for key in curve_columns(runs):
        values = np.stack(runs[key].tolist())  # (R, E)
        curves[tag_of(key)] = mean(values)
        if len(values) > 1:
            curves |= {f"~q{level * 100:02.0f}/{key}": q for level, q in zip(BAND, quantiles(values), strict=True)}
    rows = np.stack(list(curves.values()), axis=1).tolist()  # E rows
    epochs = [_scalars(epoch, dict(zip(curves, row, strict=True))) for epoch, row in enumerate(rows, 1)]
    names = [name.removeprefix(INITIAL_PREFIX) for name in runs.columns if name.startswith(INITIAL_PREFIX)]
    initial = {DIAGNOSTICS + name: float(runs[INITIAL_PREFIX + name].mean()) for name in names}
    epochs = [event for event in (_scalars(0, initial), *epochs) if event.summary.value]
    # the last scores of runs that were stopped are of other lengths of training
    whole = runs[runs["status"] != RunStatus.STOPPED] if len(runs) > 1 else runs
    finals = {f"~{name}": float(whole[name].mean()) for name in _finals(runs)}
    return [*epochs, _scalars(epochs[-1].step if epochs else 0, finals)]


def _scalars(step: int, values: Mapping[str, float]) -> Any:
    """Return one event with these numbers by their tags; NaN is left out."""
    numbers = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items() if value == value]
    return Event(step=step, summary=Summary(value=numbers))


def _finals(frame: pd.DataFrame) -> list[str]:
    """Return the final scores: validation first, since the HParams tab shows five at first.

    Their tags begin with `~`, which TensorBoard sorts after every letter: the curves come first.
    """
    names = [name for name in frame.columns if name.startswith(SCORE_PREFIX)]
    return sorted(names, key=lambda name: (not name.startswith(f"{SCORE_PREFIX}val/"), name))


def _session(hparams: Mapping[str, float | str]) -> Any:
    """Return the event that makes a folder a row of the HParams tab, with these settings."""
    start = SessionStartInfo()
    for name, value in hparams.items():
        setattr(start.hparams[name], "string_value" if isinstance(value, str) else "number_value", value)
    return _plugin_event(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))


def _columns(manifest: Manifest, finals: Iterable[str]) -> Any:
    """Return the event that lists the columns of the HParams tab; without it, every curve would be a column."""
    data = HParamsPluginData()
    hparams = {name: value for own in manifest.hparams.values() for name, value in own.items()}
    for name, value in hparams.items():
        # TensorBoard shows five columns at first: those that "differ", by name
        kind = api_pb2.DATA_TYPE_STRING if isinstance(value, str) else api_pb2.DATA_TYPE_FLOAT64
        data.experiment.hparam_infos.add(name=name, type=kind, differs=name in MAIN_SETTINGS)
    for name in finals:
        label = name.removeprefix(SCORE_PREFIX).replace("/", " ")
        data.experiment.metric_infos.add(name={"tag": f"~{name}"}, display_name=label)
    return _plugin_event(metadata.EXPERIMENT_TAG, data)


def _plugin_event(tag: str, data: Any) -> Any:
    described = metadata.create_summary_metadata(data)
    data.version = metadata.PLUGIN_DATA_VERSION
    described.plugin_data.content = data.SerializeToString(deterministic=True)  # else maps differ between processes
    return Event(summary=Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)]))
