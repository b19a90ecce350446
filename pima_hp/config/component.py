"""What a configuration is made of: strict groups of settings, classes named by `_target_`, and the Trainer's."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, create_model, model_serializer
from pydantic.functional_validators import model_validator

from pima_hp.config.build import import_own
from pima_hp.errors import ConfigurationError


class Section(BaseModel):
    """A group of settings: unknown names, other types, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Bounds(Section):
    """What some arguments of a class must be; others are free."""

    model_config = ConfigDict(extra="ignore")


def _argument(value: Any) -> Any:
    """Refuse what JSON cannot hold, such as NaN, and nested classes, which would not be instantiated."""
    with suppress(TypeError, ValueError, RecursionError):
        if '"_target_":' not in (text := json.dumps(value, allow_nan=False)):
            return json.loads(text, parse_float=lambda digits: float(digits) + 0.0)  # -0.0, of other quotients, is 0.0
    raise ValueError(f"must be finite numbers, words, lists, mappings, without a nested _target_; found {value!r:.60}")


class Component(Section):
    """A class named by `_target_`, and the arguments that it is called with; null ones are left out.

    Attributes:
        target: dotted name of the class; checked where it is looked up (`pima_hp.config.build`).
        source: digest of the files that define a class of the user's own; empty for torch, lightning and pima_hp.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[Any, BeforeValidator(_argument)]] = Field(init=False)
    kind: ClassVar[str]  # what the class must inherit from; by name, as many commands import no torch or Lightning
    usual: ClassVar[str] = ""  # the class where none is named; it is not stored
    bounds: ClassVar[type[Bounds]] = Bounds
    no_arguments: ClassVar[tuple[str, ...]] = ("target", "source")  # fields that the class is not called with

    target: str = Field(alias="_target_")
    source: str = Field(alias="_source_", default="")

    @model_validator(mode="before")
    @classmethod
    def _check_arguments(cls, settings: Any, info: ValidationInfo) -> Any:
        if not isinstance(settings, Mapping):
            return settings
        given = {"_target_": cls.usual} if cls.usual else {}
        given |= {key: value for key, value in settings.items() if value is not None or key in cls.model_fields}
        if settings.get("_partial_") is True:  # for Hydra users; `build` does not need it
            del given["_partial_"]
        if words := [str(key) for key in given if str(key).startswith("_") and key not in ("_target_", "_source_")]:
            raise ValueError(f"only _target_ may begin with _; found {words[0]}")
        if info.context:  # of a command, whose user may name classes of their own
            try:
                given["_source_"] = import_own(str(given.get("_target_") or ""), cls.kind)
            except ConfigurationError as error:
                raise ValueError(error) from error
        return given | cls.bounds.model_validate(given).model_dump(exclude_unset=True)

    @model_serializer(mode="wrap")
    def _without_the_usual(self, dump: Any) -> dict[str, Any]:
        usual = {"_target_": self.usual, "target": self.usual, "_source_": "", "source": ""}
        content: dict[str, Any] = dump(self)
        return {key: value for key, value in content.items() if key not in usual or value != usual[key]}

    @property
    def arguments(self) -> dict[str, Any]:
        """What the class is called with."""
        return {name: value for name, value in self if name not in self.no_arguments}

    @property
    def node(self) -> dict[str, Any]:
        """The class and its arguments, as `build` takes them and a checkpoint stores them."""
        return {"_target_": self.target, **self.arguments}


# Arguments that have one value or none: callbacks and loggers have groups of their own, one small network is trained
# on one device, and every epoch is scored on all validation rows.
_BOUNDS: dict[str, Any] = {
    **dict.fromkeys(("barebones", "callbacks", "default_root_dir", "enable_checkpointing"), (None, None)),
    **dict.fromkeys(("enable_model_summary", "enable_progress_bar", "logger", "model_registry"), (None, None)),
    **dict.fromkeys(("plugins", "reload_dataloaders_every_n_epochs", "sync_batchnorm"), (None, None)),
    **dict.fromkeys(("check_val_every_n_epoch", "num_nodes"), (Literal[1], None)),
    **dict.fromkeys(("limit_val_batches", "val_check_interval"), (Annotated[float, Field(ge=1, le=1)], None)),
    "devices": (Literal[1, "1", "auto"], None),
    "strategy": (Literal["auto"], None),
    "use_distributed_sampler": (None, None),
}

# Arguments of the Trainer that do not change what a run computes, or whose runs are never recorded.
INERT_ARGUMENTS = {
    *("accelerator", "benchmark", "detect_anomaly", "enable_autolog_hparams", "fast_dev_run", "inference_mode"),
    *("limit_predict_batches", "limit_test_batches", "log_every_n_steps", "num_sanity_val_steps", "profiler"),
    *_BOUNDS,
}


def _spelled_out(precision: object) -> object:
    return {"32": "32-true", "64": "64-true"}.get(str(precision), precision)


class TrainerSection(Component):
    """Arguments of `lightning.Trainer`: how long and how precisely to train, and where."""

    kind = usual = "lightning.Trainer"
    bounds: ClassVar[type[Bounds]] = create_model(
        "_TrainerArguments", __base__=Bounds, **_BOUNDS, limit_train_batches=(Annotated[int | float, Field(gt=0)], None)
    )

    max_epochs: Annotated[int, Field(ge=1, le=1_000_000)]
    precision: Annotated[
        Literal["32-true", "64-true", "16-mixed", "bf16-mixed", "bf16-true", "16-true"], BeforeValidator(_spelled_out)
    ] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"

    @property
    def extra(self) -> dict[str, Any]:
        """The arguments beyond epochs and precision that change what a run computes, such as `gradient_clip_val`."""
        others = INERT_ARGUMENTS | {"max_epochs", "precision"}
        return {name: value for name, value in self.arguments.items() if name not in others}

    @property
    def dtype(self) -> str:
        """Name of the floating-point type of weights and data; Lightning converts them for the mixed precisions."""
        return "float64" if self.precision == "64-true" else "float32"
