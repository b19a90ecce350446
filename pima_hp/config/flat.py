"""Settings as one level of dotted keys: `{"optimizer": {"lr": 0.1}}` is `{"optimizer.lr": 0.1}`."""

from collections.abc import Mapping
from typing import Any

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
