"""One part of a ledger: some runs as the bytes of a Parquet file that is named by the digest of its bytes."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pima_hp.errors import StudyError
from pima_hp.run import CURVE_KEYS, Array, RunRecord

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
        pa.field("engine", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("versions", pa.string(), nullable=False),  # JSON
        pa.field("configuration", pa.string(), nullable=False),  # JSON of Config.model_dump(by_alias=True)
        pa.field("scores", pa.map_(pa.string(), pa.float64()), nullable=False),
        *(pa.field(key, pa.list_(pa.float64()), nullable=False) for key in CURVE_KEYS.values()),
    ],
    metadata={_VERSION_KEY: str(VERSION).encode()},
)
"""One row per run; a learning curve is a list under its key (`val/accuracy`), NaN where there is no score."""


class DamagedPartError(Exception):
    """A part that cannot be trusted; the text says what is wrong with it."""


def part_name(content: bytes) -> str:
    """The only name under which these bytes are believed."""
    return hashlib.sha256(content).hexdigest()[:32] + SUFFIX


def encoded(records: Sequence[RunRecord]) -> bytes:
    """The bytes of a part; equal records give equal bytes."""
    distinct = {id(record.config): record.config for record in records}  # runs of a job share one object
    written = {identity: json.dumps(one.model_dump(by_alias=True)) for identity, one in distinct.items()}
    columns: dict[str, object] = {
        "run_id": [record.id for record in records],
        "config_id": [record.config.id for record in records],
        "seed": [record.seeds.seed for record in records],
        "init_seed": [record.seeds.init for record in records],
        "split_seed": [record.seeds.split for record in records],
        "order_seed": [record.seeds.order for record in records],
        "status": [record.status.value for record in records],
        "stop_epoch": [record.stop_epoch for record in records],
        "n_updates": [record.n_updates for record in records],
        "n_train": [record.n_train for record in records],
        "positive_rate": [record.positive_rate for record in records],
        "duration_s": [record.duration_s for record in records],
        "engine": [record.engine for record in records],
        "message": [record.message for record in records],
        "versions": [json.dumps(record.versions, sort_keys=True) for record in records],
        "configuration": [written[id(record.config)] for record in records],
        "scores": [sorted(record.scores.items()) for record in records],
        **{key: _lists([getattr(r.curves, name) for r in records]) for name, key in CURVE_KEYS.items()},
    }
    arrays = [
        pa.array(columns[field.name], field.type) if isinstance(columns[field.name], list) else columns[field.name]
        for field in SCHEMA
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), sink, compression="zstd", write_statistics=False)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def check_version(version: int, study: Path) -> None:
    """Accept files of this version only.

    Raises:
        StudyError: another version of the project wrote them.
    """
    if version < VERSION:
        raise StudyError(
            f"{study}: made by a version of pima_hp that could mix kernels, so its numbers may be wrong; "
            "begin a new study (study=OTHER)"
        )
    if version > VERSION:
        raise StudyError(
            f"{study}: the schema version must be {VERSION}; written by version {version}; update pima_hp to read it"
        )


def decoded(path: Path, content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a part, all columns or some, after its bytes were compared with its name.

    Args:
        path: `<study>/ledger/<name of the part>`.
        content: what that file holds.
        columns: those wanted.

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
        schema = pa.schema([SCHEMA.field(column) for column in columns or SCHEMA.names])
        return file.read(columns=schema.names, use_threads=False).select(schema.names).cast(schema)
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise DamagedPartError(f"it is not a part of a ledger: {error}".splitlines()[0]) from error


def _lists(curves: Sequence[Array]) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum([len(curve) for curve in curves])])
    values = np.concatenate([np.asarray(curve, dtype=np.float64) for curve in curves])
    values[np.isnan(values)] = np.nan  # a NaN has many bit patterns; equal results must be equal bytes
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
