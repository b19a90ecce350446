"""The runs of a study that differ in nothing but chosen settings and their seeds."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.selection import COUNTED, Runs, by_configuration, differing
from pima_hp.errors import InputError
from pima_hp.formatting import LABELS, counted, label, listed, shown, value_order, value_text
from pima_hp.ledger.ledger import setting_columns
from pima_hp.ledger.plan import varying

# Values of a setting that one figure shows; a number of more than `FEW_LEVELS` is an axis.
MAX_LEVELS, FEW_LEVELS = 20, 6
# The training accuracy whose first epoch is reported is so far from the majority class to 1: the article's 0.72.
REACH_SHARE = 0.2
# Other settings that are named.
MAX_OTHERS = 6
# The settings that captions name.
SETTINGS = ("activation", "optimizer", "scheduler", *LABELS)


@dataclass(frozen=True)
class Comparison:
    """Runs that differ in nothing but the factors (and their seeds)."""

    factors: Sequence[str]
    runs: pd.DataFrame  # without copies
    places: Mapping[tuple[Any, ...], NDArray[np.intp]]  # of the runs by values of the factors, in the order of values
    others: Sequence[str]  # the first settings that the study varies and these runs do not, no details of an option

    @cached_property
    def levels(self) -> dict[str, pd.DataFrame]:
        """Return the runs by the name of the first factor's value; of very many values, some evenly spaced."""
        every, levels = list(self.places.items()), dict[str, pd.DataFrame]()
        for place in evenly_spaced(len(every), MAX_LEVELS):
            (value, *_), rows = every[place]
            name = shown(value_text(float(f"{value:.4g}") if isinstance(value, float) else value), 34)
            levels[f"{name} ({place})" if name in levels else name] = self.runs.iloc[rows]
        return levels

    def scores(self, statistic: Statistic) -> pd.DataFrame:
        """Return a statistic of the levels: one row each, a column a replicate, NaN where there is none."""
        table = by_configuration(self.runs, statistic.of(self.runs))
        return table.loc[[runs["config_id"].iloc[0] for runs in self.levels.values()]].set_axis([*self.levels])

    @cached_property
    def is_axis(self) -> bool:
        """Return whether the first factor is a number that takes many values: it is drawn as an axis."""
        values = {value for value, *_ in self.places}
        return len(values) > FEW_LEVELS and all(type(value) in (int, float) for value in values)

    @cached_property
    def majority(self) -> float | None:
        """Return the accuracy of the majority class of the training rows; None if unknown or of several tables."""
        rate = float(self.runs["positive_rate"].astype(float).mean())
        return None if math.isnan(rate) or len(set(self.runs["data_digest"])) > 1 else max(rate, 1 - rate)

    @property
    def majority_text(self) -> str:
        """Return what a dashed line means, in a caption."""
        return "" if self.majority is None else f"Dashed: always predicting the majority class ({self.majority:.3f})."

    @property
    def reach(self) -> float | None:
        """Return the training accuracy whose first epoch is reported; None where the majority class is unknown."""
        return None if self.majority is None else round(self.majority + REACH_SHARE * (1 - self.majority), 2)

    @property
    def validation_rows(self) -> str:
        """Return what `val/...` is a score of: the test rows, unless rows were set aside for validation."""
        fractions = set(self.runs.get("data.val_fraction", (0,)))
        return "test" if not any(fractions) else "validation" if all(fractions) else "test or validation"

    @property
    def context(self) -> str:
        """Return the values of the other settings: `With learning rate 0.001, the`; `The` where there are none."""
        values = [f"{label(key)} {shown(value_text(self.runs[key].iloc[0]), 34)}" for key in self.others]
        return f"With {listed(values)}, the" if values else "The"

    @property
    def caption(self) -> str:
        """Return how many replicates there are, how many are missing, what is fixed and what is left out."""
        sizes = sorted(set(map(len, self.places.values())))
        several = f"{sizes[0]} to {sizes[-1]} replicates" if len(sizes) > 1 else counted(sizes[0], "replicate")
        values = {key: {*self.runs[key].map(value_text)} for key in SETTINGS if key in self.runs}
        fixed = [f"{label(key)} {value}" for key, (value, *more) in values.items() if not more]
        sentences = [f"{several} a setting", f"Fixed: {', '.join(fixed)}"]
        if incomplete := missing(self.runs):
            sentences.append(f"Missing: {incomplete}; a mean is over the runs that have a value")
        if self.others:
            sentences.append(f"Not drawn: other combinations of {listed(map(label, self.others))}")
        return ". ".join(sentences) + "."


def comparable(frame: pd.DataFrame, factors: Sequence[str]) -> Comparison:
    """Return the runs to compare for the factors: all other settings are equal among them.

    A study may be a union of grids about one baseline, or a crossed design. Pooling its other settings would call
    them replicates, so one combination of them is chosen: that under which the factors take the most values, then the
    one nearest `conf/config.yaml`. Settings that belong to a factor's value (`optimizer.betas` for `optimizer`) go
    with it unless they vary within the value.
    """
    runs, keys = Runs(frame), setting_columns(frame)
    if unknown := [factor for factor in factors if factor not in keys]:
        raise InputError(f"must be a setting of the study; found {unknown[0]!r}; allowed: {', '.join(keys)}")
    settings = runs.settings.values()
    others = [key for key in varying({key: [own[key] for own in settings] for key in keys}) if key not in factors]
    values = {config_id: tuple(own[key] for key in factors) for config_id, own in runs.settings.items()}
    contexts = {config_id: tuple(own[key] for key in others) for config_id, own in runs.settings.items()}
    n_values = Counter(context for context, _ in set(zip(contexts.values(), values.values(), strict=True)))

    def rank(context: tuple[Any, ...]) -> tuple[int, int, str]:
        return -n_values[context], len(differing(dict(zip(others, context, strict=True)))), repr(context)

    chosen = min(n_values, key=rank)
    kept = runs.frame[runs.frame["config_id"].isin([key for key, context in contexts.items() if context == chosen])]
    groups: Mapping[Any, Any] = kept.groupby(kept["config_id"].map(values), sort=False).indices
    rivals = [context for context, n in n_values.items() if n > 1 or context == chosen]
    left = varying(dict(zip(others, zip(*rivals, strict=True), strict=True)))
    return Comparison(
        factors=factors,
        runs=kept,
        places={found: groups[found] for found in sorted(groups, key=lambda of: [*map(value_order, of)])},
        others=[key for key in left if key in LABELS or key.rpartition(".")[0] not in left][:MAX_OTHERS],
    )


def missing(runs: pd.DataFrame) -> str:
    """Return how many runs have no, or no whole, curve."""
    by_status = {status: int((runs["status"] == status).sum()) for status in COUNTED.values()}
    return ", ".join(f"{n:,} of {len(runs):,} {status}" for status, n in by_status.items() if n)


def evenly_spaced(n: int, most: int) -> NDArray[np.intp]:
    """Return the places of n things, or of `most` of them, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, max(0, n - 1), min(n, most)).round().astype(np.intp))
