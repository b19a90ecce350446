"""Settings as one level of dotted keys: `{"optimizer": {"lr": 0.1}}` is `{"optimizer.lr": 0.1}`."""

from collections.abc import Mapping
from typing import Any

from pima_hp.config.options import option_name

Setting = bool | int | float | str | tuple[Any, ...] | None

NAMED_SECTIONS = ("activation", "optimizer", "scheduler")
"""Sections that are known by the name of an option, as on the command line: `optimizer=adam`."""


def flattened(settings: Mapping[str, Any]) -> dict[str, Setting]:
    """Return nested settings as dotted keys; lists become tuples, so that values can be compared and grouped."""
    flat: dict[str, Setting] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": item for inner, item in flattened(value).items()}
        else:
            flat[key] = tuple(value) if isinstance(value, list) else value
    return flat


def columns_of(settings: Mapping[str, Any]) -> dict[str, Setting]:
    """Return settings as dotted keys, the names of options first: `{"optimizer": "adam", "optimizer.lr": 0.1}`."""
    names = {section: option_name(section, settings[section]) for section in NAMED_SECTIONS if section in settings}
    return names | flattened(settings)
