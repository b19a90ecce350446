"""Settings of runs in words, and which runs of a study may be compared."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pima_hp.analysis.selection import default_settings, follows
from pima_hp.errors import InputError
from pima_hp.formatting import plain
from pima_hp.ledger.frame import distinct, setting_columns
from pima_hp.report import style

MOST_LEVELS = 24
"""Values of a setting that one figure shows."""

LABELS = {
    "batch.size": "batch size",
    "batch.shuffle": "shuffling",
    "data.test_fraction": "test fraction",
    "data.val_fraction": "validation fraction",
    "model.initialization": "initialisation",
    "optimizer.lr": "learning rate",
}

_WORDS = {**LABELS, "window_epochs": "window (epochs)", "sustained_epochs": "epochs in a row",
          "data.scaling": "scaling", "trainer.max_epochs": "epochs",
          "model.hidden_widths": "hidden widths"}  # fmt: skip


def label(key: str) -> str:
    """A setting's name as people say it: `optimizer.lr` -> `learning rate`."""
    return LABELS.get(key) or literal(key.rpartition(".")[2].replace("_", " "), 40)


def in_words(text: str) -> str:
    """A sentence about settings without code words: `depends on batch.shuffle` -> `depends on shuffling`."""
    text = re.sub(r"\b(\w+)\._target_=(?:\w+\.)*(\w+)", r"\1 \2", text)
    return re.sub("|".join(map(re.escape, _WORDS)), lambda found: _WORDS[found[0]], text)


def literal(text: str, limit: int = 60) -> str:
    """Text as it may be shown: invisible and control characters replaced, its end cut beyond `limit`.

    SVG and terminals have no way to write NUL or an escape; marks of direction would turn a sentence.
    """
    shown = "".join(char if char.isprintable() else "\N{WHITE SQUARE}" for char in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def value_text(value: Any) -> str:
    """One text for equal values, as YAML spells them: 1 and 1.0 -> `1`, True -> `true`, missing -> `none`."""
    value = plain(value)
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def display_names(values: Iterable[str], limit: int = 34) -> dict[str, str]:
    """Values as a legend or a heading shows them, all different: numbers to four digits, long words cut."""
    names: dict[str, str] = {}
    for value in values:
        whole = literal(value, limit)
        _, number, _ = value_order(value)
        candidates = [f"{number:.4g}"] if number and len(value) > 8 else []
        candidates += [whole, *(f"{whole} ({n})" for n in range(2, len(names) + 3))]
        names[value] = next(name for name in candidates if name not in names.values())
    return names


def value_order(text: str) -> tuple[bool, float, str]:
    """Sort key: numbers by size, then words by the alphabet."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    return (False, number, text) if math.isfinite(number) else (True, 0.0, text)


def settings_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Text of every setting, one row a configuration (the index: config_id)."""
    keys = setting_columns(frame)
    configurations = frame.drop_duplicates("config_id").set_index("config_id")[keys]
    return pd.DataFrame({key: configurations[key].map(value_text) for key in keys}, configurations.index)


@dataclass(frozen=True)
class Comparison:
    """Runs that differ in nothing but the factors (and their seeds)."""

    frame: pd.DataFrame  # the runs, without copies
    settings: pd.DataFrame  # text of their settings, one row a configuration
    n_others: int  # how many other combinations of the remaining settings also vary the factors
    differing: tuple[str, ...]  # the settings in which those other combinations differ from this one

    def by_values(self, factors: Sequence[str]) -> dict[tuple[str, ...], pd.DataFrame]:
        """Runs by the values of the factors, in the order in which people expect values."""
        found = _grouped(self.settings, factors)
        ordered = sorted(found, key=lambda values: [value_order(value) for value in values])
        return {values: self.frame[self.frame["config_id"].isin(found[values])] for values in ordered}

    def levels(self, factor: str) -> dict[str, pd.DataFrame]:
        """Runs by value of one factor; of very many values, some evenly spaced."""
        runs = list(self.by_values([factor]).items())
        drawn = (runs[place] for place in style.evenly_spaced(len(runs), MOST_LEVELS))
        return {value: of_value for (value,), of_value in drawn}


def comparable(frame: pd.DataFrame, factors: Sequence[str]) -> Comparison:
    """The runs to compare for the factors: all other settings are equal among them.

    A study may be a union of grids about one baseline, or a crossed design. Pooling its other settings
    would call them replicates, so one combination of them is chosen: that under which the factors take the
    most values, then the one nearest the baseline (as claims are judged), then that made of the most frequent
    values, then the first. Settings that belong to a factor's value (`optimizer.betas` for `optimizer`) go with
    it unless they vary within the value.
    """
    if frame.empty:
        raise InputError("a study with at least one run is needed; found none")
    settings = settings_of(frame)
    if unknown := [factor for factor in factors if factor not in settings.columns]:
        known = ", ".join(sorted(map(str, settings.columns)))
        raise InputError([f"must be a setting of the study; found {factor!r}; allowed: {known}" for factor in unknown])
    values = {key: texts for texts, ids in _grouped(settings, factors).items() for key in ids}
    owners = [values[config_id] for config_id in settings.index]
    within = tuple(f"{factor}." for factor in factors)
    own = {key for key in settings.columns if key.startswith(within) and follows(settings[key].tolist(), owners)}
    others = [key for key in settings.columns if key not in {*factors, *own}]
    contexts = _grouped(settings, others)
    n_values = {context: len({values[config_id] for config_id in ids}) for context, ids in contexts.items()}
    frequencies = {key: Counter(settings[key]) for key in others}
    usual = {key: value_text(value) for key, value in default_settings().items()}

    def rank(context: tuple[str, ...]) -> tuple[Any, ...]:
        pairs = list(zip(others, context, strict=True))
        n_unusual = sum(text != usual.get(key, text) for key, text in pairs)
        return -n_values[context], n_unusual, -sum(frequencies[key][text] for key, text in pairs), context

    chosen, *rest = sorted(contexts, key=rank)
    rivals = [context for context in rest if n_values[context] > 1]
    in_play = zip(others, zip(chosen, *rivals, strict=True), strict=True)
    return Comparison(
        frame=distinct(frame[frame["config_id"].isin(contexts[chosen])]),
        settings=settings.loc[contexts[chosen]],
        n_others=len(rivals),
        differing=tuple(key for key, texts in in_play if len(set(texts)) > 1),
    )


def _grouped(settings: pd.DataFrame, keys: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """The configurations by their texts of some settings."""
    found: dict[tuple[str, ...], list[str]] = {}
    for config_id, texts in zip(settings.index, settings[list(keys)].to_numpy().tolist(), strict=True):
        found.setdefault(tuple(texts), []).append(str(config_id))
    return found


def split_text(test_fraction: str, val_fraction: str) -> str:
    """Shares of the rows in percent: training/test, or training/validation/test."""
    test, val = 100 * float(test_fraction), 100 * float(val_fraction)
    parts = [100 - test - val, val, test] if val else [100 - test, test]
    return "/".join(f"{part:.3g}" for part in parts)


def fixed_sentence(comparison: Comparison, factors: Sequence[str]) -> str:
    """The settings that all compared runs share, in words; those a reader asks for first."""

    def shared(key: str) -> str | None:
        if key in factors or key not in comparison.settings.columns:
            return None
        texts = comparison.settings[key].unique()
        return literal(str(texts[0]), 40) if len(texts) == 1 else None

    test, val = shared("data.test_fraction"), shared("data.val_fraction")
    phrases: list[tuple[str | None, str]] = [
        (shared("batch.size"), "batch size {}"),
        ({"true": "rows shuffled", "false": "rows in fixed order"}.get(shared("batch.shuffle") or ""), "{}"),
        (shared("activation"), "{}"),
        (shared("optimizer"), "{}"),
        (shared("optimizer.lr"), "learning rate {}"),
        (None if shared("scheduler") == "none" else shared("scheduler"), "schedule {}"),
        (shared("trainer.max_epochs"), "{} epochs"),
        (shared("model.hidden_widths"), "hidden widths {}"),
        (shared("model.initialization"), "{} initialisation"),
        ({"none": "raw"}.get(shared("data.scaling") or "", shared("data.scaling")), "{} features"),
        (split_text(test, val) if test and val else None, "{} split"),
    ]
    return ", ".join(phrase.replace("{}", text) for text, phrase in phrases if text)


def watched_rows(comparison: Comparison) -> str:
    """What `val/...` is a score of: the test rows, unless rows were set aside for validation."""
    fractions = set(comparison.settings.get("data.val_fraction", pd.Series(["0"])))
    if fractions == {"0"}:
        return "test"
    return "test or validation" if "0" in fractions else "validation"
