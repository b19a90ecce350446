"""The functionals that a claim may name, and the curve that each is applied to."""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from pima_hp.analysis import curves
from pima_hp.config import Section
from pima_hp.config.problems import nearest
from pima_hp.run import Array

EVENTS = ("exceeds", "learns", "never_exceeds", "reaches")
"""Functionals that say yes (1) or no (0)."""

_NUMBERS = ("final_score", "log_volatility", "maximum", "restricted_epochs", "volatility")
FUNCTIONALS: dict[str, Callable[..., Array]] = {name: getattr(curves, name) for name in (*EVENTS, *_NUMBERS)}
_FACTS = {"n_train", "positive_rate"}  # arguments that are columns of the ledger, and no choice


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"must be a finite number; found {value!r:.60}")
    return value


class Functional(Section):
    """A functional by name, the curve, and the functional's own arguments (`threshold`, `window_epochs`, ...)."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[int | float, BeforeValidator(_number)]] = Field(init=False)

    name: str
    curve: str

    @property
    def arguments(self) -> dict[str, Any]:
        """What the functional is called with, besides curves and facts about the training rows."""
        return dict(self.__pydantic_extra__)

    def value(self, argument: str) -> Any:
        """The value of an argument, as given or by default."""
        return self.arguments.get(argument, self.parameters[argument].default)

    @property
    def unit(self) -> str:
        """Of its values."""
        if self.name in EVENTS:
            return "share of runs"
        return "epochs" if self.name == "restricted_epochs" else "nats" if "loss" in self.curve else "accuracy"

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Arguments that a claim may give."""
        return {key: item for key, item in self._signature().items() if key not in _FACTS}

    @property
    def facts(self) -> set[str]:
        """Columns of the ledger that it needs beside the curve: what is known of the training rows."""
        return _FACTS & set(self._signature())

    def _signature(self) -> dict[str, inspect.Parameter]:
        return dict(list(inspect.signature(FUNCTIONALS[self.name]).parameters.items())[1:])

    @model_validator(mode="after")
    def _known(self) -> Self:
        problems = _unless_known("name", self.name, FUNCTIONALS)
        if not problems:
            for key, value in self.arguments.items():
                problems += _unless_known(f"argument of {self.name}", key, self.parameters)
                if "epoch" in key and (not isinstance(value, int) or value < 1):
                    problems.append(f"{key}: must be a whole number of epochs from 1; found {value!r}")
            required = {key for key, item in self.parameters.items() if item.default is item.empty}
            problems += [f"{key}: must be given for {self.name}" for key in sorted(required - set(self.arguments))]
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _unless_known(what: str, found: str, allowed: Iterable[str]) -> list[str]:
    names = sorted(allowed)
    hint = nearest(found, names) or f"; allowed: {', '.join(names) or 'none'}"
    return [] if found in names else [f"{what}: must be a known one; found {found!r}{hint}"]
