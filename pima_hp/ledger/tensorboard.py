"""A study for TensorBoard: one folder a configuration, so that it opens fast at thousands of runs."""

from collections import Counter
from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.ledger.atomic import explained, make_folder, write_atomically
from pima_hp.ledger.bands import BAND, mean, quantiles
from pima_hp.ledger.events import (
    HParam,
    curve_events,
    experiment_event,
    file_bytes,
    scalar_event,
    session_end_event,
    session_event,
)
from pima_hp.ledger.frame import curve_columns, distinct, setting_columns
from pima_hp.ledger.parts import SCORE_PREFIX
from pima_hp.run import RunStatus
from pima_hp.settings import is_hparam

STUDY_FILE = "events.out.tfevents.0.pima_hp_study"
RUN_FILE = "events.out.tfevents.0.pima_hp_run"
EVENT_FILES = "events.out.tfevents*"


def write_study(folder: Path, frame: pd.DataFrame, labels: Mapping[str, str]) -> int:
    """Write the mean and the band of 5 % to 95 % over the runs of each configuration, and the HParams tab.

    Running it again replaces what changed, removes what this function wrote under labels that are gone, and
    leaves equal files alone (a TensorBoard that is already open shows a replaced file after a restart). Runs
    that failed are left out, copies are counted once; after a run has diverged or was stopped, the mean is that of
    the other runs.

    Args:
        folder: `outputs/<study>/tensorboard`.
        frame: what `read_study` gives.
        labels: config_id -> the name of its folder; a config_id without a label is its own, labels that two
            configurations share are told apart by their ids.

    Returns:
        How many files were written.

    Raises:
        ValueError: a label is no plain folder name.
        StorageError: the folder cannot be written.
    """
    ended = distinct(frame[frame["status"] != RunStatus.FAILED])
    groups = {str(config_id): runs for config_id, runs in ended.groupby("config_id", sort=False)}
    names = _folder_names(list(groups), labels)
    settings = _hparams(ended.drop_duplicates("config_id").set_index("config_id"), setting_columns(frame))
    metrics = [f"hp/{key}" for key in dict.fromkeys((*curve_columns(frame), *map(_score_key, _score_columns(frame))))]
    _remove_others(folder, set(names.values()))
    n_written = int(_replace(folder / STUDY_FILE, file_bytes([experiment_event(settings.values(), metrics)])))
    for config_id, runs in groups.items():
        name = names[config_id]
        n_written += _replace(folder / name / STUDY_FILE, _events(runs, settings[config_id]))
    return n_written


def write_run(folder: Path, row: "pd.Series[Any]") -> bool:
    """Write one run, a row of a study's frame, as a folder of its own: what Lightning's logger writes of a run.

    A folder in which Lightning itself has logged the run is left as it is.

    Args:
        folder: of the run.
        row: its curves, settings and final scores.

    Returns:
        Whether the file changed.

    Raises:
        StorageError: the folder cannot be written.
    """
    if any(path.name != RUN_FILE for path in folder.glob(EVENT_FILES)):
        return False
    runs = row.to_frame().T.infer_objects()
    (settings,) = _hparams(runs.set_index("run_id"), setting_columns(runs)).values()
    curves = {key: row[key] for key in curve_columns(runs)}
    scores = {f"hp/{_score_key(name)}": row[name] for name in _score_columns(runs) if not pd.isna(row[name])}
    events = [
        experiment_event([settings], list(scores)),
        session_event(settings),
        scalar_event(scores, step=0),
        *curve_events(curves),
        session_end_event(succeeded=row["status"] in (RunStatus.COMPLETED, RunStatus.STOPPED)),
    ]
    return _replace(folder / RUN_FILE, file_bytes(events))


def remove_runs(folder: Path, names: Container[str]) -> None:
    """Remove what attempts at runs that did not finish have logged, so that no curve is there twice.

    Args:
        folder: `outputs/<study>/tensorboard`.
        names: of the folders of the runs that are to be trained again.
    """
    with explained(folder):
        for path in folder.glob(f"*/{EVENT_FILES}"):
            if path.parent.name in names:
                path.unlink()


def _events(runs: pd.DataFrame, hparams: Mapping[str, HParam]) -> bytes:
    """One configuration, or one run, as the bytes of an event file."""
    keys = curve_columns(runs)
    values = np.stack([np.stack(runs[key].tolist()) for key in keys], axis=1)  # (R, curves, E)
    curves = dict(zip(keys, mean(values), strict=True))
    n_epochs = values.shape[-1]
    final = {key: float(curve[-1]) for key, curve in curves.items() if n_epochs}
    scores = _score_columns(runs)
    lasting = runs[scores].where(
        runs["status"] != RunStatus.STOPPED
    )  # else trainings of other lengths would be averaged
    final |= zip(map(_score_key, scores), mean(lasting.to_numpy(float)).tolist(), strict=True)
    if len(runs) > 1:
        for level, band in zip(BAND, quantiles(values), strict=True):
            curves |= {f"{key}_q{level * 100:02.0f}": curve for key, curve in zip(keys, band, strict=True)}
    metrics = scalar_event({f"hp/{key}": value for key, value in final.items()}, step=n_epochs)
    return file_bytes([session_event(hparams), *curve_events(curves), metrics])


def _hparams(settings: pd.DataFrame, names: list[str]) -> dict[str, dict[str, HParam]]:
    """The settings that differ between the rows (all where there is one row), by the index of the frame."""
    hparams: dict[str, dict[str, HParam]] = {str(key): {} for key in settings.index}
    for name in names:
        column = settings[name]
        missing = column.isna().tolist()
        values = [None if lacks else value for value, lacks in zip(column.tolist(), missing, strict=True)]
        present = [value for value in values if value is not None]
        if not is_hparam(name) or not present or (len(settings) > 1 and len(set(values)) == 1):
            continue
        kind = _kind(present)
        for key, value in zip(hparams, values, strict=True):
            if value is not None:
                hparams[key][name] = kind(value)
    return hparams


def _kind(values: list[Any]) -> type[HParam]:
    """One type a column, as the HParams tab wants it."""
    if all(isinstance(value, bool) for value in values):
        return bool
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return float if numbers else str


def _folder_names(config_ids: list[str], labels: Mapping[str, str]) -> dict[str, str]:
    names = {config_id: labels.get(config_id, config_id) for config_id in config_ids}
    for name in names.values():
        if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
            raise ValueError(f"a label must be a plain folder name; found {name!r}; allowed: no /, \\ or NUL")
    counts = Counter(names.values())
    return {key: name if counts[name] == 1 else f"{name}~{key[:8]}" for key, name in names.items()}


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove what an earlier call wrote under other labels; a folder that holds anything else stays."""
    with explained(folder):
        for path in folder.glob(f"*/{STUDY_FILE}"):
            if path.parent.name not in names:
                path.unlink()
                with suppress(OSError):
                    path.parent.rmdir()


def _replace(path: Path, content: bytes) -> bool:
    """Write a file unless it is already what it should be."""
    with explained(path):
        if path.is_file() and path.read_bytes() == content:
            return False
    make_folder(path.parent)
    write_atomically(path, content, durable=False)  # it can be rebuilt from the ledger
    return True


def _score_columns(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if name.startswith(SCORE_PREFIX)]


def _score_key(column: str) -> str:
    return column.removeprefix(SCORE_PREFIX)
