"""The rows of a ledger as a DataFrame: identity, settings, learning curves, final scores."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pima_hp.config.flat import columns_of
from pima_hp.ledger.parts import SCHEMA
from pima_hp.run import CURVE_KEYS, RunStatus, replicate_of

CURVE_COLUMNS = tuple(CURVE_KEYS.values())
RUN_COLUMNS = tuple(name for name in SCHEMA.names if name not in ("configuration", "scores", *CURVE_COLUMNS))
SCORE_PREFIX = "final/"


def setting_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of a study's frame that are settings (`activation`, `optimizer.lr`, ...)."""
    others = {*RUN_COLUMNS, *CURVE_COLUMNS}
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
    others = table.drop_columns(list(CURVE_COLUMNS)).take(order)
    runs = others.select(RUN_COLUMNS).to_pandas()
    curves = pd.DataFrame({key: curve_views(table[key])[order] for key in CURVE_COLUMNS}, index=runs.index)
    columns = [runs, _settings(others["configuration"]), curves, _scores(others["scores"])]
    frame: pd.DataFrame = pd.concat(columns, axis=1)
    return frame


def _settings(configurations: pa.ChunkedArray) -> pd.DataFrame:
    """(runs, settings); each distinct configuration is parsed once, what it lacks is missing (NaN)."""
    encoded = _whole(configurations).dictionary_encode()
    distinct = [columns_of(json.loads(text)) for text in encoded.dictionary.to_pylist()]
    return pd.DataFrame(distinct).take(encoded.indices.to_numpy()).reset_index(drop=True)


def curve_views(lists: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """(runs,) of objects: each a read-only view, of shape (E,), into what was read; most of a study is never copied."""
    views = np.empty(len(lists), dtype=object)
    row = 0
    for chunk in lists.chunks:
        values, offsets = chunk.values.to_numpy(), chunk.offsets.to_pylist()  # noqa: PD011 -- of arrow, not of pandas
        for start, stop in itertools.pairwise(offsets):
            views[row] = values[start:stop]
            row += 1
    return views


def _scores(maps: pa.ChunkedArray) -> pd.DataFrame:
    """(runs, scores), NaN where a run has no such score."""
    whole = _whole(maps)
    keys = whole.keys.dictionary_encode()
    rows = np.repeat(np.arange(len(whole)), np.diff(whole.offsets.to_numpy()))
    scores = np.full((len(whole), len(keys.dictionary)), np.nan)
    scores[rows, keys.indices.to_numpy()] = whole.items.to_numpy()
    frame = pd.DataFrame(scores, columns=[SCORE_PREFIX + key for key in keys.dictionary.to_pylist()])
    return frame.sort_index(axis=1)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """One array of all chunks, that starts at the first value of its buffers."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
