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
    shown = distinguishing(settings, swept)
    leaves = Counter(map(_leaf, {key for own in shown.values() for key in own}))
    labels = {}
    for config_id, own in shown.items():
        # where there is one configuration, it goes without saying that it has no scheduler
        told = [(key, value) for key, value in own.items() if len(shown) > 1 or value != "none"]
        text = ", ".join(_part(key, value, qualified=leaves[_leaf(key)] > 1) for key, value in told)
        labels[config_id] = _folder_name(text) or "baseline"
    counts = Counter(map(str.casefold, labels.values()))  # some file systems ignore case
    return {
        config_id: label if counts[label.casefold()] == 1 else f"{label[: LONGEST - 8]} ~{config_id[:6]}"
        for config_id, label in labels.items()
    }


def run_name(label: str, seed: int, run_id: str) -> str:
    """Return the name of a run's own folder: `relu, sgd, seed 3, ab12cd`."""
    return f"{label}, seed {seed}, {run_id[:6]}"


def distinguishing(settings: Settings, swept: Sequence[str] = ()) -> dict[str, dict[str, Value]]:
    """Return configuration id -> the settings that differ between the configurations, or the main ones of a single one.

    A setting is left out where the words of its section that are shown determine it: `optimizer` tells
    `optimizer.alpha`, unless it differs between two configurations of one optimizer.
    """
    plain = {config_id: _plain(own) for config_id, own in settings.items()}
    keys = dict.fromkeys(key for own in plain.values() for key in own)
    columns = {key: [own.get(key) for own in plain.values()] for key in keys}
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
        config_id: {key: _text(own[key]) if key in mixed else own[key] for key in shown if key in own}
        for config_id, own in plain.items()
    }


def _plain(settings: Mapping[str, Any]) -> dict[str, Value]:
    """Return the settings that are set, each a word or a number; a data file by its name, without its digest."""
    plain: dict[str, Value] = {}
    for key, value in settings.items():
        if key == "data.path":
            plain[key] = "pima" if value is None else PurePath(value).stem
        elif value is not None and key != "data_digest":
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
    if key.endswith("._target_"):
        return _text(value).rpartition(".")[2]
    if "." not in key:
        return f"no {key}" if value == "none" else _text(value)
    if isinstance(value, bool):
        return _leaf(key) if value else f"no {_leaf(key)}"
    return f"{key if qualified else _leaf(key)} {_text(value)}"


def _folder_name(text: str) -> str:
    """Return a text as every file system takes it for the name of a folder."""
    return re.sub(r"[^\w .,=+()~-]", "_", text, flags=re.ASCII).lstrip(". ")[:LONGEST].rstrip(",. ")
