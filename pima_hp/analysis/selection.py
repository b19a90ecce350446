"""The runs of a study by configuration, their settings, and the replicates that configurations share."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import EVENTS, Statistic
from pima_hp.config import Config
from pima_hp.config.flat import Setting, columns_of
from pima_hp.config.options import CONF, option_content, read_yaml
from pima_hp.formatting import plain, value_text
from pima_hp.ledger.frame import distinct, replicates_of, setting_columns
from pima_hp.run import Array, RunStatus

Seeds = tuple[int, ...]
"""The seeds that matter of a run: `pima_hp.run.replicate_of`."""

Settings = Mapping[str, Setting]
ByReplicate = Mapping[Seeds, float]


class Runs:
    """The runs of a study, each counted once; a statistic of a configuration is computed once.

    Attributes:
        of: config_id -> its runs.
        settings: config_id -> its settings.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.of = {str(key): runs for key, runs in distinct(frame).groupby("config_id", sort=False)}
        keys = sorted(setting_columns(frame))
        first = frame.drop_duplicates("config_id")
        rows = zip(*([plain(value) for value in first[key]] for key in keys), strict=True)
        self.settings: dict[str, Settings] = {
            str(config_id): dict(zip(keys, row, strict=True))
            for config_id, row in zip(first["config_id"], rows, strict=True)
        }
        self._conclusive: dict[str, tuple[pd.DataFrame, list[Seeds]]] = {}
        self._values: dict[tuple[str, str], tuple[ByReplicate, str]] = {}

    def values(self, config_id: str, statistic: Statistic) -> tuple[ByReplicate, str]:
        """Return the value of each replicate of a configuration, and why they cannot be used; empty where they can."""
        key = (config_id, repr(statistic))
        if key not in self._values:
            if config_id not in self._conclusive:
                kept = conclusive(self.of[config_id])
                self._conclusive[config_id] = kept, replicates_of(kept)
            kept, seeds = self._conclusive[config_id]
            lacking = [] if statistic.curve in kept else [f"the curve {statistic.curve}"]
            lacking += [name for name in statistic.facts if kept[name].isna().any()]
            numbers = [] if lacking else statistic.of(kept).tolist()
            problem = f"{' and '.join(lacking)} must be recorded; train again in another study" if lacking else ""
            if statistic.name in EVENTS and not lacking:  # leaving out the runs that have no answer would bias a share
                n_short = sum(map(math.isnan, numbers))
                n_stopped = int((self.of[config_id]["status"] == RunStatus.STOPPED).sum())
                problem = f"{n_short} runs are too short to have an answer" if n_short else ""
                problem = f"{n_stopped} runs stopped early and have no answer" if n_stopped else problem
            self._values[key] = dict(zip(seeds, numbers, strict=False)), problem
        return self._values[key]


def conclusive(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that have statistics: not those that failed, nor those stopped early, which lack epochs."""
    return runs[~runs["status"].isin([RunStatus.FAILED, RunStatus.STOPPED])]


def by_seeds(runs: pd.DataFrame, values: Callable[[pd.DataFrame], Array]) -> ByReplicate:
    """Return the value of each conclusive run by its seeds, NaN where there is none."""
    kept = conclusive(runs)
    return dict(zip(replicates_of(kept), np.asarray(values(kept), float).tolist(), strict=True))


def matched(columns: Sequence[ByReplicate]) -> tuple[list[Seeds], Array]:
    """Return the replicates that all of K columns have a value of, sorted, and the values (R, K).

    Where rows are shuffled in some columns and not in others, they do not share the order: the runs of a shuffled
    column that differ in the order alone are averaged, so that a run of the other columns is in one pair.
    """
    n_streams = min((len(seeds) for column in columns for seeds in islice(column, 1)), default=0)
    columns = [_averaged(column, n_streams) for column in columns]
    shared = sorted(set(columns[0]).intersection(*columns[1:]))
    table = np.array([[column[seeds] for column in columns] for seeds in shared]).reshape(-1, len(columns))
    complete = ~np.isnan(table).any(axis=1)
    return [seeds for seeds, kept in zip(shared, complete, strict=True) if kept], table[complete]


def _averaged(column: ByReplicate, n_streams: int) -> ByReplicate:
    """Return the mean over the runs whose first `n_streams` seeds are equal."""
    groups: dict[Seeds, list[float]] = {}
    for seeds, value in column.items():
        groups.setdefault(seeds[:n_streams], []).append(value)
    if len(groups) == len(column):
        return dict(zip(groups, column.values(), strict=True))
    return {seeds: float(np.mean(values)) for seeds, values in groups.items()}


def copies_in_words(frame: pd.DataFrame) -> str:
    """Return how many runs are copies of others, in words; empty where none is."""
    n_copies = len(frame) - len(distinct(frame))
    note = "are copies of others (same initialization, split and row order) and are ignored"
    return f"{n_copies:,} of {len(frame):,} runs {note}" if n_copies else ""


def named(settings: Settings) -> str:
    """Return settings as one would type them: `batch.size=5, batch.shuffle=true`."""
    return ", ".join(f"{key}={value_text(value)}" for key, value in settings.items())


def equal(first: Any, second: Any) -> bool:
    """Return whether two values of a setting are the same: 0.2 and 0.20000001 are, 1 and true are not."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-6)
    return bool(plain(first) == plain(second))


def varying(columns: Mapping[str, Sequence[Setting]]) -> list[str]:
    """Return settings with more than one value among configurations, without those that follow from their section's.

    `optimizer.betas` follows from `optimizer` unless it differs among the configurations of one optimizer.
    """
    found = [key for key, values in columns.items() if len(set(values)) > 1]
    owners = {key: key.rpartition(".")[0] for key in found}
    return [key for key, owner in owners.items() if owner not in found or not follows(columns[key], columns[owner])]


def follows(values: Iterable[Setting], owner: Sequence[Setting]) -> bool:
    """Return whether a setting has one value for each value of its owner, and so carries no information of its own."""
    return len(set(zip(values, owner, strict=True))) == len(set(owner))


def differing(settings: Settings) -> Settings:
    """Return the settings that are not those of `conf/config.yaml`."""
    usual = default_settings()
    return {key: value for key, value in settings.items() if key in usual and not equal(value, usual[key])}


@cache
def default_settings() -> Settings:
    """Return the settings of `conf/config.yaml` without anything on the command line: the article's specification."""
    entries = [entry for entry in read_yaml(CONF / "config.yaml")["defaults"] if not isinstance(entry, str)]
    chosen = {key: option for entry in entries for key, option in entry.items() if key in Config.model_fields}
    return columns_of({group: option_content(group, option) for group, option in chosen.items()})
