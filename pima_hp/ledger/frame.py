"""The rows of a ledger as a DataFrame: identity, settings, learning curves, final scores."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pima_hp.ledger.parts import CURVE, RUN_COLUMNS, SCHEMA, SCORE_PREFIX, is_setting
from pima_hp.run import CURVES, RunStatus, replicate_of


def setting_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a study's frame that decide what a run computes (`activation`, `optimizer.lr`, ...)."""
    return [name for name in frame.columns if is_setting(name) and name != "data.path"]


def curve_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a study's frame that are learning curves (`val/accuracy`, `lr`, ...)."""
    others = {*RUN_COLUMNS, "data.path", *setting_columns(frame)}
    return [name for name in frame.columns if name not in others and not name.startswith(SCORE_PREFIX)]


def replicates_of(frame: pd.DataFrame) -> list[tuple[int, ...]]:
    """Return the seeds that distinguish each run from other replicates; see `replicate_of`."""
    columns = ("init_seed", "split_seed", "order_seed", "batch.shuffle", "batch.size", "n_train")
    return list(map(replicate_of, *(frame[name].tolist() for name in columns)))


def distinct(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the runs without copies: those of one configuration whose seeds that matter are equal are one run.

    Of copies the one with the lowest seed is kept that did not fail; the order of rows stays.
    """
    keys = pd.DataFrame({"config_id": frame["config_id"].tolist(), "replicate": replicates_of(frame)})
    ranks = pd.DataFrame({"failed": (frame["status"] == RunStatus.FAILED).tolist()})
    ranks[["seed", "run_id"]] = frame[["seed", "run_id"]].to_numpy()
    order = ranks.sort_values(["failed", "seed", "run_id"]).index
    return frame.iloc[np.sort(order[~keys.loc[order].duplicated()])]


def frame_of(parts: Sequence[pa.Table]) -> pd.DataFrame:
    """Return one row per run of these parts, in their order; the columns are those that `read_study` describes.

    Curves are views into the parts: most of a study is never copied.
    """
    tables = [SCHEMA.empty_table(), *parts]
    fields = {field.name: field.type for table in tables for field in table.schema}
    settings = [name for name in fields if is_setting(name)]
    curves = [name for name, kind in fields.items() if kind == CURVE and name not in settings]
    scores = sorted(name for name in fields if name.startswith(SCORE_PREFIX))
    columns: list[pd.DataFrame] = [
        *(pa.concat_tables([table.select(RUN_COLUMNS) for table in tables]).to_pandas(),),
        _settings(tables, settings),
        pd.DataFrame({key: _views(tables, key) for key in [*CURVES, *sorted({*curves} - {*CURVES})]}, dtype=object),
        pd.DataFrame({key: np.concatenate([_numbers(table, key) for table in tables]) for key in scores}),
    ]
    return pd.concat(columns, axis=1)


def _settings(tables: Sequence[pa.Table], names: list[str]) -> pd.DataFrame:
    """Return the settings (runs, settings); those of a configuration are read once."""
    found: dict[str, dict[str, Any]] = {}
    order: list[str] = []
    for table in tables:
        config_ids = table["config_id"].to_pylist()
        order += config_ids
        rows = {config_id: row for row, config_id in enumerate(config_ids) if config_id not in found}
        own = table.select([name for name in names if name in table.column_names]).take(
            pa.array(rows.values(), pa.int64())
        )
        found |= dict(zip(rows, own.to_pylist(), strict=True))
    for config_id, settings in found.items():
        values = {name: settings.get(name) for name in names} | {"batch.size": settings["batch.size"] or "full"}
        found[config_id] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    place = {config_id: row for row, config_id in enumerate(found)}
    frame = pd.DataFrame(list(found.values()), columns=names)
    return frame.take([place[config_id] for config_id in order]).reset_index(drop=True)


def _views(tables: Sequence[pa.Table], key: str) -> list[np.ndarray[Any, Any]]:
    """Return a read-only array (E,) for each run, of NaN where it has no such curve."""
    views = []
    for table in tables:
        lists = table[key].combine_chunks() if key in table.column_names else pa.nulls(len(table), CURVE)
        values, offsets = lists.flatten().to_numpy(), lists.offsets.to_pylist()
        epochs = table["trainer.max_epochs"].to_pylist()
        for start, stop, n_epochs in zip(offsets[:-1], offsets[1:], epochs, strict=True):
            views.append(values[start:stop] if stop > start else _nothing(n_epochs))
    return views


@cache
def _nothing(n_epochs: int) -> np.ndarray[Any, Any]:
    """Return one read-only array for all runs of that length."""
    values = np.full(n_epochs, np.nan)
    values.flags.writeable = False
    return values


def _numbers(table: pa.Table, key: str) -> np.ndarray[Any, Any]:
    return table[key].to_numpy() if key in table.column_names else np.full(len(table), np.nan)
