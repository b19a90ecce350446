"""A part of a ledger: runs as a Parquet file of flat columns, named by the digest of its bytes."""

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pima_hp.config import Config
from pima_hp.config.options import NAMED_SECTIONS, Setting, option_content, options
from pima_hp.errors import StudyError
from pima_hp.ledger.files import read_file
from pima_hp.run import CURVES, Results, RunStatus

VERSION = 4
"""Of a study's parts and manifest; raised when the meaning of a column changes."""

SCORE_PREFIX = "final/"
"""Begins the column of a final score, a number: `final/val/auroc`, NaN where there is none."""

_SECTIONS = frozenset({*Config.model_fields, "callback_order"})
_VERSION_KEY = b"pima_hp.schema_version"
_TEXT, _NUMBER, _WHOLE = pa.string(), pa.float64(), pa.int64()
_CURVE = pa.list_(_NUMBER)
_SEEDS = ("seed", "init_seed", "split_seed", "order_seed")
RUN_COLUMNS = {
    **dict.fromkeys(("run_id", "config_id"), _TEXT),
    **dict.fromkeys(_SEEDS, _WHOLE),
    "status": _TEXT,
    **dict.fromkeys(("stop_epoch", "n_updates", "n_train"), _WHOLE),
    **dict.fromkeys(("positive_rate", "duration_s", "ended_s"), _NUMBER),
    **dict.fromkeys(("engine", "message", "versions"), _TEXT),
}
SETTINGS = {
    **dict.fromkeys((*NAMED_SECTIONS, *(f"{section}._target_" for section in NAMED_SECTIONS)), _TEXT),
    **dict.fromkeys(("optimizer.lr", "data.test_fraction", "data.val_fraction"), _NUMBER),
    **dict.fromkeys(("batch.size", "trainer.max_epochs"), _WHOLE),
    **dict.fromkeys(("batch.shuffle", "data.stratified"), pa.bool_()),
    **dict.fromkeys(("data.label", "data.missing", "data.scaling", "data_digest", "data.path"), _TEXT),
    "trainer.precision": _TEXT,
}
"""Settings of every configuration, with their column types. All other settings are stored as JSON text."""

COLUMNS = {**RUN_COLUMNS, **SETTINGS, **dict.fromkeys(CURVES, _CURVE)}
_OPTIONAL = {"n_train", "positive_rate", "scheduler._target_", "batch.size", "data.path", *CURVES}
"""Null for a run that failed, no schedule, `batch.size=full`, the shipped table."""


class DamagedPartError(Exception):
    """A part that is not as it was written; the message is the reason."""


def is_setting(name: str) -> bool:
    """Whether a column is a setting: its name begins with that of a section of the configuration."""
    return name.partition(".")[0] in _SECTIONS


def is_curve(name: str) -> bool:
    """Whether a column is a learning curve: it is nothing else."""
    return not (is_setting(name) or name in RUN_COLUMNS or name.startswith(SCORE_PREFIX))


def encoded(results: Results) -> tuple[str, bytes]:
    """Return the name and the bytes of a part; equal results give equal bytes."""
    if taken := [key for key in results.curves if not is_curve(key)]:
        raise ValueError(f"a learning curve must not be named like another column; found {taken[0]!r}")
    runs = results.runs
    rows = {
        "run_id": [run.id for run in runs],
        "config_id": [run.config.id for run in runs],
        **dict(zip(_SEEDS, zip(*(run.seeds for run in runs), strict=True), strict=True)),
        "status": list(map(str, results.status)),
        "stop_epoch": results.stop_epoch,
        "n_updates": results.n_updates,
        "n_train": results.n_train or None,
        "positive_rate": results.positive_rate,
        "duration_s": results.duration_s,
        "ended_s": results.ended_s,
        "engine": results.engine,
        "message": results.message.encode(errors="backslashreplace").decode(),  # no lone surrogates
        "versions": json.dumps(dict(results.versions), sort_keys=True),
        **{SCORE_PREFIX + key: scores for key, scores in sorted(results.scores.items())},
    }
    flats = {run.config.id: run.config.flat for run in runs}
    keys = dict.fromkeys((*SETTINGS, *_arguments(), *(key for flat in flats.values() for key in flat)))
    cells = {key: [_cell(key, flat.get(key)) for flat in flats.values()] for key in keys}
    frame = pd.DataFrame(rows).join(pd.DataFrame(cells, [*flats], dtype=object), on="config_id")
    kinds = {name: COLUMNS.get(name, _TEXT if name in keys else _NUMBER) for name in frame.columns}
    table = pa.Table.from_pandas(frame, pa.schema(kinds.items()), preserve_index=False)
    curves = {key: pa.nulls(len(runs), _CURVE) for key in CURVES} | {
        key: pa.ListArray.from_arrays(np.arange(len(runs) + 1, dtype=np.int32) * values.shape[1], values.ravel())
        for key, values in results.curves.items()  # (M, E)
    }
    for key in sorted(curves):
        table = table.append_column(key, curves[key])
    losses = [f"{key}.list.element" for key in results.curves if "loss" in key]  # no two are alike
    how = {"compression": "zstd", "write_statistics": False, "use_dictionary": False, "store_schema": False}
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, use_byte_stream_split=losses, **how) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_VERSION_KEY: str(VERSION)})
    content = sink.getvalue().to_pybytes()
    # pandas takes the columns of the first file in a folder, so the widest part must sort first
    return f"{max(0, 999 - table.num_columns):03}-{_digest(content)}.parquet", content


def read_part(path: Path) -> pa.Table:
    """Return the rows of a part, after its bytes were compared with its name.

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
        return _checked(file.read(use_threads=False))
    except (pa.ArrowException, LookupError, TypeError, ValueError, OSError, RecursionError) as error:
        raise DamagedPartError(" ".join(str(error).split())[:200]) from error


def check_version(version: int, study: Path) -> None:
    """Accept files of this version only.

    Raises:
        StudyError: another version of the project wrote them.
    """
    if version > VERSION:
        raise StudyError(f"{study}: written by a later version; update pima_hp")
    if version < VERSION:
        older = "an earlier development version, so its numbers may be wrong; begin a new study (study=OTHER)"
        raise StudyError(f"{study}: written by {older}")


def _checked(table: pa.Table) -> pa.Table:
    """Return the known columns, each cast to its type.

    Raises:
        ValueError: a value is impossible for a run (only in a file made by hand, as the digest was right).
    """
    known = {name: table[name].cast(kind) for name, kind in COLUMNS.items()}
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        usual = _TEXT if is_setting(name) else _NUMBER if name.startswith(SCORE_PREFIX) else _CURVE
        if name not in known and kind == usual:
            known[name] = table[name]
            if is_setting(name) and known[name].null_count < len(table):
                set(map(_decoded, known[name].to_pylist()))
    epochs, stops = known["trainer.max_epochs"].to_numpy(), known["stop_epoch"].to_numpy()
    curves = [column for column in known.values() if column.type == _CURVE]
    sound = (
        not any(known[name].null_count for name in {*COLUMNS} - _OPTIONAL)
        and all(re.fullmatch("[0-9a-f]{16}", one.as_py()) for name in ("run_id", "config_id") for one in known[name])
        and {*known["status"].to_pylist()} <= {*RunStatus}
        and ((epochs > 0) & (epochs <= 1_000_000) & (stops >= 0) & (stops <= epochs)).all()
        and all(
            pc.all(pc.equal(pc.list_value_length(lists), epochs), min_count=0).as_py()
            and not pc.list_flatten(lists).null_count
            for lists in curves
        )
    )
    if not sound:
        raise ValueError("it has values that no run can have")
    return pa.table(known)


def frame_of(parts: Sequence[pa.Table]) -> pd.DataFrame:
    """Return one row per run of these parts, in their order; see `read_study` for the columns."""
    table = pa.concat_tables([pa.schema(COLUMNS.items()).empty_table(), *parts], promote_options="default")
    others = sorted({*table.column_names} - {*COLUMNS})
    settings = [name for name in others if is_setting(name) and table[name].null_count < len(table)]
    scores = [name for name in others if name.startswith(SCORE_PREFIX)]
    curves = [*CURVES, *filter(is_curve, others)]
    frame: pd.DataFrame = table.select([*RUN_COLUMNS, *SETTINGS, *settings, *curves, *scores]).to_pandas()
    columns: dict[str, Any] = {name: [_decoded(text) for text in table[name].to_pylist()] for name in settings}
    columns["batch.size"] = ["full" if size is None else size for size in table["batch.size"].to_pylist()]
    nothing = [*map(_nothing, frame["trainer.max_epochs"])]
    for name in curves:
        columns[name] = [none if curve is None else curve for curve, none in zip(frame[name], nothing, strict=True)]
    return frame.assign(**columns)


@cache
def _nothing(n_epochs: int) -> np.ndarray[Any, Any]:
    """Return one read-only array for all runs of that length."""
    values = np.full(n_epochs, np.nan)
    values.flags.writeable = False
    return values


@cache
def _decoded(text: str | None) -> Setting:
    """Decode a setting stored as JSON: lists become tuples, nested values stay text."""
    value = None if text is None else json.loads(text)
    nested = any(isinstance(item, list | dict) for item in (value if isinstance(value, list) else [value]))
    return text if nested else tuple(value) if isinstance(value, list) else value


def _cell(key: str, value: Setting) -> Setting:
    """Encode a setting for its column: JSON unless the column has a type; null for `batch.size=full`."""
    if key not in SETTINGS and value is not None:
        return json.dumps(value)
    return None if (key, value) == ("batch.size", "full") else value


@cache
def _arguments() -> list[str]:
    """Return the arguments of all options of `conf/`, which are columns of every part."""
    contents = [(group, option_content(group, option)) for group in NAMED_SECTIONS for option in options(group)]
    return sorted({f"{group}.{key}" for group, content in contents for key in content})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
