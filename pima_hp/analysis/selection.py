"""The runs of a study by configuration, their settings, and the replicates that configurations share."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import Statistic, by_length
from pima_hp.config import Config
from pima_hp.config.options import CONF, Setting, option_content, read_yaml
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.formatting import plain, value_text
from pima_hp.ledger.ledger import distinct, replicates_of, setting_columns
from pima_hp.ledger.plan import varying
from pima_hp.run import Array, RunStatus

# The seeds that matter of a run: `pima_hp.ledger.replicates_of`.
Seeds = tuple[int, ...]

# Column of a table -> the status whose runs it counts: those without a result.
COUNTED = {"n_diverged": RunStatus.DIVERGED, "n_stopped": RunStatus.STOPPED, "n_failed": RunStatus.FAILED}

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
        firsts = self.frame.drop_duplicates("config_id").set_index("config_id")[sorted(setting_columns(frame))]
        settings = firsts.to_dict("index").items()
        self.settings = {str(of): {str(key): plain(value) for key, value in own.items()} for of, own in settings}
        self._replicates = replicates_of(self.frame)
        self._is_stopped = (self.frame["status"] == RunStatus.STOPPED).tolist()
        kept = conclusive(self.frame)
        tables = cache(lambda curve: by_length(pd.Series(kept[curve])))
        # Statistic -> the row of each run that has statistics -> the value.
        self._numbers_of = cache(lambda of: dict(zip(kept.index, of.of(kept, tables(of.curve)).tolist(), strict=True)))

    def values(self, config_id: str, statistic: Statistic) -> tuple[ByReplicate, str]:
        """Return the value of each replicate of a configuration, and why they cannot be used; empty where they can."""
        if statistic.curve not in self.frame:
            return {}, f"the curve {statistic.curve} must be recorded; train again in another study"
        numbers, rows = self._numbers_of(statistic), self.rows[config_id]
        found = {self._replicates[row]: numbers[row] for row in rows if row in numbers}
        # Leaving out the runs that have no answer would bias a share and a time.
        n_lost = sum(self._is_stopped[row] for row in rows) + sum(map(math.isnan, found.values()))
        is_biased = statistic.unit in ("share of runs", "epochs") and n_lost
        return found, f"{n_lost} runs stopped early or are too short to have an answer" if is_biased else ""


def conclusive(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that have statistics: neither failed nor stopped early."""
    return runs[~runs["status"].isin([RunStatus.FAILED, RunStatus.STOPPED])]


def are_crossed(replicates: Sequence[Seeds]) -> bool:
    """Return whether streams are crossed: there are more replicates than seeds of any stream."""
    return len(set(replicates)) > max((len(set(stream)) for stream in zip(*replicates, strict=True)), default=0)


def varying_settings(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the settings that take several values in a study, without those that follow from another's value.

    One row a configuration, `config_id` as index.
    """
    firsts = frame.drop_duplicates("config_id").set_index("config_id")
    columns = {key: [plain(value) for value in firsts[key]] for key in sorted(setting_columns(frame))}
    return pd.DataFrame({key: columns[key] for key in varying(columns)}, index=firsts.index, dtype=object)


def by_configuration(frame: pd.DataFrame, values: Array) -> pd.DataFrame:
    """Return the values of runs, (N,): one row a configuration, one column a replicate, NaN where there is none.

    A replicate must be independent of the others. Where rows are shuffled in some configurations only, the runs that
    differ in the order alone are averaged; where streams are crossed, those of one split.
    """
    runs = conclusive(distinct(frame.assign(value=values)))
    seeds = replicates_of(runs)
    n_streams = min(map(len, seeds), default=0)
    shared = [own[:n_streams] for own in seeds]
    shared = [own[1:2] for own in shared] if are_crossed(shared) else shared
    runs = runs.assign(replicate=pd.Series(shared, runs.index, object))
    table = runs.pivot_table("value", "config_id", "replicate", dropna=False)
    return table.reindex(frame["config_id"].unique())


def matched(columns: Sequence[ByReplicate]) -> tuple[list[Seeds], Array]:
    """Return the replicates that all of K columns have a value of, sorted, and the values (R, K).

    Where rows are shuffled in some columns and not in others, they do not share the order: the runs of a shuffled
    column that differ in the order alone are averaged, so that a run of the other columns is in one pair.
    """
    n_streams, means = min(len(next(iter(column), ())) for column in columns), list[ByReplicate]()
    for column in columns:
        groups = defaultdict(list)
        for seeds, value in column.items():
            groups[seeds[:n_streams]].append(value)
        means.append({seeds: sum(found) / len(found) for seeds, found in groups.items()})
    shared = sorted(set(means[0]).intersection(*means[1:]))
    table = np.array([[column[seeds] for column in means] for seeds in shared]).reshape(-1, len(columns))
    complete = ~np.isnan(table).any(axis=1)
    return [seeds for seeds, kept in zip(shared, complete, strict=True) if kept], table[complete]


def copies_in_words(frame: pd.DataFrame) -> str:
    """Return a note on how many runs are copies of others; empty where none is."""
    n_copies = len(frame) - len(distinct(frame))
    note = "are copies of others (same initialization, split and row order) and are ignored"
    return f"{n_copies:,} of {len(frame):,} runs {note}" if n_copies else ""


def named(settings: Settings) -> str:
    """Return settings as one would type them, an option without its class: `batch.size=5, batch.shuffle=true`."""
    typed = {key: value for key, value in settings.items() if key.removesuffix("._target_") not in {*settings} - {key}}
    return ", ".join(f"{key}={value_text(value)}" for key, value in typed.items())


def differing(settings: Settings) -> Settings:
    """Return the settings that differ from `conf/config.yaml`."""
    usual = default_settings()
    return {key: value for key, value in settings.items() if key in usual and value != usual[key]}


@cache
def default_settings() -> Settings:
    """Return the settings of `conf/config.yaml` without overrides: the article's specification."""
    chosen = [entry for entry in read_yaml(CONF / "config.yaml")["defaults"] if isinstance(entry, Mapping)]
    groups = {group: option for entry in chosen for group, option in entry.items() if group in Config.model_fields}
    contents = {group: option_content(group, option) for group, option in groups.items()}
    flat = Config.model_validate({**contents, "data_digest": SHIPPED_SHA256}).flat
    return {key: plain(value) for key, value in flat.items() if key != "data_digest"}
