"""The functionals that a claim may name, and the curve that each is applied to."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from pima_hp.analysis import curves
from pima_hp.configuration import Section
from pima_hp.record import CURVE_KEYS, Array
from pima_hp.validation import nearest

FUNCTIONALS: dict[str, Callable[..., Array]] = {
    function.__name__: function
    for function in [
        curves.exceeds,
        curves.final_score,
        curves.learns,
        curves.log_volatility,
        curves.maximum,
        curves.never_exceeds,
        curves.reaches,
        curves.restricted_epochs,
        curves.volatility,
    ]
}
EVENTS = frozenset({"exceeds", "learns", "never_exceeds", "reaches"})
"""Functionals that say yes (1) or no (0)."""

_FACTS = {"n_train", "positive_rate"}


@dataclass(frozen=True)
class TableFacts:
    """What a functional needs to know of the table, which the ledger does not hold."""

    n_rows: int
    positive_rate: float


PIMA = TableFacts(n_rows=768, positive_rate=268 / 768)


class Functional(Section):
    """A functional by name, the curve, and the functional's own arguments (`threshold`, `window_epochs`, ...)."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[int | float, Field()]] = Field(init=False)

    name: str
    curve: str

    @property
    def arguments(self) -> dict[str, Any]:
        """What the functional is called with, besides curves and facts of the table."""
        return dict(self.__pydantic_extra__)

    @property
    def unit(self) -> str:
        """Of its values."""
        if self.name in EVENTS:
            return "share of runs"
        if self.name == "restricted_epochs":
            return "epochs"
        return "nats" if "loss" in self.curve else "accuracy"

    def parameters(self) -> dict[str, inspect.Parameter]:
        """Arguments that the functional takes, facts of the table included."""
        return dict(list(inspect.signature(FUNCTIONALS[self.name]).parameters.items())[1:])

    @property
    def facts(self) -> set[str]:
        """Facts of the table that it takes."""
        return _FACTS & set(self.parameters())

    @model_validator(mode="after")
    def _known(self) -> Self:
        problems = [_unknown("name", self.name, FUNCTIONALS)] if self.name not in FUNCTIONALS else []
        if self.curve not in (keys := set(CURVE_KEYS.values())):
            problems.append(_unknown("curve", self.curve, keys))
        if not problems:
            taken = {key: item for key, item in self.parameters().items() if key not in _FACTS}
            problems += [
                _unknown(key, self.name, taken, "is no argument of") for key in set(self.arguments) - set(taken)
            ]
            needed = {key for key, item in taken.items() if item.default is item.empty} - set(self.arguments)
            problems += [f"{key}: must be given for {self.name}" for key in sorted(needed)]
            problems += [
                f"{key}: must be a whole number of epochs from 1; found {value!r}"
                for key, value in self.arguments.items()
                if "epoch" in key and (not isinstance(value, int) or value < 1)
            ]
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _unknown(key: str, found: str, allowed: Any, must: str = "") -> str:
    hint = nearest(key if must else found, allowed) or f"; allowed: {', '.join(sorted(allowed))}"
    return f"{key}: {must} {found}{hint}" if must else f"{key}: must be a known {key}; found {found!r}{hint}"
