"""One part of a ledger: some runs as the bytes of a Parquet file that is named by the digest of its bytes."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pima_hp.config import Config
from pima_hp.errors import StudyError
from pima_hp.run import Array, Results

VERSION = 3
"""Of the files of a ledger, its parts and its manifest: raised when the meaning of a column changes."""

SUFFIX = ".parquet"
_VERSION_KEY = b"pima_hp.schema_version"

SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("run_id", "config_id")),
        *(pa.field(f"{role}seed", pa.uint32(), nullable=False) for role in ("", "init_", "split_", "order_")),
        pa.field("status", pa.string(), nullable=False),
        pa.field("stop_epoch", pa.int64(), nullable=False),
        pa.field("n_updates", pa.int64(), nullable=False),
        pa.field("n_train", pa.int64()),  # null for a run that failed
        pa.field("positive_rate", pa.float64()),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("ended_s", pa.float64(), nullable=False),  # since 1970
        pa.field("engine", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("versions", pa.string(), nullable=False),  # JSON
        pa.field("configuration", pa.string(), nullable=False),  # JSON of Config.model_dump(by_alias=True)
    ],
    metadata={_VERSION_KEY: str(VERSION).encode()},
)
"""One row per run. Beside these columns, a part has one for each learning curve and each final score of its runs."""

SCORE_PREFIX = "final/"
"""Begins the column of a final score, a number: `final/val/auroc`, NaN where there is none."""

CURVE = pa.list_(pa.float64())
"""Type of the column of a learning curve, under its key: `val/accuracy`, NaN where there is no score."""


class DamagedPartError(Exception):
    """A part that cannot be trusted; the text says what is wrong with it."""


def part_name(content: bytes) -> str:
    """Return the file name that these bytes must have, from their digest."""
    return hashlib.sha256(content).hexdigest()[:32] + SUFFIX


def encoded(results: Results) -> bytes:
    """The bytes of a part; equal results give equal bytes."""
    runs, n_runs = results.runs, len(results)
    for key in results.curves:
        if key in SCHEMA.names or key.partition(".")[0] in Config.model_fields or key.startswith(SCORE_PREFIX):
            raise ValueError(f"a learning curve must not be named like another column; found {key!r}")
    written: dict[int, str] = {}
    for run in runs:
        if id(run.config) not in written:  # runs of a job share one object
            written[id(run.config)] = json.dumps(run.config.model_dump(by_alias=True))
    seeds = np.array([run.seeds for run in runs], np.uint32)
    columns: dict[str, object] = {
        "run_id": [run.id for run in runs],
        "config_id": [run.config.id for run in runs],
        **dict(zip(("seed", "init_seed", "split_seed", "order_seed"), seeds.T, strict=True)),
        "status": list(map(str, results.status)),
        "stop_epoch": results.stop_epoch,
        "n_updates": results.n_updates,
        "n_train": [results.n_train or None] * n_runs,
        "positive_rate": pa.array(results.positive_rate, from_pandas=True),  # NaN becomes null
        "duration_s": np.full(n_runs, results.duration_s),
        "ended_s": np.full(n_runs, results.ended_s),
        "engine": [results.engine] * n_runs,
        "message": [results.message] * n_runs,
        "versions": [json.dumps(dict(results.versions), sort_keys=True)] * n_runs,
        "configuration": [written[id(run.config)] for run in runs],
    }
    arrays = {field.name: pa.array(columns[field.name], field.type) for field in SCHEMA}
    arrays |= {key: _lists(results.curves[key]) for key in sorted(results.curves)}
    arrays |= {SCORE_PREFIX + key: pa.array(_canonical(results.scores[key])) for key in sorted(results.scores)}
    fields = [*SCHEMA, *(pa.field(name, array.type) for name, array in list(arrays.items())[len(SCHEMA) :])]
    table = pa.Table.from_arrays(list(arrays.values()), schema=pa.schema(fields, SCHEMA.metadata))
    paths = {field.name: f"{field.name}.list.element" if field.type == CURVE else field.name for field in table.schema}
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
    return content


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


def decoded(path: Path, content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a part, all columns or some, after its bytes were compared with its name.

    Columns that are neither of `SCHEMA` nor a curve nor a final score are left out.

    Args:
        path: `<study>/ledger/<name of the part>`.
        content: what that file holds.
        columns: those wanted; a curve or final score that the part lacks is left out.

    Raises:
        DamagedPartError: any bit differs from what was written, or it never was a part.
        StudyError: it was written by another version of the project.
    """
    if part_name(content) != path.name:
        raise DamagedPartError(f"its {len(content):,} bytes are not those that were written")
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        version = int((file.schema_arrow.metadata or {}).get(_VERSION_KEY, b"0"))
        if version < 1:
            raise DamagedPartError("it was not written by pima_hp")
        check_version(version, path.parent.parent)
        found = file.schema_arrow
        others = [field for field in found if field.type == CURVE or field.name.startswith(SCORE_PREFIX)]
        known = {field.name: field for field in (*SCHEMA, *others)}
        schema = pa.schema([known[column] for column in columns if column in known] if columns else known.values())
        return file.read(columns=schema.names, use_threads=False).select(schema.names).cast(schema)
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise DamagedPartError(f"it is not a part of a ledger: {error}".splitlines()[0]) from error


def _canonical(values: Array) -> Array:
    """A copy whose NaNs have one bit pattern: equal results must be equal bytes."""
    return np.where(np.isnan(values), np.nan, values)


def _lists(curves: Array) -> pa.ListArray:
    """Curves (M, E) as a column of lists."""
    n_runs, n_epochs = curves.shape
    return pa.ListArray.from_arrays(np.arange(n_runs + 1, dtype=np.int32) * n_epochs, _canonical(curves).ravel())
