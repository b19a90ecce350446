"""The ledger of a study: finished is a fact on disk, one part a group of runs."""

import math
import stat
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from pima_hp.errors import InputError, StorageError, StudyError
from pima_hp.ledger.atomic import explained, make_folder, write_atomically
from pima_hp.ledger.frame import curve_views, frame_of
from pima_hp.ledger.manifest import Manifest
from pima_hp.ledger.parts import CURVE, SCHEMA, SCORE_PREFIX, SUFFIX, DamagedPartError, decoded, encoded, part_name
from pima_hp.run import Results, RunStatus

FOLDER = "ledger"


def read_study(path: Path | str) -> pd.DataFrame:
    """All runs of a study, one row per run: `read_study("outputs/article")`.

    Columns: the run (`run_id`, `config_id`, `seed`, `init_seed`, `split_seed`, `order_seed`, `status`,
    `stop_epoch`, `n_updates`, `n_train` and `positive_rate` of its training rows, `duration_s`, `ended_s`,
    `engine`, `message`, `versions` as JSON; `engine` is empty, `n_train` and `positive_rate` are missing for a run that
    failed); then its settings, named as on the command line (`activation`, `optimizer.lr`,
    `model.hidden_widths` as a tuple; missing where a configuration has no such setting); then its learning
    curves, each a read-only array of shape (E,) (`val/accuracy`, `lr`, and whatever else some run has logged, NaN
    where a run has not); then its final scores (`final/val/auroc`).
    Rows are in the order of the manifest, then by seed. A run whose part is damaged is missing; a warning
    names the part.

    Raises:
        InputError: there is no study in that folder.
        StudyError: two parts disagree about a run, or were written by another version.
        StorageError: the folder cannot be read.
    """
    study = Path(path)
    if not (study / FOLDER).is_dir():
        found = sorted(str(folder.parent) for folder in study.parent.glob(f"*/{FOLDER}"))
        raise InputError(
            f"{str(path)!r} must be the folder of a study; found no {FOLDER!r} folder in it; "
            f"studies beside it: {', '.join(found) or 'none'}"
        )
    ledger = Ledger(study)
    frame = ledger.frame()
    for note in ledger.damaged:
        warnings.warn(note, stacklevel=2)
    return frame


class Ledger:
    """The durable store of the runs of one study.

    Args:
        study_folder: `outputs/<study>`; made by the first `append`.
    """

    def __init__(self, study_folder: Path | str) -> None:
        self.study_folder = Path(study_folder)
        self.folder = self.study_folder / FOLDER
        self._damaged: dict[str, str] = {}

    @property
    def damaged(self) -> list[str]:
        """One line for each file that was left out of what has been read so far."""
        return [f"{name}: {reason}" for name, reason in sorted(self._damaged.items())]

    def append(self, results: Results) -> None:
        """Store runs as one part; once this returns they survive a kill and a power cut.

        Raises:
            StorageError: the part could not be written; what was stored before is untouched.
        """
        content = encoded(results)
        name = part_name(content)
        make_folder(self.folder)
        write_atomically(self.folder / name, content)

    def finished_run_ids(self, since: float = math.inf) -> set[str]:
        """Return the runs that need not be trained again: all but the failed ones.

        Args:
            since: seconds since 1970; runs that failed later count as finished, for the command that began then.
        """
        found = set[str]()
        for rows in self._outlines():
            found.update(run_id for run_id, status, ended_s in rows if status != RunStatus.FAILED or ended_s >= since)
        return found

    def last_values(self, key: str) -> dict[str, float]:
        """Return run id -> the value of a curve in the last epoch that the run has trained, where it has one."""
        return {run_id: value for rows in self._outlines(key) for run_id, value in rows if value == value}

    def _outlines(self, key: str = "") -> Iterator[list[Any]]:
        for name in self._part_names():
            path = self.folder / name
            try:
                status = path.lstat()
                rows = _outline(path, (status.st_mtime_ns, status.st_size), key)
            except (DamagedPartError, OSError) as error:
                self._note_damage(name, error)
                continue
            self._damaged.pop(name, None)
            yield rows

    def frame(self) -> pd.DataFrame:
        """All runs, as `read_study` describes them."""
        return frame_of(*self._table())

    def _table(self) -> tuple[pa.Table, list[int]]:
        """All parts, and the rows of them that hold each run once, sorted: the same for any order and number of parts.

        Rows are named, not taken: a copy of the learning curves would double the memory.
        """
        tables = {name: self._read(name) for name in self._part_names()}
        whole = {name: table for name, table in tables.items() if table is not None}
        origin = [name for name, table in whole.items() for _ in range(table.num_rows)]
        table = pa.concat_tables([SCHEMA.empty_table(), *whole.values()], promote_options="default")
        rows = _rows_to_keep(table, origin)
        rank = {config_id: place for place, config_id in enumerate(self._planned_order())}
        keys = ("config_id", "seed", "init_seed", "split_seed", "order_seed", "run_id")
        columns = [table[key].to_pylist() for key in keys]
        rows.sort(key=lambda row: (rank.get(columns[0][row], len(rank)), *(column[row] for column in columns)))
        return table, rows

    def _planned_order(self) -> Sequence[str]:
        try:
            manifest = Manifest.read(self.study_folder)
        except StorageError as error:  # the results are whole without it; only their order is not
            self._damaged["manifest.json"] = str(error)
            return ()
        self._damaged.pop("manifest.json", None)
        return tuple(manifest.configurations) if manifest else ()

    def _part_names(self) -> list[str]:
        with explained(self.folder):
            try:
                return sorted(path.name for path in self.folder.iterdir() if path.suffix == SUFFIX)
            except FileNotFoundError:
                return []

    def _read(self, name: str) -> pa.Table | None:
        """A part, or None and a note where it is damaged: its runs are simply missing then."""
        try:
            table = decoded(self.folder / name, _content(self.folder / name))
        except (DamagedPartError, OSError) as error:
            self._note_damage(name, error)
            return None
        self._damaged.pop(name, None)
        return table

    def _note_damage(self, name: str, error: Exception) -> None:
        self._damaged[name] = f"{error}; its runs are missing here and are trained again on resume"


@lru_cache(maxsize=4096)
def _outline(path: Path, state: tuple[int, int], key: str) -> list[Any]:  # noqa: ARG001 -- a changed file is read again
    """Return (run id, status, end) of each run of a part, or with a key (run id, last value of that curve).

    Parts are read once a process: each job of a sweep asks which of its runs are there.
    """
    columns = ("run_id", "status", "stop_epoch", "ended_s")
    table = decoded(path, _content(path), (*columns, key) if key else columns)
    ids, statuses, stops, ends = (table[name].to_pylist() for name in columns)
    if not key:
        return list(zip(ids, statuses, ends, strict=True))
    curves = curve_views(table[key]) if key in table.column_names else [None] * len(ids)
    rows = zip(ids, curves, statuses, stops, strict=True)
    return [
        (run_id, float(curve[stop - 1 if status == RunStatus.STOPPED else -1]))
        for run_id, curve, status, stop in rows
        if curve is not None
    ]


def _content(path: Path) -> bytes:
    if not stat.S_ISREG(path.lstat().st_mode):  # a link or a pipe is never followed
        raise DamagedPartError("it is not a regular file")
    return path.read_bytes()


def _rows_to_keep(table: pa.Table, origin: Sequence[str]) -> list[int]:
    """One row for each run: a finished one where there is one.

    Raises:
        StudyError: two finished rows of one run hold different results.
    """
    run_ids, statuses = table["run_id"].to_pylist(), table["status"].to_pylist()
    counts = Counter(run_ids)
    doubled = [row for row, run_id in enumerate(run_ids) if counts[run_id] > 1]
    results = dict(zip(doubled, _results(table.take(pa.array(doubled, pa.int64()))), strict=True))
    kept = {run_ids[row]: row for row in reversed(range(len(run_ids)))}
    for row in doubled:
        run_id, first = run_ids[row], kept[run_ids[row]]
        if statuses[first] == RunStatus.FAILED:
            kept[run_id] = row if statuses[row] != RunStatus.FAILED else first
        elif statuses[row] != RunStatus.FAILED and _differ(results[row], results[first]):
            raise StudyError(
                f"run {run_id} must have one result; {origin[first]} and {origin[row]} hold different ones; "
                "delete the part that is wrong"
            )
    return list(kept.values())


def _results(table: pa.Table) -> list[tuple[object, ...]]:
    """What must agree between two rows of one run: all but its times, its engine, its message and the versions."""
    columns = [table[key].to_pylist() for key in ("status", "stop_epoch", "n_updates")]
    for field in table.schema:
        if field.type == CURVE:
            columns.append([None if curve is None else curve.tobytes() for curve in curve_views(table[field.name])])
        elif field.name.startswith(SCORE_PREFIX):
            columns.append([score if score is None else repr(score) for score in table[field.name].to_pylist()])
    return list(zip(*columns, strict=True))


def _differ(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    """Whether two rows of one run disagree; what only one of them has recorded is no disagreement."""
    return any(a != b for a, b in zip(one, other, strict=True) if a is not None and b is not None)
