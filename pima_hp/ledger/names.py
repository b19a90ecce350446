"""What tells the configurations of a study apart, and the names for people and folders that it gives."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from pima_hp.run import MAIN_SETTINGS

Value = bool | float | str
Settings = Mapping[str, Mapping[str, Any]]
"""Configuration id -> its settings, `Config.flat`."""

LONGEST = 100


def labels_of(settings: Settings, swept: Sequence[str] = ()) -> dict[str, str]:
    """Return configuration id -> its name in the study, safe as the name of a folder: `relu, sgd, lr 0.01`.

    A name joins the values of `distinguishing`; equal names are told apart by the beginning of the id.

    Args:
        settings: of every configuration of the study.
        swept: keys and groups in the order in which their values lead.
    """
    texts = {
        config_id: ", ".join(_part(key, value) for key, value in own.items() if len(settings) > 1 or value != "none")
        for config_id, own in distinguishing(settings, swept).items()
    }
    # the names that every file system takes for a folder
    safe = {key: re.sub(r"[^\w .,=+()~-]", "_", text, flags=re.ASCII).lstrip(". ") for key, text in texts.items()}
    labels = {key: text[:LONGEST].rstrip(",. ") or "baseline" for key, text in safe.items()}
    counts = Counter(map(str.casefold, labels.values()))  # some file systems ignore case
    alike = {key for key, label in labels.items() if counts[label.casefold()] > 1}
    return labels | {key: f"{labels[key][: LONGEST - 8]} ~{key[:6]}" for key in labels if key in alike}


def run_name(label: str, seed: int, run_id: str) -> str:
    """Return the name of a run's own folder: `relu, sgd, seed 3, ab12cd`."""
    return f"{label}, seed {seed}, {run_id[:6]}"


def distinguishing(settings: Settings, swept: Sequence[str] = ()) -> dict[str, dict[str, Value]]:
    """Return configuration id -> the settings that differ between the configurations, or the main ones of a single one.

    A setting is left out where the words of its section that are shown determine it: `optimizer` tells
    `optimizer.alpha`, unless it differs between two configurations of one optimizer.
    """
    keys = list(dict.fromkeys(key for own in settings.values() for key in own if key != "data_digest"))
    columns = {key: [_plain(key, own.get(key)) for own in settings.values()] for key in keys}
    shown = [key for key in MAIN_SETTINGS if key in columns] if len(settings) == 1 else []
    words: dict[str, list[list[Any]]] = defaultdict(list)  # section -> the columns of words that are shown
    for key in sorted(keys, key=lambda key: _rank(key, swept)):
        section, column = key.partition(".")[0], columns[key]
        groups = list(zip(*words[section], strict=True)) or [()] * len(column)
        if len(set(zip(groups, column, strict=True))) > len(set(groups)):
            shown.append(key)
            if all(value is None or isinstance(value, bool | str) for value in column):
                words[section].append(column)
    for key in shown:
        if len({isinstance(value, str) for value in columns[key] if value is not None}) > 1:  # batch.size=16,full
            columns[key] = [value if value is None else _text(value) for value in columns[key]]
    return {
        config_id: {key: value for key in shown if (value := columns[key][row]) is not None}
        for row, config_id in enumerate(settings)
    }


def _plain(key: str, value: Any) -> Value | None:
    """Return a setting as a word or a number; a data file by its name."""
    if key == "data.path":
        return "pima" if value is None else PurePath(value).stem
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value if value is None or isinstance(value, bool | str) else _text(value)


def _rank(key: str, swept: Sequence[str]) -> int:
    """Return the place of a key in the order of what is swept; a group leads its own settings."""
    places = [place for place, name in enumerate(swept) if key == name or key.startswith(f"{name}.")]
    return swept.index(key) if key in swept else min(places, default=len(swept))


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(map(_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _part(key: str, value: Value) -> str:
    """Return a setting as a part of a name: `relu` of a group with names, `lr 0.01` of a key, a class by its name."""
    section, _, leaf = key.rpartition(".")
    if not section:
        return f"no {key}" if value == "none" else str(value)
    if leaf == "_target_":
        return str(value).rpartition(".")[2]
    name = section if leaf == "size" else leaf
    return f"{'' if value else 'no '}{name}" if isinstance(value, bool) else f"{name} {_text(value)}"
