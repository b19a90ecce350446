"""The typed settings of a run: what is allowed, and the identity of a configuration and of a run."""

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, computed_field, field_validator, model_validator

from pima_hp.options import option_name

MAX_SEED = 2**32 - 1
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


def _plain(value: object) -> object:
    """Refuse in one sentence what is no `Scalar`; pydantic would say one for each member of the union."""
    for item in value if isinstance(value, list) else [value]:
        number = isinstance(item, int | float) and abs(item) <= sys.float_info.max
        if not number and (isinstance(value, list) or not isinstance(item, str)):
            raise ValueError(f"must be a finite number, true, false, a word or a list of numbers; found {value!r:.60}")
    return [_unsigned_zero(item) for item in value] if isinstance(value, list) else _unsigned_zero(value)


def _unsigned_zero(value: object) -> object:
    return 0.0 if isinstance(value, float) and value == 0 else value  # -0.0 has the id of 0.0, but other quotients


Scalar = Annotated[float | bool | str | list[float], BeforeValidator(_plain)]

ACTIVATION_TARGETS = frozenset(
    f"torch.nn.{name}"
    for name in (
        *("CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU"),
        *("LogSigmoid", "Mish", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign"),
        *("Tanh", "Tanhshrink"),
    )
)
OPTIMIZER_TARGETS = frozenset(
    f"torch.optim.{name}"
    for name in ("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD")
)
SCHEDULER_TARGETS = frozenset(
    f"torch.optim.lr_scheduler.{name}" for name in ("CosineAnnealingLR", "ReduceLROnPlateau", "StepLR")
)

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


class DataSection(Section):
    """Which table, how it is cleaned, scaled and split."""

    path: str | None
    label: str
    features: list[str] | None
    zero_is_missing: list[str]
    missing: Literal["keep", "median"]
    scaling: Literal["none", "standard", "minmax"]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    val_fraction: Annotated[float, Field(ge=0, lt=1)]
    stratified: bool

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Self:
        if self.test_fraction + self.val_fraction >= 1:
            raise ValueError(
                f"test_fraction + val_fraction must be below 1; found {self.test_fraction + self.val_fraction:g}"
            )
        return self


class ModelSection(Section):
    """Hidden widths and initialisation of the MLP."""

    hidden_widths: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=16)]
    initialization: Literal["uniform", "glorot_uniform", "he_normal", "torch_default"]


class Component(Section):
    """A class named by `_target_` and its arguments, which are free but must be finite numbers, or words."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar] = Field(init=False)
    bounds: ClassVar[dict[str, tuple[float, float, bool]]] = _BOUNDS
    group: ClassVar[str]
    targets: ClassVar[frozenset[str | None]]

    target: str | None = Field(alias="_target_")

    @computed_field  # type: ignore[prop-decorator]
    @cached_property
    def name(self) -> str:
        """The name of the option with this class and the fewest differing arguments."""
        return option_name(self.group, self.model_dump(by_alias=True, exclude={"name"}))

    @model_validator(mode="before")
    @classmethod
    def _known_words(cls, settings: Any) -> Any:
        """Check a `name` that is given and drop it; refuse the words of Hydra's `instantiate`, such as `_args_`."""
        if not isinstance(settings, Mapping):
            return settings
        rest = {key: value for key, value in settings.items() if key != "name"}
        if own := [str(key) for key in rest if str(key).startswith("_") and key != "_target_"]:
            raise ValueError("\n".join(f"{key}: must not be given; only _target_ may begin with _" for key in own))
        target = rest.get("_target_", "")
        if "name" in settings and isinstance(target, str | None) and target in cls.targets:
            name = option_name(cls.group, rest)
            if settings["name"] != name:
                raise ValueError(f"name: must be that of the content, {name}; found {settings['name']!r:.60}")
        return rest

    @property
    def arguments(self) -> dict[str, Any]:
        """Everything but `_target_`: what the class is called with."""
        return dict(self.__pydantic_extra__)

    @field_validator("target")
    @classmethod
    def _allowed(cls, target: str | None) -> str | None:
        if target not in cls.targets:
            allowed = ", ".join(sorted(filter(None, cls.targets)))
            raise ValueError(f"must be in the allow-list of the project; found {target!r}; allowed: {allowed}")
        return target

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


class ActivationSection(Component):
    """The hidden activation; an `alpha` of its own is no decay rate, and a `beta` is softplus's."""

    bounds: ClassVar[dict[str, tuple[float, float, bool]]] = {"beta": (0.0, math.inf, False)}
    group = "activation"
    targets = ACTIVATION_TARGETS


class OptimizerSection(Component):
    """The update rule and its hyperparameters."""

    group = "optimizer"
    targets = OPTIMIZER_TARGETS
    lr: float

    @property
    def arguments(self) -> dict[str, Any]:
        """What the class is called with, besides the parameters."""
        return {"lr": self.lr, **super().arguments}


class SchedulerSection(Component):
    """How the learning rate changes from epoch to epoch; without a target it stays as it is."""

    group = "scheduler"
    targets = SCHEDULER_TARGETS | {None}
    monitor: Literal["train/loss", "val/loss"] | None = None

    @model_validator(mode="after")
    def _arguments_have_a_class(self) -> Self:
        if self.target is None and (given := [*self.arguments, *([] if self.monitor is None else ["monitor"])]):
            raise ValueError("\n".join(f"{name}: must go with a _target_; found none" for name in given))
        return self


class BatchSection(Section):
    """Rows of one update, and whether their order changes from epoch to epoch."""

    size: int | str
    shuffle: bool

    @field_validator("size", mode="before")
    @classmethod
    def _rows(cls, size: object) -> object:
        if size != "full" and (type(size) is not int or size < 1):
            raise ValueError(
                f"must be a whole number from 1 to the number of training rows, or full; found {size!r:.60}"
            )
        return size


HOW_NOT_WHAT = {"accelerator", "engine", "stack_size"}  # do not change what a run computes


class TrainerSection(Section):
    """How long and how precisely to train, where, and through which program."""

    max_epochs: Annotated[int, Field(ge=1, le=1_000_000)]
    precision: Literal["32-true", "64-true"]
    accelerator: Literal["auto", "cpu", "gpu"]
    engine: Literal["auto", "solo", "stacked", "fused"]
    stack_size: Annotated[int, Field(ge=2, le=65536)]

    @field_validator("precision", mode="before")
    @classmethod
    def _spelled_out(cls, precision: object) -> object:
        return {"32": "32-true", "64": "64-true"}.get(str(precision), precision)

    @property
    def dtype(self) -> str:
        """Name of the floating-point type of weights and data."""
        return f"float{self.precision[:2]}"


class Seeds(Section):
    """The seed of a run and of its three streams."""

    seed: Seed
    init: Seed
    split: Seed
    order: Seed


class Config(Section):
    """All settings that decide what a run computes, without the seed."""

    data: DataSection
    model: ModelSection
    activation: ActivationSection
    optimizer: OptimizerSection
    scheduler: SchedulerSection
    batch: BatchSection
    trainer: TrainerSection
    data_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @cached_property
    def content(self) -> dict[str, Any]:
        """What the identity is made of: no seed, no path, no device."""
        names = {key: {"name"} for key in ("activation", "optimizer", "scheduler")}
        return self.model_dump(by_alias=True, exclude={"data": {"path"}, "trainer": HOW_NOT_WHAT, **names})

    @cached_property
    def id(self) -> str:
        """Digest of the content: two spellings of one configuration have one id."""
        return _digest(self.content)

    def run_id(self, seeds: Seeds) -> str:
        """Digest of the configuration and the seeds."""
        return _digest({"config_id": self.id, **seeds.model_dump()})


def _digest(content: object) -> str:
    """16 hexadecimal digits; numbers that are equal are written equally (1 and 1.0)."""
    text = json.dumps(_canonical(content), sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
