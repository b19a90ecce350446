"""A part of a ledger: runs as a Parquet file of flat columns, named by the digest of its bytes."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pima_hp.config import Config, DiagnosticsSection
from pima_hp.config.options import NAMED_SECTIONS, Setting, option_content, options
from pima_hp.errors import StudyError
from pima_hp.ledger.files import read_file
from pima_hp.run import CURVES, DIAGNOSTICS, Results, RunStatus

# Of a study's parts and manifest; raised when the meaning of a column changes.
VERSION = 5

# Begins the column of a final score, a number: `final/val/auroc`, NaN where there is none.
SCORE_PREFIX = "final/"

# Begins the column of a diagnostic before the first update, a number: `initial/gradient_norm/layer1`.
INITIAL_PREFIX = "initial/"

_PREFIXES = (SCORE_PREFIX, INITIAL_PREFIX)
_SECTIONS = frozenset({*Config.model_fields, "callback_order"})
_VERSION_KEY = b"pima_hp.schema_version"
_TEXT, _NUMBER, _WHOLE = pa.string(), pa.float64(), pa.int64()
_JSON = pa.large_string()  # in Parquet a string like any other
_CURVE = pa.list_(_NUMBER)
_SEEDS = ("seed", "init_seed", "split_seed", "order_seed")
# Columns of every part, with their types; see `type_of` for others.
COLUMNS = {
    **dict.fromkeys(("run_id", "config_id", "status"), _TEXT),
    **dict.fromkeys((*_SEEDS, "stop_epoch", "n_updates", "n_train"), _WHOLE),
    **dict.fromkeys(("batch.size", "trainer.max_epochs"), _WHOLE),
    **dict.fromkeys(("positive_rate", "duration_s", "ended_s", "optimizer.lr"), _NUMBER),
    **dict.fromkeys(("data.test_fraction", "data.val_fraction"), _NUMBER),
    **dict.fromkeys(("batch.shuffle", "data.stratified"), pa.bool_()),
    **dict.fromkeys(("engine", "message", "versions", "trainer.precision", "data_digest"), _TEXT),
    **dict.fromkeys((*NAMED_SECTIONS, *(f"{section}._target_" for section in NAMED_SECTIONS)), _TEXT),
    **dict.fromkeys(("data.label", "data.missing", "data.scaling", "data.path"), _TEXT),
    **dict.fromkeys(CURVES, _CURVE),
}

# Null for a run that failed, `batch.size=full`, no schedule, the shipped table.
_OPTIONAL = {"n_train", "positive_rate", "batch.size", "scheduler._target_", "data.path"}


class DamagedPartError(Exception):
    """A part that is not as it was written; the message is the reason."""


def is_setting(name: str) -> bool:
    """Whether a column is a setting: its name begins with that of a section of the configuration."""
    return name.partition(".")[0] in _SECTIONS


def is_curve(name: str) -> bool:
    """Whether a column is a learning curve: it is nothing else."""
    return bool(type_of(name) == _CURVE)


def type_of(name: str) -> pa.DataType:
    """Return the type of a column; JSON of a setting that not every configuration has."""
    usual = _JSON if is_setting(name) else _NUMBER if name.startswith(_PREFIXES) else _CURVE
    return COLUMNS.get(name, usual)


def encoded(results: Results) -> tuple[str, bytes]:
    """Return the name and the bytes of a part; equal results give equal bytes."""
    if taken := [key for key in results.curves if not is_curve(key)]:
        raise ValueError(f"a learning curve must not be named like another column; found {taken[0]!r}")
    runs = results.runs
    names = ("n_updates", "stop_epoch", "positive_rate", "duration_s", "ended_s", "engine")
    rows = {
        "run_id": [run.id for run in runs],
        "config_id": [run.config.id for run in runs],
        "status": list(map(str, results.status)),
        **dict(zip(_SEEDS, zip(*(run.seeds for run in runs), strict=True), strict=True)),
        **{name: getattr(results, name) for name in names},
        "n_train": results.n_train or None,
        "message": results.message.encode(errors="backslashreplace").decode(),  # no lone surrogates
        "versions": json.dumps(dict(results.versions), sort_keys=True),
        **{SCORE_PREFIX + key: scores for key, scores in sorted(results.scores.items())},
        **{INITIAL_PREFIX + key: numbers for key, numbers in sorted(results.initial.items())},
    }
    flats = {run.config.id: run.config.flat for run in runs}
    keys = dict.fromkeys((*filter(is_setting, COLUMNS), *_arguments(), *(key for own in flats.values() for key in own)))
    cells = {key: [own.get(key) for own in flats.values()] for key in keys}
    for key, column in cells.items():
        if type_of(key) == _JSON:
            cells[key] = [None if value is None else json.dumps(value) for value in column]
    cells["batch.size"] = [None if size == "full" else size for size in cells["batch.size"]]
    frame = pd.DataFrame(rows).join(pd.DataFrame(cells, [*flats], dtype=object), on="config_id")
    types = pa.schema((name, type_of(name)) for name in frame.columns)
    table = pa.Table.from_pandas(frame, types, preserve_index=False)
    nothing = np.full((len(runs), runs[0].config.trainer.max_epochs), np.nan)  # runs that failed have no curves
    for key, values in sorted({**dict.fromkeys(CURVES, nothing), **results.curves}.items()):  # (M, E)
        starts = np.arange(len(runs) + 1, dtype=np.int32) * values.shape[1]
        table = table.append_column(key, pa.ListArray.from_arrays(starts, values.ravel()))
    losses = [f"{key}.list.element" for key in results.curves if "loss" in key or key.startswith(DIAGNOSTICS)]
    how = {"compression": "zstd", "write_statistics": False, "use_dictionary": False, "store_schema": False}
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, use_byte_stream_split=losses, **how) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_VERSION_KEY: str(VERSION)})
    content = sink.getvalue().to_pybytes()
    # pandas takes the columns of the first file in a folder, so the widest part must sort first
    return f"{max(0, 999 - table.num_columns):03}-{_digest(content)}.parquet", content


def read_part(path: Path) -> pa.Table:
    """Return the rows of a part, after its bytes were compared with its name, each column in its type.

    Raises:
        DamagedPartError: it was changed since it was written, or this project did not write it.
        StudyError: it was written by another version of the project.
    """
    try:
        content = read_file(path)
        if _digest(content) not in path.stem:
            raise DamagedPartError("its bytes are not those that were written")
        file = pq.ParquetFile(pa.BufferReader(content))
        check_version(int(file.metadata.metadata[_VERSION_KEY]), path.parent.parent)
        types = {name: type_of(name) for name in (*COLUMNS, *file.schema_arrow.names)}
        table = file.read(use_threads=False).select([*types]).cast(pa.schema(types.items()))
    except (pa.ArrowException, LookupError, TypeError, ValueError, OSError) as error:
        raise DamagedPartError(" ".join(str(error).split())[:200]) from error
    epochs, stops = table["trainer.max_epochs"], table["stop_epoch"]
    rules = [  # only a file made by hand breaks them, as the digest was right
        *(pc.is_valid(table[name]) for name in {*COLUMNS} - _OPTIONAL),
        *(pc.match_substring_regex(table[name], "^[0-9a-f]{16}$") for name in ("run_id", "config_id")),
        pc.is_in(table["status"], pa.array([*RunStatus], _TEXT)),
        *(pc.less_equal(low, high) for low, high in ((1, epochs), (epochs, 1_000_000), (0, stops), (stops, epochs))),
        *(pc.equal(pc.list_value_length(table[name]), epochs) for name in filter(is_curve, table.column_names)),
    ]
    if not all(pc.all(rule, min_count=0).as_py() for rule in rules):
        raise DamagedPartError("it has values that no run can have")
    return table


def check_version(version: int, study: Path) -> None:
    """Accept files of this version only.

    Raises:
        StudyError: another version of the project wrote them.
    """
    if version != VERSION:
        raise StudyError(f"{study}: must be of format {VERSION}; found {version}; begin a new study (study=OTHER)")


def frame_of(parts: Sequence[pa.Table]) -> pd.DataFrame:
    """Return one row per run of these parts, in their order; see `read_study` for the columns."""
    table = pa.concat_tables([pa.schema(COLUMNS.items()).empty_table(), *parts], promote_options="default")
    others = sorted({*table.column_names} - {*COLUMNS})
    others = [name for name in others if not is_setting(name) or table[name].null_count < len(table)]
    names = sorted((*COLUMNS, *others), key=lambda name: (name.startswith(_PREFIXES), is_curve(name)))
    frame: pd.DataFrame = table.select(names).to_pandas()
    nothing = [np.full(n_epochs, np.nan) for n_epochs in frame["trainer.max_epochs"]]
    cells: dict[str, Any] = {}
    cells["batch.size"] = ["full" if size is None else size for size in table["batch.size"].to_pylist()]
    for name in names:
        if is_curve(name):
            cells[name] = [array if curve is None else curve for curve, array in zip(frame[name], nothing, strict=True)]
        elif type_of(name) == _JSON:
            cells[name] = [*map(_decoded, table[name].to_pylist())]
    return frame.assign(**cells)


def lacks_diagnostics(frame: pd.DataFrame, asked: DiagnosticsSection) -> "pd.Series[bool]":
    """Return which runs of a study's frame have completed without the diagnostics that are asked for."""
    wanted = [("gradient_norm/layer1", epoch) for epoch in (0, 1) if epoch == 0 or asked.name == "epochs"]
    wanted += [("gradient_noise/trace", epoch) for epoch in asked.curvature]
    found = pd.Series(False, index=frame.index)
    for name, epoch in wanted:
        numbers = frame.get(f"{DIAGNOSTICS if epoch else INITIAL_PREFIX}{name}", pd.Series(np.nan, index=frame.index))
        found |= numbers.map(lambda cell, at=epoch: np.isnan(np.atleast_1d(cell)[max(at - 1, 0) : max(at, 1)]).any())
    return found & (frame["status"] == RunStatus.COMPLETED)


@cache
def _decoded(text: str | None) -> Setting:
    """Return a setting stored as JSON; lists become tuples, nested values and what is not JSON stay text."""
    try:
        value = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, list | dict) for item in value)):
        return text
    return tuple(value) if isinstance(value, list) else value


@cache
def _arguments() -> list[str]:
    """Return the arguments of all options of `conf/`, which are columns of every part."""
    contents = [(group, option_content(group, option)) for group in NAMED_SECTIONS for option in options(group)]
    return sorted({f"{group}.{key}" for group, content in contents for key in content})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
