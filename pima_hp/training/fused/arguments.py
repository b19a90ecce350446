"""The numbers that the kernel reads from the arguments of an activation, an optimizer or a scheduler."""

import inspect
from collections.abc import Mapping
from functools import cache
from pkgutil import resolve_name
from typing import Any

from pima_hp.config import Component
from pima_hp.training.fused.tables import Row


def numbers_of(component: Component, rows: Mapping[str | None, Row]) -> tuple[float, ...] | None:
    """Return the numbers that the row of a class names, torch's defaults filled in; None when no row equals it.

    `momentum_decay` comes as the factor of one step.
    """
    row = rows.get(component.target)
    if row is None:
        return None
    usual = {**_defaults(component.target), **row.fixed}
    given = {**_defaults(component.target), **component.arguments}
    if any(given[name] != usual[name] for name in usual if name not in (*row.names, row.flag)):
        return None
    if not given.get("momentum"):
        given["dampening"] = 0.0  # torch ignores it without momentum
    if "momentum_decay" in given:
        given["momentum_decay"] = 0.96 ** given["momentum_decay"]
    numbers = [given[name] for name in row.names]
    return tuple(float(number) for each in numbers for number in (each if isinstance(each, list | tuple) else [each]))


@cache
def _defaults(target: str | None) -> dict[str, Any]:
    parameters = inspect.signature(resolve_name(target)).parameters if target else {}
    return {name: parameter.default for name, parameter in parameters.items() if name not in ("params", "optimizer")}
