"""The ledger of a study: the runs on disk, one part file per group of runs that were trained together."""

import math
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from pima_hp.errors import InputError, StudyError
from pima_hp.ledger.files import LEDGER, explained, write_atomically
from pima_hp.ledger.parts import SCORE_PREFIX, DamagedPartError, encoded, frame_of, is_curve, is_setting, read_part
from pima_hp.ledger.plan import Manifest
from pima_hp.run import DIAGNOSTICS, Array, Results, RunStatus

Found = TypeVar("Found")
# Quantiles of the band: the spread of single runs, not an interval of their mean.
BAND = (0.05, 0.95)

_ORDER = ["config_id", "seed", "init_seed", "split_seed", "order_seed", "run_id"]


def read_study(study: Path | str) -> pd.DataFrame:
    """Return all runs of a study, one row per run: `read_study("article")` or `read_study("outputs/article")`.

    Columns: the run (`run_id`, `config_id`, `seed`, `init_seed`, `split_seed`, `order_seed`, `status`, `stop_epoch`,
    `n_updates`, `n_train` and `positive_rate` of its training rows, `duration_s`, `ended_s`, `engine`, `message`,
    `versions` as JSON; `engine` is empty, `n_train` and `positive_rate` are missing for a run that failed); then the
    settings that decide what it computes, named as on the command line (`activation`, `optimizer.lr`,
    `model.hidden_widths` as a tuple; missing where a configuration has no such setting), and `data.path`; then its
    learning curves, each an array of shape (E,) (`val/accuracy`, `lr`, and whatever else some run has logged, NaN
    where a run has not); then its final scores (`final/val/auroc`). With diagnostics, these are curves, too
    (`diagnostics/gradient_norm/layer1`), and beside the final scores are those before the first update (`initial/...`).
    Rows are in the order of the manifest, then by seed. A run whose part is damaged is missing; a warning names the
    part. `pandas.read_parquet(f"{folder}/ledger")` reads the same columns without this package, settings that not
    every configuration has as JSON.

    Args:
        study: its folder, or its name in `outputs`.

    Raises:
        InputError: there is no such study.
        StudyError: two parts disagree about a run, or were written by another version.
        StorageError: the folder cannot be read, or its manifest is damaged.
    """
    ledger = Ledger(study_folder(study))
    frame = ledger.frame()
    for note in ledger.damaged:
        warnings.warn(note, stacklevel=2)
    return frame


def study_folder(study: Path | str) -> Path:
    """Return the folder of a study, given by it or by its name in `outputs`; `InputError` where there is none."""
    places = Path(study), Path("outputs", study)
    for path in places:
        if (path / LEDGER).is_dir():
            return path
    found = sorted({each.parent.name for path in places for each in path.parent.glob(f"*/{LEDGER}")})
    rule = f"{str(study)!r} must be the folder of a study, or its name in outputs"
    raise InputError(f"{rule}; found only {', '.join(found) or 'none':.300}")


class Ledger:
    """The durable store of the runs of one study.

    Args:
        study: `outputs/<study>`; made by the first `append`.

    Attributes:
        damaged: one line for each file that was left out when the runs were last read.
    """

    def __init__(self, study: Path | str) -> None:
        self.study, self.folder = Path(study), Path(study) / LEDGER
        self.damaged: list[str] = []

    def append(self, results: Results) -> None:
        """Store runs as one part; once this returns they survive a kill and a power cut.

        Raises:
            StorageError: the part could not be written; what was stored before is untouched.
        """
        name, content = encoded(results)
        write_atomically(self.folder / name, content)

    def finished_run_ids(self, since: float = math.inf) -> set[str]:
        """Return the runs that need not be trained again: all but the failed ones.

        Args:
            since: seconds since 1970; runs that failed later count as finished, for the command that began then.
        """
        return {
            run_id for run_id, status, ended_s, _ in self._outlines() if status != RunStatus.FAILED or ended_s >= since
        }

    def last_values(self) -> dict[str, float]:
        """Return run id -> `val/accuracy` of the last epoch that the run has trained, where it has one."""
        return {run_id: value for run_id, *_, value in self._outlines() if value == value}

    def frame(self) -> pd.DataFrame:
        """Return all runs, as `read_study` describes them: the same for any order and number of parts.

        Raises:
            StudyError: two parts hold different results of one finished run.
            StorageError: the folder cannot be read, or its manifest is damaged.
        """
        parts = self._read(lambda path, *_: read_part(path))
        frame = frame_of([*parts.values()])
        names = np.repeat([*parts], [len(table) for table in parts.values()])
        is_failed = frame["status"] == RunStatus.FAILED
        doubled = frame[frame["run_id"].duplicated(keep=False) & ~is_failed]
        scores = [name for name in frame.columns if name.startswith(SCORE_PREFIX)]
        curves = [name for name in curve_columns(frame) if not name.startswith(DIAGNOSTICS)]  # not equal bit for bit
        results = doubled[["status", "stop_epoch", "n_updates", *curves, *scores]]
        bits = results.map(lambda cell: np.asarray(cell).tobytes()).assign(run_id=doubled["run_id"])
        for run_id, rows in bits.drop_duplicates().groupby("run_id").groups.items():
            if len(rows) > 1:
                rule, found = f"run {run_id} must have one result", " and ".join(names[rows])
                raise StudyError(f"{rule}; {found} hold different ones; delete the wrong one")
        manifest = Manifest.read(self.study)
        places = {config_id: place for place, config_id in enumerate(manifest.settings if manifest else ())}
        keys = frame[_ORDER].assign(place=frame["config_id"].map(places), is_failed=is_failed)
        kept = keys.sort_values(["place", *_ORDER, "is_failed"]).drop_duplicates("run_id")
        return frame.loc[kept.index].reset_index(drop=True)

    def _outlines(self) -> list[tuple[str, str, float, float]]:
        """Return (run id, status, end, last `val/accuracy`) of each run."""
        return [row for rows in self._read(_outline).values() for row in rows]

    def _read(self, read: Callable[..., Found]) -> dict[str, Found]:
        """Return part -> what a function makes of its path and state; damaged parts are noted in `damaged`."""
        found, self.damaged = {}, []
        with explained(self.folder):
            paths = sorted(self.folder.iterdir()) if self.folder.exists() else []
            states = {path: path.lstat() for path in paths if path.suffix == ".parquet"}
        for path, state in states.items():
            try:
                found[path.name] = read(path, state.st_mtime_ns, state.st_size)
            except DamagedPartError as error:
                self.damaged.append(f"{path.name}: {error}; its runs are missing here and are trained again on resume")
        return found


@lru_cache(maxsize=4096)
def _outline(path: Path, *_state: int) -> list[tuple[str, str, float, float]]:
    """Return the outline of a part, which each process reads once, unless its file changes."""
    runs = read_part(path).select(["run_id", "status", "ended_s", "stop_epoch", "val/accuracy"]).to_pandas()
    last = [
        float(curve[stop - 1]) for stop, curve in zip(runs.pop("stop_epoch"), runs.pop("val/accuracy"), strict=True)
    ]
    return list(zip(runs["run_id"], runs["status"], runs["ended_s"], last, strict=True))


def setting_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a study's frame that decide what a run computes (`activation`, `optimizer.lr`, ...)."""
    return [name for name in frame.columns if is_setting(name) and name != "data.path"]


def curve_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a study's frame that are learning curves (`val/accuracy`, `lr`, ...)."""
    return [name for name in frame.columns if is_curve(name)]


def replicates_of(frame: pd.DataFrame) -> list[tuple[int, ...]]:
    """Return the seeds that distinguish each run from other replicates of its configuration.

    `order` counts only where rows are shuffled, and changes nothing but rounding where one batch holds them all. The
    run's own seed only provides defaults for the others.
    """
    names = ("init_seed", "split_seed", "order_seed", "batch.shuffle", "batch.size", "n_train")
    return [
        (init, split, order) if shuffle and isinstance(size, int) and not size >= n_train else (init, split)
        for init, split, order, shuffle, size, n_train in zip(*(frame[name].tolist() for name in names), strict=True)
    ]


def distinct(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the runs without copies, in their order.

    Runs of one configuration are copies if the seeds that affect them are equal. Of copies, the one with the lowest
    seed that did not fail is kept.
    """
    runs = frame[["config_id", "seed", "run_id"]].reset_index(drop=True)
    runs["failed"], runs["replicate"] = (frame["status"] == RunStatus.FAILED).tolist(), replicates_of(frame)
    kept = runs.sort_values(["failed", "seed", "run_id"]).drop_duplicates(["config_id", "replicate"])
    return frame.iloc[kept.index.sort_values()]


def mean(values: Array) -> Array:
    """Return the mean over runs, ignoring NaN, (R, E) -> (E,); NaN where no run has a value.

    After a run has diverged, this is the mean of the other runs: the caption must state it.
    """
    return pd.DataFrame(values).mean().to_numpy()


def quantiles(values: Array, levels: tuple[float, ...] = BAND) -> list[Array]:
    """Return quantiles over runs, ignoring NaN, (R, E) -> (E,) each; NaN where no run has a value."""
    with np.errstate(invalid="ignore"):  # between two infinite losses: NaN
        return [*pd.DataFrame(values).quantile(levels).to_numpy()]
