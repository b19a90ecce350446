"""What tells the configurations of a study apart, and the names for people and folders that it gives."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from pima_hp.config.sections import CallbackSection
from pima_hp.config.trainer import INERT_ARGUMENTS
from pima_hp.run import MAIN_SETTINGS

Value = bool | float | str
Settings = Mapping[str, Mapping[str, Any]]
"""Configuration id -> dotted keys and values."""

LONGEST = 100
_READABLE = 60


def labels_of(flat_settings: Settings, swept: Sequence[str] = ()) -> dict[str, str]:
    """Return configuration id -> its name in the study, safe as the name of a folder: `relu, sgd, lr 0.01`.

    A name joins the values of `distinguishing`. Where that makes names too long to read, the most frequent value of a
    dotted key goes without saying. Equal names are told apart by the beginning of the id.

    Args:
        flat_settings: the settings of every configuration of the study, as `columns_of` gives them.
        swept: keys and groups in the order in which their values lead.
    """
    values = distinguishing(flat_settings, swept)
    leaves = Counter({key: _leaf(key) for settings in values.values() for key in settings}.values())

    def name(settings: Mapping[str, Value], unsaid: Mapping[str, Value]) -> str:
        parts = [
            _part(key, value, qualified=leaves[_leaf(key)] > 1)
            for key, value in settings.items()
            if not (key in unsaid and unsaid[key] == value) and not (len(values) == 1 and value == "none")
        ]
        return _folder_name(", ".join(parts)) or "baseline"

    labels = {config_id: name(settings, {}) for config_id, settings in values.items()}
    if max(map(len, labels.values()), default=0) > _READABLE:
        counted: dict[str, Counter[Value]] = defaultdict(Counter)
        for settings in values.values():
            for key, value in settings.items():
                counted[key][value] += "." in key
        usual = {key: counts.most_common(1)[0][0] for key, counts in counted.items() if counts.total()}
        labels = {config_id: name(settings, usual) for config_id, settings in values.items()}
    counts = Counter(map(str.casefold, labels.values()))  # some file systems ignore case
    for config_id, label in labels.items():
        if counts[label.casefold()] > 1:
            labels[config_id] = f"{label[: LONGEST - 8]} ~{config_id[:6]}"
    return labels


def run_name(label: str, seed: int, run_id: str) -> str:
    """Return the name of a run's own folder: `relu, sgd, seed 3, ab12cd`."""
    return f"{label}, seed {seed}, {run_id[:6]}"


def distinguishing(flat_settings: Settings, swept: Sequence[str] = ()) -> dict[str, dict[str, Value]]:
    """Return configuration id -> the settings that differ between the configurations, or the main ones of a single one.

    A setting is left out where the words of its section that are shown determine it: `optimizer` tells
    `optimizer.alpha`, unless it differs between two configurations of one optimizer.
    """
    plain = {config_id: _plain(settings) for config_id, settings in flat_settings.items()}
    keys = list(dict.fromkeys(key for settings in plain.values() for key in settings))
    columns = {key: [settings.get(key) for settings in plain.values()] for key in keys}
    if len(plain) == 1:
        shown = [key for key in MAIN_SETTINGS if key in columns]
    else:
        shown = []
        words: dict[str, list[list[Any]]] = defaultdict(list)  # section -> the columns of words that are shown
        for key in sorted(keys, key=lambda key: _rank(key, swept)):
            section, column = key.partition(".")[0], columns[key]
            groups = list(zip(*words[section], strict=True)) or [()] * len(plain)
            if len(set(zip(groups, column, strict=True))) > len(set(groups)):
                shown.append(key)
                if all(value is None or isinstance(value, bool | str) for value in column):
                    words[section].append(column)
    mixed = {key for key in shown if len({isinstance(value, str) for value in columns[key] if value is not None}) > 1}
    return {
        config_id: {key: _text(values[key]) if key in mixed else values[key] for key in shown if key in values}
        for config_id, values in plain.items()
    }


def _plain(settings: Mapping[str, Any]) -> dict[str, Value]:
    """Return the settings that are set and change what a run computes, each a word or a number."""
    targets = {key.rpartition(".")[0]: value for key, value in settings.items() if key.endswith("._target_")}
    inert = {f"trainer.{name}" for name in INERT_ARGUMENTS} | {"data_digest"}  # a path tells its digest
    watching = tuple(
        f"{name}."
        for name, target in targets.items()
        if name.startswith("callbacks.") and CallbackSection(_target_=target).is_inert
    )
    plain: dict[str, Value] = {}
    for key, value in {**settings, "data.path": settings.get("data.path")}.items():
        if key == "data.path":
            plain[key] = "pima" if value is None else PurePath(value).stem
        elif value is not None and key not in inert and not key.startswith(watching):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            plain[key] = float(value) if number else value if isinstance(value, bool | str) else _text(value)
    return plain


def _rank(key: str, swept: Sequence[str]) -> int:
    """Return the place of a key in the order of what is swept; a group leads its own settings."""
    places = [place for place, name in enumerate(swept) if key == name or key.startswith(f"{name}.")]
    return swept.index(key) if key in swept else min(places, default=len(swept))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}"
    return "-".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)


def _leaf(key: str) -> str:
    section, _, leaf = key.rpartition(".")
    return section if leaf == "size" else leaf


def _part(key: str, value: Value, *, qualified: bool) -> str:
    """Return a setting as a part of a name: `relu` of a group with names, `lr 0.01` of a key, a class by its name."""
    text = _text(value)
    if key.endswith("._target_"):
        return text.rpartition(".")[2]
    if "." not in key:
        return f"no {key}" if text == "none" else text
    if isinstance(value, bool):
        return _leaf(key) if value else f"no {_leaf(key)}"
    return f"{key if qualified else _leaf(key)} {text}"


def _folder_name(text: str) -> str:
    """Return a text as every file system takes it for the name of a folder."""
    return re.sub(r"[^\w .,=+()~-]", "_", text, flags=re.ASCII).lstrip(". ")[:LONGEST].rstrip(",. ")
