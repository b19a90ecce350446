"""Settings as one level of dotted keys: `{"optimizer": {"lr": 0.1}}` is `{"optimizer.lr": 0.1}`."""

from collections.abc import Mapping
from typing import Any

from pima_hp.config.options import option_name
from pima_hp.config.trainer import INERT_ARGUMENTS

Setting = bool | int | float | str | tuple[Any, ...] | None
_HOW = frozenset(f"trainer.{name}" for name in INERT_ARGUMENTS)
NOT_A_SETTING = _HOW | {"data.path"}
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


def with_names(flat: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return dotted keys with the name of each named section under the key of the section."""
    names: dict[str, Setting] = {}
    for section in NAMED_SECTIONS:
        prefix = f"{section}."
        own = {key.removeprefix(prefix): value for key, value in flat.items() if key.startswith(prefix)}
        content = {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}
        if content:
            names[section] = option_name(section, {"_target_": None, **content})
    return {**names, **flat}


def is_hparam(key: str) -> bool:
    """Whether TensorBoard's HParams tab shows a setting: what a run computes, a class by the name of its section."""
    return key not in _HOW and not key.endswith("._target_")


def hparams_of(settings: Mapping[str, Any]) -> dict[str, Setting]:
    """Return the settings of one run that the HParams tab shows, without those that are not set."""
    return {key: value for key, value in columns_of(settings).items() if value is not None and is_hparam(key)}
