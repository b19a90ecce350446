"""The rows of a ledger as a DataFrame: identity, settings, learning curves, final scores."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pima_hp.ledger.parts import COLUMNS, RUN_COLUMNS, SCORE_PREFIX, SETTINGS, decoded, is_setting
from pima_hp.run import CURVES, RunStatus, replicate_of


def setting_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a study's frame that decide what a run computes (`activation`, `optimizer.lr`, ...)."""
    return [name for name in frame.columns if is_setting(name) and name != "data.path"]


def curve_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a study's frame that are learning curves (`val/accuracy`, `lr`, ...)."""
    return [name for name in frame.columns if not (is_setting(name) or name in RUN_COLUMNS or name[:6] == SCORE_PREFIX)]


def replicates_of(frame: pd.DataFrame) -> list[tuple[int, ...]]:
    """Return the seeds that distinguish each run from other replicates; see `replicate_of`."""
    columns = ("init_seed", "split_seed", "order_seed", "batch.shuffle", "batch.size", "n_train")
    return list(map(replicate_of, *(frame[name].tolist() for name in columns)))


def distinct(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the runs without copies: those of one configuration whose seeds that matter are equal are one run.

    Of copies the one with the lowest seed is kept that did not fail; the order of rows stays.
    """
    runs = frame[["config_id", "seed", "run_id"]].reset_index(drop=True)
    runs["failed"], runs["replicate"] = (frame["status"] == RunStatus.FAILED).tolist(), replicates_of(frame)
    kept = runs.sort_values(["failed", "seed", "run_id"]).drop_duplicates(["config_id", "replicate"])
    return frame.iloc[kept.index.sort_values()]


def frame_of(parts: Sequence[pa.Table]) -> pd.DataFrame:
    """Return one row per run of these parts, in their order; the columns are those that `read_study` describes."""
    table = pa.concat_tables([pa.schema(COLUMNS.items()).empty_table(), *parts], promote_options="default")
    others = sorted({*table.column_names} - {*COLUMNS})
    settings = [name for name in others if is_setting(name) and table[name].null_count < len(table)]
    scores = [name for name in others if name.startswith(SCORE_PREFIX)]
    curves = [*CURVES, *(name for name in others if not (is_setting(name) or name in scores))]
    frame: pd.DataFrame = table.select([*RUN_COLUMNS, *SETTINGS, *settings, *curves, *scores]).to_pandas()
    columns: dict[str, Any] = {name: [decoded(text) for text in table[name].to_pylist()] for name in settings}
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
