"""The runs of a study that differ in nothing but chosen settings and their seeds."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from pima_hp.analysis.selection import Runs, differing
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import InputError
from pima_hp.formatting import label, listed, shown, value_order, value_text
from pima_hp.ledger import follows, setting_columns, varying
from pima_hp.report.style import evenly_spaced
from pima_hp.run import RunStatus

MAX_LEVELS = 20
"""Values of a setting that one figure shows."""
REACH, REACH_SHARE = 0.72, 0.2
"""The article's training accuracy whose first epoch is reported; of another table, the accuracy as far from its
majority class to 1, which is 0.72 at the 0.651 of the shipped one."""
COUNTED = {"n_diverged": RunStatus.DIVERGED, "n_stopped": RunStatus.STOPPED, "n_failed": RunStatus.FAILED}
"""Column of a table -> the status whose runs it counts: those without a result."""
SETTINGS = (
    *("batch.size", "batch.shuffle", "activation", "optimizer", "optimizer.lr", "scheduler", "trainer.max_epochs"),
    *("model.hidden_widths", "model.initialization", "data.scaling", "data.test_fraction", "data.val_fraction"),
)
"""The settings that captions name."""


@dataclass(frozen=True)
class Comparison:
    """Runs that differ in nothing but the factors (and their seeds)."""

    runs: pd.DataFrame  # without copies
    by_values: Mapping[tuple[Any, ...], pd.DataFrame]  # the runs by values of the factors, in the order of values
    others: Sequence[str]  # the settings in which other combinations of them differ that also vary the factors

    @cached_property
    def levels(self) -> dict[Any, pd.DataFrame]:
        """Return the runs by value of the first factor; of very many values, some evenly spaced."""
        every = list(self.by_values.items())
        return {every[place][0][0]: every[place][1] for place in evenly_spaced(len(every), MAX_LEVELS)}

    @cached_property
    def names(self) -> dict[Any, str]:
        """Return the values of the first factor as a figure shows them, all different."""
        texts = {value: shown(value_text(value), 34) for value in self.levels}
        twice = Counter(texts.values())
        return {value: text if twice[text] == 1 else f"{text} ({n})" for n, (value, text) in enumerate(texts.items())}

    @cached_property
    def majority(self) -> float | None:
        """Return the accuracy of the majority class of the training rows; None if unknown or of several tables."""
        rate = float(self.runs["positive_rate"].astype(float).mean())
        return None if math.isnan(rate) or len(set(self.runs["data_digest"])) > 1 else max(rate, 1 - rate)

    @property
    def reach(self) -> float | None:
        """Return the training accuracy whose first epoch is reported; None where the majority class is unknown."""
        if set(self.runs["data_digest"]) == {SHIPPED_SHA256}:
            return REACH
        return None if self.majority is None else round(self.majority + REACH_SHARE * (1 - self.majority), 2)

    @property
    def validation_rows(self) -> str:
        """Return what `val/...` is a score of: the test rows, unless rows were set aside for validation."""
        fractions = set(self.runs.get("data.val_fraction", (0,)))
        return "test" if not any(fractions) else "validation" if all(fractions) else "test or validation"

    @property
    def caption(self) -> str:
        """Return how many replicates there are, how many are missing, what is fixed and what is left out."""
        sizes = sorted({len(runs) for runs in self.levels.values()})
        number = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else sizes[0]
        sentences = [f"{number} replicate{'' if number == 1 else 's'} a setting"]
        if incomplete := missing(self.runs):
            sentences.append(f"Missing: {incomplete}; a mean is over the runs that have a value")
        if len(self.by_values) > len(self.levels):
            sentences.append(f"Drawn: {len(self.levels)} of {len(self.by_values)} values, evenly spaced")
        fixed = {key: set(map(value_text, self.runs[key])) for key in SETTINGS if key in self.runs}
        shared = [f"{label(key)} {text}" for key, texts in fixed.items() if len(texts) == 1 for text in texts]
        sentences.append(f"Fixed: {', '.join(shared)}")
        if owners := [key for key in self.others if key.rpartition(".")[0] not in self.others]:
            sentences.append(f"Not drawn: other combinations of {listed(map(label, owners[:6]))}")
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
    columns = {key: [settings[key] for settings in runs.settings.values()] for key in keys}
    values = {key: tuple(settings[factor] for factor in factors) for key, settings in runs.settings.items()}
    within = tuple(f"{factor}." for factor in factors)
    own = [key for key in keys if key.startswith(within) and follows(columns[key], list(values.values()))]
    others = [key for key in keys if key not in (*factors, *own)]
    contexts: dict[tuple[Any, ...], list[str]] = {}
    for config_id, settings in runs.settings.items():
        contexts.setdefault(tuple(settings[key] for key in others), []).append(config_id)

    def n_values(context: tuple[Any, ...]) -> int:
        return len({values[config_id] for config_id in contexts[context]})

    def rank(context: tuple[Any, ...]) -> tuple[int, int, str]:
        return -n_values(context), len(differing(dict(zip(others, context, strict=True)))), repr(context)

    chosen, *rest = sorted(contexts, key=rank)
    rivals = [context for context in rest if n_values(context) > 1]
    rows: dict[tuple[Any, ...], list[int]] = {}
    for config_id in contexts[chosen]:
        rows.setdefault(values[config_id], []).extend(runs.rows[config_id])
    return Comparison(
        runs=runs.frame.iloc[sorted(row for some in rows.values() for row in some)],
        by_values={
            value: runs.frame.iloc[sorted(rows[value])]
            for value in sorted(rows, key=lambda some: [*map(value_order, some)])
        },
        others=[key for key, *found in zip(others, chosen, *rivals, strict=True) if len(set(found)) > 1],
    )


def swept(frame: pd.DataFrame) -> list[str]:
    """Return the settings that take several values in a study, without those that follow from another's value."""
    settings = Runs(frame).settings.values()
    return varying({key: [of[key] for of in settings] for key in setting_columns(frame)})


def missing(runs: pd.DataFrame) -> str:
    """Return how many runs have no, or no whole, curve."""
    by_status = {status: int((runs["status"] == status).sum()) for status in COUNTED.values()}
    return ", ".join(f"{n:,} of {len(runs):,} {status}" for status, n in by_status.items() if n)
