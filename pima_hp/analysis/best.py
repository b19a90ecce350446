"""Which settings are best: the configurations of a study by a score, and those that may be the best as well."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.intervals import holm, t_tests
from pima_hp.analysis.selection import COUNTED, by_configuration, varying_settings
from pima_hp.ledger.ledger import distinct

# A configuration whose adjusted p value is not above it is not as good as the best.
ALPHA = 0.05
OFF_MAJORITY = Statistic(name="learns", curve="train/accuracy_end")


@dataclass(frozen=True)
class Ranking:
    """The configurations of a study by their mean score over seeds.

    Attributes:
        table: one row a configuration, the best first, those without a whole score last, `config_id` as index: the
            settings that vary; `n_runs`, `n_diverged`, `n_stopped`, `n_failed`; `share_off_majority`, the share of
            runs whose final training accuracy is more than 0.02 above that of the majority class; `mean`, `sd` over
            seeds, t interval `lower` to `upper`; the mean paired difference to the best (`behind`) and the p value of
            its two-sided t test, adjusted by Holm's method (`p`).
        factors: the settings that vary.
        n_seeds: replicates of the best.
        by_halves: the mean score in one half of the seeds of the configuration that is best in the other half, both
            halves averaged: not flattered by the choice; NaN of a single replicate.
    """

    table: pd.DataFrame
    factors: Sequence[str]
    n_seeds: int
    by_halves: float

    @property
    def rivals(self) -> pd.DataFrame:
        """Return the configurations that may be the best as well: with it, a 95 % confidence set for the best.

        No test of each pair: the same scores chose the best.
        """
        return self.table[self.table["p"] > ALPHA]


def rank(frame: pd.DataFrame, score: Statistic) -> Ranking | None:
    """Rank the configurations of a study by a score; high is good. None where no configuration has a whole score.

    A configuration has a whole score if all its runs have one (leaving out those that diverged would flatter it) and
    if it has at least half as many as the others, where a study was interrupted.
    """
    runs, table = distinct(frame), varying_settings(frame)
    factors, has_score = [*map(str, table)], np.isfinite(score.of(runs))
    groups = runs.assign(off=OFF_MAJORITY.of(runs), has_score=has_score).groupby("config_id", sort=False)
    counts = {name: runs["status"].eq(status).groupby(runs["config_id"]).sum() for name, status in COUNTED.items()}
    table = table.assign(n_runs=groups.size(), **counts, share_off_majority=groups["off"].mean())
    scores = by_configuration(frame, score.of(frame))  # (C, R)
    n = scores.notna().sum(axis=1)
    is_whole = groups["has_score"].all().reindex(scores.index) & (n >= n.max() / 2) & (n > 0)
    scores = scores[is_whole].dropna(axis=1, how="all")
    if scores.empty:
        return None
    table = table.join(t_tests(scores).drop(columns="p"))
    best = table["mean"].idxmax()
    tests = t_tests(scores.loc[best] - scores.drop(index=best))  # paired by seed
    table = table.join(pd.DataFrame({"behind": tests["mean"], "p": holm([*tests["p"]]).to_numpy()}))
    first, second = (scores.iloc[:, start::2].mean(axis=1) for start in (0, 1))
    by_halves = (second[first.idxmax()] + first[second.idxmax()]) / 2 if scores.shape[1] > 1 else math.nan
    ordered = table.sort_values("mean", ascending=False, kind="stable")
    return Ranking(ordered, factors, int(scores.loc[best].notna().sum()), by_halves)
