"""One part of a ledger: some runs as a Parquet file of flat columns that is named by the digest of its bytes."""

import hashlib
import json
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pima_hp.config import Config
from pima_hp.config.flat import Setting
from pima_hp.errors import StudyError
from pima_hp.run import CURVES, Array, Results, RunStatus

VERSION = 4
"""Of a study's parts and manifest; raised when the meaning of a column changes."""

SUFFIX = ".parquet"
SCORE_PREFIX = "final/"
"""Begins the column of a final score, a number: `final/val/auroc`, NaN where there is none."""

CURVE = pa.list_(pa.float64())
"""Type of the column of a learning curve, under its key: `val/accuracy`, NaN where there is no score."""

MAX_EPOCHS = 1_000_000
_VERSION_KEY = b"pima_hp.schema_version"
_TEXT, _TEXTS, _NUMBER, _INTEGER = pa.string(), pa.list_(pa.string()), pa.float64(), pa.int64()
_RUN = {
    **dict.fromkeys(("run_id", "config_id"), _TEXT),
    **dict.fromkeys(("seed", "init_seed", "split_seed", "order_seed"), pa.uint32()),
    "status": _TEXT,
    "stop_epoch": _INTEGER,
    "n_updates": _INTEGER,
    "n_train": _INTEGER,
    "positive_rate": _NUMBER,  # null for a run that failed
    "duration_s": _NUMBER,
    "ended_s": _NUMBER,  # since 1970
    "engine": _TEXT,
    "message": _TEXT,
    "versions": _TEXT,  # versions: JSON
}
_SETTINGS = {
    **dict.fromkeys(("activation", "optimizer", "scheduler"), _TEXT),
    **dict.fromkeys(("data.path", "data.label", "data.missing", "data.scaling", "data_digest"), _TEXT),
    **dict.fromkeys(("data.features", "data.zero_is_missing"), _TEXTS),
    "data.test_fraction": _NUMBER,
    "data.val_fraction": _NUMBER,
    "data.stratified": pa.bool_(),
    **dict.fromkeys(("activation._target_", "optimizer._target_", "scheduler._target_", "scheduler.monitor"), _TEXT),
    "optimizer.lr": _NUMBER,
    "batch.size": _INTEGER,
    "batch.shuffle": pa.bool_(),  # batch.size: null for "full"
    "trainer.max_epochs": _INTEGER,
    "trainer.precision": _TEXT,
}
_NULLABLE = {
    *("n_train", "positive_rate", "data.path", "data.features", "scheduler._target_", "scheduler.monitor"),
    *("batch.size", *CURVES),
}
RUN_COLUMNS = tuple(_RUN)
SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=name in _NULLABLE)
        for name, kind in {**_RUN, **_SETTINGS, **dict.fromkeys(CURVES, CURVE)}.items()
    ],
    metadata={_VERSION_KEY: str(VERSION).encode()},
)
"""Columns of every part, a row per run. A part has others for other settings, learning curves and final scores."""

Kinds = Mapping[str, frozenset[pa.DataType]]
"""Setting -> the types of its values."""


class DamagedPartError(Exception):
    """A part that cannot be trusted; the text says what is wrong with it."""


def is_setting(name: str) -> bool:
    """Whether a column is a setting: its name begins with that of a section of the configuration."""
    return name.partition(".")[0] in {*Config.model_fields, "callback_order"}


def kinds_of(configurations: Iterable[Mapping[str, Setting]]) -> Kinds:
    """Return the types of the settings that are not in every part, over some configurations."""
    kinds: dict[str, frozenset[pa.DataType]] = {}
    for settings in configurations:
        for key, value in settings.items():
            if value is not None and key not in _SETTINGS:
                kinds[key] = kinds.get(key, frozenset()) | {_kind(value)}
    return kinds


def encoded(results: Results, study: Kinds | None = None) -> tuple[str, bytes]:
    """Return the name and the bytes of a part; equal results give equal bytes.

    Args:
        results: of some runs.
        study: the settings of the whole study. Each part has a column for all of them, because pandas and others read
            the columns that the first file of a folder has. For the same reason the widest part sorts first.
    """
    for key in results.curves:
        if (key in SCHEMA.names and key not in CURVES) or is_setting(key) or key.startswith(SCORE_PREFIX):
            raise ValueError(f"a learning curve must not be named like another column; found {key!r}")
    n_runs = len(results)
    configs = {id(run.config): run.config for run in results.runs}  # runs of a job share one object
    seeds = np.array([run.seeds for run in results.runs], np.uint32)
    columns = {
        "run_id": [run.id for run in results.runs],
        "config_id": [run.config.id for run in results.runs],
        **dict(zip(("seed", "init_seed", "split_seed", "order_seed"), seeds.T, strict=True)),
        "status": list(map(str, results.status)),
        "stop_epoch": results.stop_epoch,
        "n_updates": results.n_updates,
        "n_train": [results.n_train or None] * n_runs,
        "positive_rate": pa.array(results.positive_rate, from_pandas=True),  # NaN becomes null
        "duration_s": np.full(n_runs, results.duration_s),
        "ended_s": np.full(n_runs, results.ended_s),
        "engine": [results.engine] * n_runs,
        "message": [_utf8(results.message)] * n_runs,
        "versions": [json.dumps(dict(results.versions), sort_keys=True)] * n_runs,
    }
    arrays = {name: pa.array(values, _RUN[name]) for name, values in columns.items()}
    row_of = {key: row for row, key in enumerate(configs)}
    rows = pa.array([row_of[id(run.config)] for run in results.runs])
    settings = _settings([config.flat for config in configs.values()], study or {})
    arrays |= {name: values.take(rows) for name, values in settings.items()}
    arrays |= {key: _lists(results.curves[key]) for key in sorted(results.curves)}
    arrays |= {SCORE_PREFIX + key: pa.array(_canonical(results.scores[key])) for key in sorted(results.scores)}
    arrays |= {key: pa.nulls(n_runs, CURVE) for key in CURVES if key not in arrays}
    fields = {**{name: pa.field(name, values.type) for name, values in arrays.items()}, **{f.name: f for f in SCHEMA}}
    schema = pa.schema([fields[name] for name in (*SCHEMA.names, *(key for key in arrays if key not in SCHEMA.names))])
    table = pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema.with_metadata(SCHEMA.metadata))
    paths = {
        field.name: f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name for field in schema
    }
    losses = [path for name, path in paths.items() if name in results.curves and "loss" in name]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        write_statistics=False,
        use_dictionary=[path for path in paths.values() if path not in losses],
        column_encoding=dict.fromkeys(losses, "BYTE_STREAM_SPLIT"),  # no two alike: smaller, in less than half the time
    )
    content: bytes = sink.getvalue().to_pybytes()
    return f"{max(0, 999 - len(schema)):03}-{_digest(content)}{SUFFIX}", content


def read_part(path: Path, columns: Sequence[str] = ()) -> pa.Table:
    """Return the rows of a part, all columns or some, after its bytes were compared with its name.

    Args:
        path: `<study>/ledger/<name of the part>`.
        columns: those wanted, of `SCHEMA`.

    Raises:
        DamagedPartError: any bit differs from what was written, or this project never wrote it.
        StudyError: it was written by another version of the project.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(path.lstat().st_mode):  # a link or a pipe is never followed
        raise DamagedPartError("it is not a regular file")
    content = path.read_bytes()
    if _digest(content) not in path.stem:
        raise DamagedPartError(f"its {len(content):,} bytes are not those that were written")
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        found = file.schema_arrow
        check_version(int((found.metadata or {})[_VERSION_KEY]), path.parent.parent)
        known = {field.name: field for field in found if _is_known(field)} | {field.name: field for field in SCHEMA}
        schema = pa.schema([known[name] for name in columns or known])
        table = file.read(columns=schema.names, use_threads=False).select(schema.names).cast(schema)
        _check(table)
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise DamagedPartError(f"it is not a part of a ledger: {error}".splitlines()[0]) from error
    return table


def check_version(version: int, study: Path) -> None:
    """Accept files of this version only.

    Raises:
        StudyError: another version of the project wrote them.
    """
    if version < VERSION:
        raise StudyError(
            f"{study}: written by an earlier development version of pima_hp, so its numbers may be wrong and its "
            "columns differ; begin a new study (study=OTHER)"
        )
    if version > VERSION:
        raise StudyError(
            f"{study}: the schema version must be {VERSION}; written by version {version}; update pima_hp to read it"
        )


def _check(table: pa.Table) -> None:
    """Refuse with ValueError what no run can be; only a file made by hand has both the right digest and such rows."""
    for name in {"run_id", "config_id"} & {*table.column_names}:
        if not pc.all(pc.match_substring_regex(table[name], "^[0-9a-f]{16}$"), min_count=0).as_py():
            raise ValueError(f"{name} must be 16 hexadecimal digits")
    if unknown := {*table["status"].unique().to_pylist()} - {*RunStatus}:
        raise ValueError(f"status must be one of {', '.join(RunStatus)}; found {min(unknown)!r:.60}")
    n_epochs, stops = table["trainer.max_epochs"].to_numpy(), table["stop_epoch"].to_numpy()
    if not ((n_epochs > 0) & (n_epochs <= MAX_EPOCHS) & (stops >= 0) & (stops <= n_epochs)).all():
        raise ValueError(f"epochs must be from 1 to {MAX_EPOCHS:,}, and stop_epoch one of them or 0")
    for name in (field.name for field in table.schema if field.type == CURVE and not is_setting(field.name)):
        lengths = pc.list_value_length(table[name])
        if (
            not pc.all(pc.equal(lengths, table["trainer.max_epochs"]), min_count=0).as_py()
            or pc.list_flatten(table[name]).null_count
        ):
            raise ValueError(f"{name} must have a number for each of the epochs")


def _is_known(field: pa.Field) -> bool:
    """Whether a column that not every part has is a setting, a learning curve or a final score."""
    if is_setting(field.name):
        return field.type in (_TEXT, _NUMBER, pa.bool_(), _TEXTS, CURVE)
    return bool(field.type == (_NUMBER if field.name.startswith(SCORE_PREFIX) else CURVE))


def _settings(configurations: Sequence[Mapping[str, Setting]], study: Kinds) -> dict[str, pa.Array]:
    """Return the columns of settings, a row per configuration."""
    own = kinds_of(configurations)
    kinds = dict(_SETTINGS)
    for key in sorted({*own, *study}):
        found = own.get(key, frozenset()) | study.get(key, frozenset())
        kinds[key] = next(iter(found)) if len(found) == 1 else _TEXT
    return {
        key: pa.array([_cell(settings.get(key), kind) for settings in configurations], kind)
        for key, kind in kinds.items()
    }


def _kind(value: Setting) -> pa.DataType:
    """Return the type of a setting's column. All numbers have one: 0 and 0.9 may be momenta of one study."""
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, tuple) and value:
        kinds = {_kind(item) for item in value}
        return CURVE if kinds == {_NUMBER} else _TEXTS if kinds == {_TEXT} else _TEXT
    return _NUMBER if isinstance(value, int | float) and abs(value) < 1e300 else _TEXT


def _cell(value: Setting, kind: pa.DataType) -> Any:
    """Return a setting as a value of its column: what no column can hold as it is becomes JSON."""
    if value is None or (kind == _INTEGER and isinstance(value, str)):  # batch.size=full
        return None
    if kind == _TEXT:
        return _utf8(value if isinstance(value, str) else json.dumps(value))
    return float(value) if isinstance(value, int) and kind == _NUMBER else value


def _utf8(text: str) -> str:
    """Return a text without lone surrogates, which no file can hold (they stand for bytes of foreign file names)."""
    return text.encode(errors="backslashreplace").decode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _canonical(values: Array) -> Array:
    """Return a copy whose NaNs have one bit pattern: equal results must be equal bytes."""
    return np.where(np.isnan(values), np.nan, values)


def _lists(curves: Array) -> pa.ListArray:
    """Return curves (M, E) as a column of lists."""
    n_runs, n_epochs = curves.shape
    return pa.ListArray.from_arrays(np.arange(n_runs + 1, dtype=np.int32) * n_epochs, _canonical(curves).ravel())
