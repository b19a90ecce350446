"""The runs of a study by configuration, their settings, and the replicates that configurations share."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import EVENTS, Statistic
from pima_hp.config import Config
from pima_hp.config.options import CONF, Setting, option_content, read_yaml
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.formatting import plain, value_text
from pima_hp.ledger import distinct, replicates_of, setting_columns
from pima_hp.run import Array, RunStatus

Seeds = tuple[int, ...]
"""The seeds that matter of a run: `pima_hp.ledger.replicates_of`."""

Settings = Mapping[str, Setting]
ByReplicate = Mapping[Seeds, float]


class Runs:
    """The runs of a study, each counted once; a statistic is computed once, for all runs together.

    Attributes:
        frame: the runs without copies, rows numbered from 0.
        rows: config_id -> numbers of its rows.
        settings: config_id -> its settings.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = distinct(frame).reset_index(drop=True)
        groups = self.frame.groupby("config_id", sort=False).indices
        self.rows = {str(config_id): [int(row) for row in rows] for config_id, rows in groups.items()}
        settings = self.frame[sorted(setting_columns(frame))]
        self.settings: dict[str, Settings] = {
            config_id: {str(key): plain(value) for key, value in settings.iloc[rows[0]].items()}
            for config_id, rows in self.rows.items()
        }
        self._statuses = self.frame["status"].tolist()
        self._conclusive = conclusive(self.frame)
        self._replicates = dict(zip(self._conclusive.index, replicates_of(self._conclusive), strict=True))
        self._statistics: dict[str, dict[int, float]] = {}

    def values(self, config_id: str, statistic: Statistic) -> tuple[ByReplicate, str]:
        """Return the value of each replicate of a configuration, and why they cannot be used; empty where they can."""
        if statistic.curve not in self.frame:
            return {}, f"the curve {statistic.curve} must be recorded; train again in another study"
        numbers, rows = self._of_all(statistic), self.rows[config_id]
        found = {self._replicates[row]: numbers[row] for row in rows if row in numbers}
        if statistic.name not in EVENTS:
            return found, ""
        # Leaving out the runs that have no answer would bias a share.
        n_stopped, n_short = self.count(rows, RunStatus.STOPPED), sum(map(math.isnan, found.values()))
        lost = {"stopped early and have no answer": n_stopped, "are too short to have an answer": n_short}
        return found, "; ".join(f"{n} runs {reason}" for reason, n in lost.items() if n)

    def count(self, rows: Sequence[int], status: RunStatus) -> int:
        """Return how many of these runs ended so."""
        return sum(self._statuses[row] == status for row in rows)

    def _of_all(self, statistic: Statistic) -> dict[int, float]:
        """Return the statistic of each conclusive run, by its row; curves of one length together."""
        if (key := repr(statistic)) not in self._statistics:
            found = self._statistics[key] = {}
            for _, runs in self._conclusive.groupby(self._conclusive[statistic.curve].map(np.size)):
                found |= dict(zip(runs.index, statistic.of(runs).tolist(), strict=True))
        return self._statistics[key]


def conclusive(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that have statistics: neither failed nor stopped early."""
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
    if all(len(seeds) == n_streams for seeds in column):
        return column
    groups: dict[Seeds, list[float]] = {}
    for seeds, value in column.items():
        groups.setdefault(seeds[:n_streams], []).append(value)
    return {seeds: float(np.mean(values)) for seeds, values in groups.items()}


def copies_in_words(frame: pd.DataFrame) -> str:
    """Return a note on how many runs are copies of others; empty where none is."""
    n_copies = len(frame) - len(distinct(frame))
    note = "are copies of others (same initialization, split and row order) and are ignored"
    return f"{n_copies:,} of {len(frame):,} runs {note}" if n_copies else ""


def named(settings: Settings) -> str:
    """Return settings as one would type them: `batch.size=5, batch.shuffle=true`."""
    return ", ".join(f"{key}={value_text(value)}" for key, value in settings.items())


def equal(first: Any, second: Any) -> bool:
    """Return whether two values of a setting are the same; a list is equal to a tuple."""
    return bool(plain(first) == plain(second))


def differing(settings: Settings) -> Settings:
    """Return the settings that differ from `conf/config.yaml`."""
    usual = default_settings()
    return {key: value for key, value in settings.items() if key in usual and not equal(value, usual[key])}


@cache
def default_settings() -> Settings:
    """Return the settings of `conf/config.yaml` without overrides: the article's specification."""
    chosen = [entry for entry in read_yaml(CONF / "config.yaml")["defaults"] if isinstance(entry, Mapping)]
    groups = {group: option for entry in chosen for group, option in entry.items() if group in Config.model_fields}
    contents = {group: option_content(group, option) for group, option in groups.items()}
    flat = Config.model_validate({**contents, "data_digest": SHIPPED_SHA256}).flat
    return {key: value for key, value in flat.items() if key != "data_digest"}
