"""Settings as one level of dotted keys: `{"optimizer": {"lr": 0.1}}` is `{"optimizer.lr": 0.1}`."""

from collections.abc import Mapping
from typing import Any

from pima_hp.configuration import HOW_NOT_WHAT

Setting = bool | int | float | str | tuple[Any, ...] | None
NOT_A_SETTING = frozenset({"data.path", *(f"trainer.{name}" for name in HOW_NOT_WHAT)})
"""Where and how a run is made: no part of what it computes."""

NAMED_SECTIONS = ("activation", "optimizer", "scheduler")
"""Sections whose `name` stands for the section itself, as on the command line: `optimizer=adam`."""


def flattened(settings: Mapping[str, Any]) -> dict[str, Setting]:
    """Nested settings as dotted keys; lists become tuples, so that values can be compared and grouped."""
    flat: dict[str, Setting] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": item for inner, item in flattened(value).items()}
        else:
            flat[key] = tuple(value) if isinstance(value, list) else value
    return flat


def columns_of(settings: Mapping[str, Any]) -> dict[str, Setting]:
    """The same for a table: the name of a section leads under the key of the section."""
    names = {f"{section}.name": section for section in NAMED_SECTIONS}
    flat = {names.get(key, key): value for key, value in flattened(settings).items()}
    return {**{section: flat[section] for section in NAMED_SECTIONS if section in flat}, **flat}
