"""The rows of a ledger as a DataFrame: identity, settings, learning curves, final scores."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pima_hp.config import Config
from pima_hp.config.flat import columns_of
from pima_hp.ledger.parts import CURVE, SCHEMA, SCORE_PREFIX
from pima_hp.run import CURVES, RunStatus, replicate_of

RUN_COLUMNS = tuple(name for name in SCHEMA.names if name != "configuration")


def setting_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of a study's frame that are settings (`activation`, `optimizer.lr`, ...)."""
    return [name for name in frame.columns if name.partition(".")[0] in Config.model_fields]


def curve_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of a study's frame that are learning curves (`val/accuracy`, `lr`, ...)."""
    others = {*RUN_COLUMNS, *setting_columns(frame)}
    return [name for name in frame.columns if name not in others and not name.startswith(SCORE_PREFIX)]


def replicates_of(frame: pd.DataFrame) -> list[tuple[int, ...]]:
    """Return the seeds that distinguish each run from other replicates; see `replicate_of`."""
    columns = ("init_seed", "split_seed", "order_seed", "batch.shuffle", "batch.size", "n_train")
    return list(map(replicate_of, *(frame[name].tolist() for name in columns)))


def distinct(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs without copies: those of one configuration whose seeds that matter are equal are one run.

    Of copies the one with the lowest seed is kept that did not fail; the order of rows stays.
    """
    if frame.empty:
        return frame
    keys = list(zip(frame["config_id"], replicates_of(frame), strict=True))
    if len(set(keys)) == len(keys):
        return frame
    failed = frame["status"] == RunStatus.FAILED
    ranks = list(zip(failed, frame["seed"], frame["run_id"], strict=True))
    kept: dict[Any, int] = {}
    for row in sorted(range(len(frame)), key=lambda row: ranks[row]):
        kept.setdefault(keys[row], row)
    return frame.iloc[sorted(kept.values())]


def frame_of(table: pa.Table, rows: Sequence[int]) -> pd.DataFrame:
    """One row per run: these rows of the table, in this order; the columns are those that `read_study` describes."""
    order = np.array(rows, np.int64)
    logged = {field.name for field in table.schema if field.type == CURVE}
    scores = sorted(name for name in table.column_names if name.startswith(SCORE_PREFIX))
    others = table.drop_columns(list(logged)).take(order)
    runs, settings = others.select(RUN_COLUMNS).to_pandas(), _settings(others["configuration"])
    curves = {
        key: curve_views(table[key])[order] if key in logged else np.full(len(runs), None)
        for key in (*CURVES, *sorted(logged - {*CURVES}))
    }
    for views in curves.values():
        for row in [row for row, view in enumerate(views) if view is None]:
            views[row] = _nothing(int(settings["trainer.max_epochs"][row]))
    frame: pd.DataFrame = pd.concat(
        [runs, settings, pd.DataFrame(curves, runs.index, dtype=object), others.select(scores).to_pandas()], axis=1
    )
    return frame


@cache
def _nothing(n_epochs: int) -> np.ndarray[Any, Any]:
    """One read-only array for all runs of that length."""
    values = np.full(n_epochs, np.nan)
    values.flags.writeable = False
    return values


def _settings(configurations: pa.ChunkedArray) -> pd.DataFrame:
    """(runs, settings); each distinct configuration is parsed once, what it lacks is missing (NaN)."""
    encoded = _whole(configurations).dictionary_encode()
    distinct = [columns_of(json.loads(text)) for text in encoded.dictionary.to_pylist()]
    return pd.DataFrame(distinct).take(encoded.indices.to_numpy()).reset_index(drop=True)


def curve_views(lists: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """(runs,) of objects: each a read-only view, of shape (E,), into what was read; None where there is no curve.

    Most of a study is never copied.
    """
    views = np.empty(len(lists), dtype=object)
    row = 0
    for chunk in lists.chunks:
        values, offsets = chunk.values.to_numpy(), chunk.offsets.to_pylist()  # noqa: PD011 -- of arrow, not of pandas
        for start, stop, valid in zip(offsets[:-1], offsets[1:], chunk.is_valid().to_pylist(), strict=True):
            views[row] = values[start:stop] if valid else None
            row += 1
    return views


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """One array of all chunks, that starts at the first value of its buffers."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
