"""A study for TensorBoard: one folder a configuration, so that it opens fast at thousands of runs."""

from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.ledger import events
from pima_hp.ledger.atomic import explained, write_atomically
from pima_hp.ledger.bands import BAND, mean, quantiles
from pima_hp.ledger.frame import curve_columns, distinct, setting_columns
from pima_hp.ledger.names import Settings, Value, distinguishing, run_name
from pima_hp.ledger.parts import SCORE_PREFIX
from pima_hp.run import FINAL, Array, RunStatus, tag_of

EVENT_FILES = "events.out.tfevents*"
STUDY_FILE = "events.out.tfevents.{:010d}.pima_hp_study"
STUDY_FILES = "events.out.tfevents.*.pima_hp_study"
RUN_FILE = "events.out.tfevents.0.pima_hp_run"
COLUMNS_FILE = "events.out.tfevents.0.pima_hp_columns"
COLUMNS_FILES = "events.out.tfevents.*.pima_hp_columns"
"""In the folder of a run: the columns of the HParams tab, until the study as a whole is written, which has its own.

TensorBoard takes the columns of any folder, chosen anew each time it starts.
"""


def write_study(
    folder: Path,
    frame: pd.DataFrame,
    labels: Mapping[str, str],
    planned: Settings | None = None,
    written: dict[str, Any] | None = None,
) -> int:
    """Write the mean and the band of 5 % to 95 % over the runs of each configuration, and the HParams tab.

    Running it again replaces what changed, removes what this function wrote under labels that are gone, and
    leaves equal files alone. The name of a file counts its runs, so that a TensorBoard that is already open reads the
    file of a configuration that has more of them. Runs that failed are left out, copies are counted once; after a run
    has diverged or was stopped, the mean is that of the other runs.

    Args:
        folder: `outputs/<study>/tensorboard`.
        frame: what `read_study` gives.
        labels: config_id -> the name of its folder, as `labels_of` gives them; one without a label has its id.
        planned: settings of configurations that may have no run yet. A TensorBoard that is open never changes the
            columns of its HParams tab, so they must be right from the start.
        written: what earlier calls of this process have written, kept up to date here: a configuration with the same
            runs, name and columns is not looked at again. Give the same dictionary, empty at first.

    Returns:
        How many files were written.

    Raises:
        StorageError: the folder cannot be written.
    """
    ended = distinct(frame[frame["status"] != RunStatus.FAILED])
    groups = {str(config_id): runs for config_id, runs in ended.groupby("config_id", sort=False)}
    hparams = distinguishing({**(planned or {}), **settings_of(ended)})
    names = {config_id: labels.get(config_id, config_id) for config_id in groups}
    _remove_others(folder, set(names.values()))
    metrics = _metrics(frame)
    columns = events.experiment(hparams.values(), metrics)
    n_written = 0
    for config_id, runs in groups.items():
        state = (names[config_id], hparams[config_id], metrics, runs["run_id"].tolist())
        if written is None or written.get(config_id) != state:
            path = folder / names[config_id] / STUDY_FILE.format(len(runs))
            n_written += _replace(path, _configuration(runs, [columns, events.session_start(hparams[config_id])]))
            if written is not None:
                written[config_id] = state
    return n_written


def write_runs(
    folder: Path, frame: pd.DataFrame, labels: Mapping[str, str], chosen: Container[str] | None = None
) -> int:
    """Write runs of a study, each as a folder of its own: what Lightning's logger writes of a run.

    A folder in which Lightning itself has logged the run is left as it is; runs that failed have none.

    Args:
        folder: `outputs/<study>/tensorboard`.
        frame: what `read_study` gives.
        labels: config_id -> its name; a run whose folder is there already keeps that one.
        chosen: ids of the runs that are written; all if not given.

    Returns:
        How many files were written.

    Raises:
        StorageError: the folder cannot be written.
    """
    ended = frame[frame["status"] != RunStatus.FAILED]
    hparams = distinguishing(settings_of(ended))
    columns = events.experiment(hparams.values(), _metrics(ended))
    alone = not any(folder.glob(f"*/{STUDY_FILES}"))
    there = {path.name.rpartition(", ")[2]: path for path in folder.glob("*, seed *")}  # perhaps under other labels
    n_written = 0
    for position, (config_id, seed, run_id) in enumerate(
        ended[["config_id", "seed", "run_id"]].itertuples(index=False)
    ):
        own = there.get(run_id[:6], folder / run_name(labels.get(config_id, config_id), seed, run_id))
        logged = any(path.name not in (RUN_FILE, COLUMNS_FILE) for path in own.glob(EVENT_FILES))
        if not logged and (chosen is None or run_id in chosen):
            run = ended.iloc[position : position + 1]
            n_written += _replace(own / RUN_FILE, _run(run, hparams[config_id]))
            if alone:
                n_written += _replace(own / COLUMNS_FILE, events.file_bytes(_times(run)[0], [columns]))
    return n_written


def remove_runs(folder: Path, run_ids: Iterable[str]) -> None:
    """Remove what attempts at runs that did not finish have logged, so that no curve is there twice.

    Args:
        folder: `outputs/<study>/tensorboard`.
        run_ids: of the runs that are to be trained again; their folders end so, whatever label they began with.
    """
    endings = {run_id[:6] for run_id in run_ids}
    with explained(folder):
        for path in folder.glob(f"*, seed */{EVENT_FILES}"):
            if path.parent.name.rpartition(", ")[2] in endings:
                path.unlink(missing_ok=True)


def _configuration(runs: pd.DataFrame, settings: list[Any]) -> bytes:
    """Return the event file of one configuration, which begins with the events of its settings."""
    began, ended = _times(runs)
    curves: dict[str, Array] = {}
    for key, values in _curves(runs).items():
        if key == "lr" and len(np.unique(values[~np.isnan(values)])) <= 1:
            continue  # the name and the settings tell it
        curves[key] = mean(values)
        if len(values) > 1:
            for level, band in zip(BAND, quantiles(values), strict=True):
                curves[f"~q{level * 100:02.0f}/{key}"] = band
    n_epochs = max(map(len, curves.values()), default=0)
    final = events.scalars(ended, n_epochs, _finals(runs))
    return events.file_bytes(began, [*settings, *_epochs(began, ended, curves), final])


def _run(run: pd.DataFrame, hparams: Mapping[str, Value]) -> bytes:
    """Return the event file of one run, the only row of a frame."""
    began, ended = _times(run)
    status, stop_epoch = run["status"].iloc[0], int(run["stop_epoch"].iloc[0])
    curves = {key: values[0, : stop_epoch or None] for key, values in _curves(run).items()}
    content = [
        events.session_start(hparams),
        *_epochs(began, ended, curves),
        events.scalars(ended, max(map(len, curves.values()), default=0), _finals(run)),
        events.session_end(succeeded=status in (RunStatus.COMPLETED, RunStatus.STOPPED)),
    ]
    return events.file_bytes(began, content)


def _times(runs: pd.DataFrame) -> tuple[float, float]:
    """Return when the last of these runs began and ended, in seconds since 1970."""
    ended = float(runs["ended_s"].max())
    return ended - float(runs["duration_s"].max()), ended


def _epochs(began: float, ended: float, curves: Mapping[str, Array]) -> list[Any]:
    """Return an event for each epoch (step 1 is the first) in which some curve, of shape (E,), has a value."""
    if not curves:
        return []
    tags, values = [*map(tag_of, curves)], np.stack(list(curves.values()), axis=1)  # (E, curves)
    times = np.linspace(began, ended, len(values) + 1)[1:].tolist()
    with_value = np.any(~np.isnan(values), axis=1).tolist()
    return [
        events.scalars(times[epoch], epoch + 1, dict(zip(tags, row, strict=True)))
        for epoch, row in enumerate(values.tolist())
        if with_value[epoch]
    ]


def _curves(runs: pd.DataFrame) -> dict[str, Array]:
    """Return key -> learning curves (R, E) of the runs that have this one."""
    found = {
        key: [curve for curve in runs[key] if isinstance(curve, np.ndarray) and curve.size]
        for key in curve_columns(runs)
    }
    return {key: np.stack(curves) for key, curves in found.items() if curves}


def settings_of(runs: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return config_id -> the settings that are not missing in the frame."""
    rows = runs.drop_duplicates("config_id").set_index("config_id")[setting_columns(runs)].to_dict("index")
    return {
        str(config_id): {str(name): value for name, value in row.items() if value is not None and value == value}
        for config_id, row in rows.items()
    }


def _finals(runs: pd.DataFrame) -> dict[str, float]:
    """Return tag -> mean final score of the runs that have one, without runs of another length among others."""
    columns = [name for name in runs.columns if name.startswith(SCORE_PREFIX)]
    tags = [FINAL + name.removeprefix(SCORE_PREFIX) for name in columns]
    scores = runs[columns].to_numpy(float)  # (R, scores)
    if len(runs) > 1:
        scores = scores[(runs["status"] != RunStatus.STOPPED).to_numpy()]
    return dict(zip(tags, mean(scores).tolist(), strict=True))


def _metrics(frame: pd.DataFrame) -> dict[str, str]:
    """Return tag -> title of the columns of final scores: validation first, since five are shown at first."""
    keys = [tag.removeprefix(FINAL) for tag in _finals(frame[:0])]
    order = ("val/accuracy", "val/loss", "val/", "test/", "")
    ranked = sorted(keys, key=lambda key: next(place for place, start in enumerate(order) if key.startswith(start)))
    return {FINAL + key: key.replace("/", " ") for key in ranked}


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove what an earlier call wrote under other labels, and columns of single runs; what is not ours stays."""
    with explained(folder):
        for path in [*folder.glob(f"*/{STUDY_FILES}"), *folder.glob(f"*/{COLUMNS_FILES}")]:
            if path.parent.name not in names:
                path.unlink(missing_ok=True)
                with suppress(OSError):
                    path.parent.rmdir()


def _replace(path: Path, content: bytes) -> bool:
    """Write an event file unless it is already what it should be, and remove those of the same kind beside it."""
    others = [other for other in path.parent.glob(f"events.out.tfevents.*{path.suffix}") if other != path]
    with explained(path):
        if not others and path.is_file() and path.read_bytes() == content:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content, durable=False)  # it can be rebuilt from the ledger
        for other in others:
            other.unlink(missing_ok=True)
    return True
