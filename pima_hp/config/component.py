"""What the sections of a configuration are made of: strict groups of settings, and classes named by `_target_`."""

import json
import math
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, computed_field, model_serializer, model_validator

from pima_hp.config.options import option_name


def _plain(value: object) -> object:
    """Refuse in one sentence what is no `Scalar`; pydantic would say one for each member of the union."""
    for item in value if isinstance(value, list) else [value]:
        number = isinstance(item, int | float) and abs(item) <= sys.float_info.max
        if not number and (isinstance(value, list) or not isinstance(item, str)):
            raise ValueError(f"must be a finite number, true, false, a word or a list of numbers; found {value!r:.60}")
    return [_unsigned_zero(item) for item in value] if isinstance(value, list) else _unsigned_zero(value)


def _unsigned_zero(value: object) -> object:
    return 0.0 if isinstance(value, float) and value == 0 else value  # -0.0 has the id of 0.0, but other quotients


def _json(value: object) -> object:
    """Refuse what JSON cannot hold, such as NaN."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"must be made of finite numbers, words, lists and mappings; found {value!r:.60}") from None
    if _names_a_class(value):
        raise ValueError(f"must not name a class: a nested _target_ is not instantiated; found {value!r:.60}")
    return _unsigned_zero(value)


def _names_a_class(value: object) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_names_a_class, value.values()))
    return isinstance(value, list) and any(map(_names_a_class, value))


Scalar = Annotated[bool | int | float | str | list[float], BeforeValidator(_plain)]  # betas must be floats
Argument = Annotated[Any, BeforeValidator(_json)]

# (lowest, highest, whether the lowest itself is allowed) of hyperparameters that any optimizer or scheduler may have.
_BOUNDS: dict[str, tuple[float, float, bool]] = {
    "lr": (0.0, math.inf, False),
    "gamma": (0.0, math.inf, False),
    "factor": (0.0, 1.0, False),
    **dict.fromkeys(("momentum", "alpha", "betas"), (0.0, 1.0, True)),
    **dict.fromkeys(("step_size", "T_max"), (1.0, math.inf, True)),
    **dict.fromkeys(("eps", "weight_decay", "initial_accumulator_value", "momentum_decay"), (0.0, math.inf, True)),
    **dict.fromkeys(("patience", "eta_min", "min_lr", "threshold", "cooldown"), (0.0, math.inf, True)),
}
_WHOLE = {"step_size", "T_max", "patience", "cooldown"}
"""Hyperparameters that count epochs."""


class Section(BaseModel):
    """A group of settings: unknown names, other types, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Component(Section):
    """A class named by `_target_`, and the arguments that it is called with.

    Attributes:
        target: the dotted name of the class; what it may be is checked where it is looked up (`pima_hp.config.build`).
        source: digest of the file that defines a class of one's own; empty for classes of torch, lightning and pima_hp.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Argument] = Field(init=False)
    usual: ClassVar[str] = ""  # the class that goes without saying in what is stored

    target: str = Field(alias="_target_")
    source: str = Field(alias="_source_", default="")

    @model_validator(mode="before")
    @classmethod
    def _reserved_words(cls, settings: Any) -> Any:
        """Accept `_target_` and `_partial_: true`; refuse the other words of Hydra's `instantiate`."""
        if not isinstance(settings, Mapping):
            return settings
        allowed = ("_target_", "_partial_", "_source_")
        if own := [str(key) for key in settings if str(key).startswith("_") and key not in allowed]:
            raise ValueError("\n".join(f"{key}: must not be given; only _target_ may begin with _" for key in own))
        if settings.get("_partial_", True) is not True:
            raise ValueError(f"_partial_: must be left as it is; found {settings['_partial_']!r:.60}")
        fields = {"_target_", *cls.model_fields}
        given = {key: value for key, value in settings.items() if value is not None or key in fields}
        given.pop("_partial_", None)
        return {"_target_": cls.usual, **given} if cls.usual else given

    @model_serializer(mode="wrap")
    def _without_the_usual(self, dump: Any) -> dict[str, Any]:
        content: dict[str, Any] = dump(self)
        usual = {"_target_": self.usual or None, "target": self.usual or None, "_source_": "", "source": ""}
        return {
            key: value for key, value in content.items() if key not in usual or value is None or value != usual[key]
        }

    @property
    def arguments(self) -> dict[str, Any]:
        """What the class is called with."""
        return dict(self.__pydantic_extra__)

    @property
    def node(self) -> dict[str, Any]:
        """The class and its arguments, as `build` takes them and a checkpoint stores them."""
        return {"_target_": self.target, **self.arguments}


class NamedComponent(Component):
    """A component that is known by the name of an option, such as `relu`."""

    __pydantic_extra__: dict[str, Scalar] = Field(init=False)
    group: ClassVar[str]
    bounds: ClassVar[dict[str, tuple[float, float, bool]]] = _BOUNDS

    @computed_field  # type: ignore[prop-decorator]
    @cached_property
    def name(self) -> str:
        """The name of the option with this class and the fewest differing arguments."""
        return option_name(self.group, {"_target_": self.target, **self.named_arguments})

    @property
    def named_arguments(self) -> dict[str, Any]:
        """The arguments that the name depends on."""
        return self.arguments

    @model_validator(mode="wrap")
    @classmethod
    def _name_of_the_content(cls, settings: Any, handler: Any) -> Any:
        """Check a `name` that is given: it is that of the content."""
        if isinstance(settings, Mapping) and "name" in settings:
            section = handler({key: value for key, value in settings.items() if key != "name"})
            if settings["name"] != section.name:
                raise ValueError(f"name: must be that of the content, {section.name}; found {settings['name']!r:.60}")
            return section
        return handler(settings)

    @model_validator(mode="after")
    def _arguments_in_bounds(self) -> Self:
        problems = []
        for name, value in self.arguments.items():
            if name == "betas" and not (isinstance(value, list) and len(value) == 2):
                problems.append(f"betas: must be two numbers; found {value}")
                continue
            if name not in self.bounds:
                continue
            low, high, closed = self.bounds[name]
            for number in value if name == "betas" and isinstance(value, list) else [value]:
                if isinstance(number, bool | str | list):
                    problems.append(f"{name}: must be a number; found {number!r:.60}")
                elif name in _WHOLE and number != int(number):
                    problems.append(f"{name}: must be a whole number; found {number:g}")
                elif not (low <= number if closed else low < number) or not number < high:
                    above = f"at least {low:g}" if closed else f"above {low:g}"
                    below = "" if high == math.inf else f" and below {high:g}"
                    problems.append(f"{name}: must be {above}{below}; found {number:g}")
        if problems:
            raise ValueError("\n".join(problems))
        return self
