"""One part of a ledger: some runs as a Parquet file of flat columns that is named by the digest of its bytes."""

import hashlib
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pima_hp.config import Config
from pima_hp.config.flat import NAMED_SECTIONS, Setting
from pima_hp.config.options import option_content, options
from pima_hp.errors import StudyError
from pima_hp.run import CURVES, Results, RunStatus

VERSION = 4
"""Of a study's parts and manifest; raised when the meaning of a column changes."""

SCORE_PREFIX = "final/"
"""Begins the column of a final score, a number: `final/val/auroc`, NaN where there is none."""

_SECTIONS = frozenset({*Config.model_fields, "callback_order"})
_VERSION_KEY = b"pima_hp.schema_version"
_TEXT, _NUMBER, _WHOLE = pa.string(), pa.float64(), pa.int64()
_CURVE = pa.list_(_NUMBER)
RUN_COLUMNS = {
    **dict.fromkeys(("run_id", "config_id"), _TEXT),
    **dict.fromkeys(("seed", "init_seed", "split_seed", "order_seed"), _WHOLE),
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
"""Settings that each configuration has, by the type of their columns; others are JSON."""

COLUMNS = {**RUN_COLUMNS, **SETTINGS, **dict.fromkeys(CURVES, _CURVE)}
_OPTIONAL = {"n_train", "positive_rate", "scheduler._target_", "batch.size", "data.path", *CURVES}
"""Null for a run that failed, no schedule, `batch.size=full`, the shipped table."""


class DamagedPartError(Exception):
    """A part that cannot be trusted; the text says what is wrong with it."""


def is_setting(name: str) -> bool:
    """Whether a column is a setting: its name begins with that of a section of the configuration."""
    return name.partition(".")[0] in _SECTIONS


def encoded(results: Results) -> tuple[str, bytes]:
    """Return the name and the bytes of a part; equal results give equal bytes."""
    if taken := [
        key for key in results.curves if is_setting(key) or key in RUN_COLUMNS or key.startswith(SCORE_PREFIX)
    ]:
        raise ValueError(f"a learning curve must not be named like another column; found {taken[0]!r}")
    runs, n_runs = results.runs, len(results)
    seeds = np.array([run.seeds for run in runs]).T
    values = {
        "run_id": [run.id for run in runs],
        "config_id": [run.config.id for run in runs],
        **dict(zip(("seed", "init_seed", "split_seed", "order_seed"), seeds, strict=True)),
        "status": list(map(str, results.status)),
        "stop_epoch": results.stop_epoch,
        "n_updates": results.n_updates,
        "n_train": [results.n_train or None] * n_runs,
        "positive_rate": pa.array(results.positive_rate, from_pandas=True),  # NaN becomes null
        "duration_s": [results.duration_s] * n_runs,
        "ended_s": [results.ended_s] * n_runs,
        "engine": [results.engine] * n_runs,
        "message": [_utf8(results.message)] * n_runs,
        "versions": [json.dumps(dict(results.versions), sort_keys=True)] * n_runs,
    }
    columns = {name: pa.array(values[name], kind) for name, kind in RUN_COLUMNS.items()}
    flats = {id(run.config): run.config.flat for run in runs}  # runs of a job share one object
    rows = pa.array([[*flats].index(id(run.config)) for run in runs])
    for key in dict.fromkeys((*SETTINGS, *_arguments(), *(key for flat in flats.values() for key in flat))):
        columns[key] = pa.array([_cell(key, flat.get(key)) for flat in flats.values()], SETTINGS.get(key, _TEXT)).take(
            rows
        )
    columns |= {key: pa.nulls(n_runs, _CURVE) for key in CURVES}
    for key, curves in sorted(results.curves.items()):  # (M, E)
        columns[key] = pa.ListArray.from_arrays(np.arange(n_runs + 1, dtype=np.int32) * curves.shape[1], curves.ravel())
    columns |= {SCORE_PREFIX + key: pa.array(scores) for key, scores in sorted(results.scores.items())}
    sink = pa.BufferOutputStream()
    table = pa.table(columns)
    losses = [f"{key}.list.element" for key in results.curves if "loss" in key]  # no two are alike
    how = {"compression": "zstd", "write_statistics": False, "use_dictionary": False, "store_schema": False}
    with pq.ParquetWriter(sink, table.schema, use_byte_stream_split=losses, **how) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_VERSION_KEY: str(VERSION)})
    content = sink.getvalue().to_pybytes()
    # readers such as pandas take the columns that the first file of a folder has: the widest sorts first
    return f"{max(0, 999 - len(columns)):03}-{_digest(content)}.parquet", content


def read_part(path: Path) -> pa.Table:
    """Return the rows of a part, after its bytes were compared with its name.

    Raises:
        DamagedPartError: any bit differs from what was written, or this project never wrote it.
        StudyError: it was written by another version of the project.
    """
    try:
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
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
    if version != VERSION:
        older = (
            "an earlier development version of pima_hp, so its numbers may be wrong; begin a new study (study=OTHER)"
        )
        raise StudyError(f"{study}: written by {older if version < VERSION else 'a later version; update pima_hp'}")


def _checked(table: pa.Table) -> pa.Table:
    """Return the columns that are known, each of its type, settings that are JSON decoded by `decoded`.

    Only a file made by hand has both the right digest and what raises a ValueError here.
    """
    known = {name: table[name].cast(kind) for name, kind in COLUMNS.items()}
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        if kind == (_TEXT if is_setting(name) else _NUMBER if name.startswith(SCORE_PREFIX) else _CURVE):
            known.setdefault(name, table[name])
    for name in {*known} - {*COLUMNS}:
        if is_setting(name):
            {decoded(text) for text in known[name].unique().to_pylist()}
    epochs, stops = known["trainer.max_epochs"].to_numpy(), known["stop_epoch"].to_numpy()
    ids = [*known["run_id"].to_pylist(), *known["config_id"].to_pylist()]
    sound = (
        not any(known[name].null_count for name in {*COLUMNS} - _OPTIONAL)
        and all(re.fullmatch("[0-9a-f]{16}", one) for one in ids)
        and {*known["status"].unique().to_pylist()} <= {*RunStatus}
        and ((epochs > 0) & (epochs <= 1_000_000) & (stops >= 0) & (stops <= epochs)).all()
    )
    for curves in (column for column in known.values() if column.type == _CURVE):
        lengths = pc.equal(pc.list_value_length(curves), known["trainer.max_epochs"])
        sound = sound and pc.all(lengths, min_count=0).as_py() and not pc.list_flatten(curves).null_count
    if not sound:
        raise ValueError("its columns hold what no run can have")
    return pa.table(known)


@cache
def decoded(text: str | None) -> Setting:
    """Return a setting that was stored as JSON; lists become tuples."""
    value = None if text is None else json.loads(text)
    return tuple(value) if isinstance(value, list) else value


def _cell(key: str, value: Setting) -> Setting:
    """Return a setting as its column holds it."""
    if key not in SETTINGS:
        return None if value is None else json.dumps(value)
    return None if (key, value) == ("batch.size", "full") else _utf8(value) if isinstance(value, str) else value


@cache
def _arguments() -> list[str]:
    """Return the arguments of all options of `conf/`: with them most parts have the same columns."""
    contents = [(group, option_content(group, option)) for group in NAMED_SECTIONS for option in options(group)]
    return sorted({f"{group}.{key}" for group, content in contents for key in content})


def _utf8(text: str) -> str:
    """Return a text without lone surrogates, which no file can hold (they stand for bytes of foreign file names)."""
    return text.encode(errors="backslashreplace").decode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
