"""What a configuration is made of: strict groups of settings, and classes named by `_target_`."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_serializer, model_validator


class Section(BaseModel):
    """A group of settings: unknown names, other types, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Bounds(Section):
    """What some arguments of a class must be; others are free."""

    model_config = ConfigDict(extra="ignore")


def _argument(value: Any) -> Any:
    """Refuse what JSON cannot hold, such as NaN, and nested classes, which would not be instantiated."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"must be made of finite numbers, words, lists and mappings; found {value!r:.60}") from None
    if '"_target_":' in text:
        raise ValueError(f"must not name a class: a nested _target_ is not instantiated; found {value!r:.60}")
    if isinstance(value, list):
        return list(map(_unsigned, value))
    return _unsigned(value)


def _unsigned(value: Any) -> Any:
    return 0.0 if isinstance(value, float) and value == 0 else value  # -0.0 has the id of 0.0, but other quotients


class Component(Section):
    """A class named by `_target_`, and the arguments that it is called with; null ones are left out.

    Attributes:
        target: dotted name of the class; checked where it is looked up (`pima_hp.config.build`).
        source: digest of the file that defines a class of the user's own; empty for torch, lightning and pima_hp.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[Any, BeforeValidator(_argument)]] = Field(init=False)
    usual: ClassVar[str] = ""  # the class where none is named; it is not stored
    bounds: ClassVar[type[Bounds]] = Bounds

    target: str = Field(alias="_target_")
    source: str = Field(alias="_source_", default="")

    @model_validator(mode="before")
    @classmethod
    def _check_arguments(cls, settings: Any) -> Any:
        if not isinstance(settings, Mapping):
            return settings
        given = {"_target_": cls.usual} if cls.usual else {}
        given |= {key: value for key, value in settings.items() if value is not None or key in cls.model_fields}
        given.pop("_partial_", None)  # for Hydra users; `build` does not need it
        if words := [str(key) for key in given if str(key).startswith("_") and key not in ("_target_", "_source_")]:
            raise ValueError(f"{words[0]}: must not be given; only _target_ may begin with _")
        return given | cls.bounds.model_validate(given).model_dump(exclude_unset=True)

    @model_serializer(mode="wrap")
    def _without_the_usual(self, dump: Any) -> dict[str, Any]:
        usual = {"_target_": self.usual, "target": self.usual, "_source_": "", "source": ""}
        content: dict[str, Any] = dump(self)
        return {key: value for key, value in content.items() if key not in usual or value != usual[key]}

    @property
    def arguments(self) -> dict[str, Any]:
        """What the class is called with."""
        return {name: value for name, value in self if name not in ("target", "source")}

    @property
    def node(self) -> dict[str, Any]:
        """The class and its arguments, as `build` takes them and a checkpoint stores them."""
        return {"_target_": self.target, **self.arguments}
