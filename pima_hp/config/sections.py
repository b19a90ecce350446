"""The typed settings of a run: what is allowed, and the identity of a configuration and of a run."""

import hashlib
import json
import math
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from pima_hp.config.component import Component, NamedComponent, Section

MAX_SEED = 2**32 - 1
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


class DataSection(Component):
    """Which table, how it is cleaned, scaled and split."""

    model_config = ConfigDict(extra="forbid")
    usual = "pima_hp.data.PimaDataModule"

    path: str | None = None
    label: str
    features: list[str] | None = None
    zero_is_missing: list[str]
    missing: Literal["keep", "median"]
    scaling: Literal["none", "standard", "minmax"]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    val_fraction: Annotated[float, Field(ge=0, lt=1)]
    stratified: bool

    @property
    def arguments(self) -> dict[str, Any]:
        """What the datamodule is called with."""
        return self.model_dump(exclude={"target", "source"})

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Self:
        if self.test_fraction + self.val_fraction >= 1:
            raise ValueError(
                f"test_fraction + val_fraction must be below 1; found {self.test_fraction + self.val_fraction:g}"
            )
        return self


class _MLPArguments(Section):
    hidden_widths: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=16)]
    initialization: Literal["uniform", "glorot_uniform", "he_normal", "torch_default"]


class ModelSection(Component):
    """The network: the project's MLP, or a module of one's own."""

    usual = "pima_hp.model.MLP"

    @property
    def is_mlp(self) -> bool:
        """Whether it is the project's MLP, which has hidden widths and an initialization."""
        return self.target == self.usual

    @property
    def hidden_widths(self) -> list[int]:
        """Units of each hidden layer of an MLP."""
        return list(self.arguments["hidden_widths"])

    @property
    def initialization(self) -> str:
        """How an MLP draws its first weights."""
        return str(self.arguments["initialization"])

    @model_validator(mode="wrap")
    @classmethod
    def _mlp(cls, settings: Any, handler: Any) -> Any:
        section = handler(settings)
        if section.is_mlp:
            _MLPArguments.model_validate(section.arguments)
        return section


class ActivationSection(NamedComponent):
    """The hidden activation; an `alpha` of its own is no decay rate, and a `beta` is softplus's."""

    bounds: ClassVar[dict[str, tuple[float, float, bool]]] = {"beta": (0.0, math.inf, False)}
    group = "activation"


class OptimizerSection(NamedComponent):
    """The update rule and its hyperparameters."""

    group = "optimizer"
    lr: float

    @property
    def arguments(self) -> dict[str, Any]:
        """What the class is called with, besides the parameters."""
        return {"lr": self.lr, **super().arguments}


class SchedulerSection(NamedComponent):
    """How the learning rate changes from epoch to epoch; without a target it stays as it is."""

    group = "scheduler"
    target: str | None = Field(alias="_target_", default=None)  # type: ignore[assignment]
    monitor: Literal["train/loss", "val/loss"] | None = None

    @property
    def named_arguments(self) -> dict[str, Any]:
        """The arguments that the name depends on, and what is monitored."""
        return {"monitor": self.monitor, **self.arguments}

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


INERT_ARGUMENTS = frozenset(
    [
        *("accelerator", "benchmark", "default_root_dir", "detect_anomaly", "devices", "enable_autolog_hparams"),
        *("enable_checkpointing", "enable_model_summary", "enable_progress_bar", "fast_dev_run", "inference_mode"),
        *("limit_predict_batches", "limit_test_batches", "log_every_n_steps", "num_sanity_val_steps", "profiler"),
    ]
)
"""Arguments of the Trainer that do not change what a run computes, or whose runs are never recorded."""

_NOT_SUPPORTED = {
    "callbacks": "write callbacks=OPTION or a file of your own in conf/callbacks",
    "logger": "write logger=OPTION or a file of your own in conf/logger",
    **dict.fromkeys(
        ("check_val_every_n_epoch", "limit_val_batches", "val_check_interval"),
        "every epoch is scored on all watched rows",
    ),
    **dict.fromkeys(
        ("num_nodes", "plugins", "strategy", "sync_batchnorm", "use_distributed_sampler"),
        "one small network is trained on one device",
    ),
    **dict.fromkeys(("barebones", "model_registry", "reload_dataloaders_every_n_epochs"), "it has no use here"),
}


class TrainerSection(Component):
    """Arguments of `lightning.Trainer`: how long and how precisely to train, and where."""

    usual = "lightning.Trainer"

    max_epochs: Annotated[int, Field(ge=1, le=1_000_000)]
    precision: str = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"

    @field_validator("precision", mode="before")
    @classmethod
    def _spelled_out(cls, precision: object) -> object:
        allowed = ("32-true", "64-true", "16-mixed", "bf16-mixed", "bf16-true", "16-true")
        spelled = {"32": "32-true", "64": "64-true"}.get(str(precision), precision)
        if spelled not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}; found {precision!r:.60}")
        return spelled

    @model_validator(mode="after")
    def _supported(self) -> Self:
        extra = self.__pydantic_extra__
        problems = [f"{name}: must not be given; {_NOT_SUPPORTED[name]}" for name in extra if name in _NOT_SUPPORTED]
        if extra.get("devices", 1) != 1:
            problems.append(
                f"devices: must be 1, as one small network is trained on one device; found {extra['devices']!r:.60}"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """What the Trainer is called with, besides callbacks and loggers."""
        own = {"max_epochs": self.max_epochs, "precision": self.precision, "accelerator": self.accelerator}
        return {**own, **super().arguments}

    @property
    def extra(self) -> dict[str, Any]:
        """The arguments beyond epochs and precision that change what a run computes, such as `gradient_clip_val`."""
        return {name: value for name, value in super().arguments.items() if name not in INERT_ARGUMENTS}

    @property
    def dtype(self) -> str:
        """Name of the floating-point type of weights and data."""
        return {"64-true": "float64", "bf16-true": "bfloat16", "16-true": "float16"}.get(self.precision, "float32")


class EngineSection(Section):
    """Which engine trains the runs, and how many of them together at most."""

    name: Literal["auto", "solo", "stacked", "fused"]
    stack_size: Annotated[int, Field(ge=2, le=65536)]


_INERT_CALLBACKS = (
    *("ModelCheckpoint", "OnExceptionCheckpoint", "TQDMProgressBar", "RichProgressBar", "ModelSummary"),
    *("RichModelSummary", "LearningRateMonitor", "DeviceStatsMonitor", "ThroughputMonitor"),
)


class CallbackSection(Component):
    """A callback of Lightning."""

    @property
    def is_inert(self) -> bool:
        """Whether it only watches: it changes nothing that a run computes."""
        return self.target.startswith("lightning.") and self.target.rpartition(".")[2] in _INERT_CALLBACKS


class Seeds(NamedTuple):
    """The seed of a run and of its three streams, each from 0 to MAX_SEED; checked where they are read."""

    seed: int
    init: int
    split: int
    order: int


class Config(Section):
    """All settings that decide what a run computes, without the seed."""

    data: DataSection
    model: ModelSection
    activation: ActivationSection
    optimizer: OptimizerSection
    scheduler: SchedulerSection
    batch: BatchSection
    trainer: TrainerSection
    callbacks: dict[str, CallbackSection] = Field(default_factory=dict)
    data_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @cached_property
    def content(self) -> dict[str, Any]:
        """What the identity is made of: no seed, no path, no device."""
        names = {key: {"name"} for key in ("activation", "optimizer", "scheduler")}
        exclude: Any = {"data": {"path"}, "trainer": set(INERT_ARGUMENTS), "callbacks": True, **names}
        content = self.model_dump(by_alias=True, exclude=exclude)
        acting = {name: each.model_dump(by_alias=True) for name, each in self.callbacks.items() if not each.is_inert}
        return {**content, "callbacks": acting} if acting else content

    @cached_property
    def id(self) -> str:
        """Digest of the content: two spellings of one configuration have one id."""
        return _digest(self.content)

    def run_id(self, seeds: Seeds) -> str:
        """Digest of the configuration and the seeds, as `_digest` would write them, at a tenth of the time."""
        seed, init, split, order = seeds
        text = f'{{"config_id":"{self.id}","init":{init},"order":{order},"seed":{seed},"split":{split}}}'
        return hashlib.sha256(text.encode()).hexdigest()[:16]


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
