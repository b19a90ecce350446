"""The typed settings of a run: what is allowed, and the identity of a configuration and of a run. No torch here."""

import hashlib
import json
import math
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BeforeValidator, ConfigDict, Field, create_model, model_validator

from pima_hp.config.component import INERT_ARGUMENTS, Bounds, TrainerSection
from pima_hp.config.component import Component as Component
from pima_hp.config.component import Section as Section
from pima_hp.config.options import NAMED_SECTIONS, Setting, flattened, option_name

MAX_SEED = 2**32 - 1
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
_Names = Annotated[tuple[str, ...], Field(strict=False)]  # a list in YAML, hashable here


class DataSection(Component):
    """Which table, how it is cleaned, scaled and split."""

    model_config = ConfigDict(extra="forbid")
    kind = usual = "pima_hp.data.PimaDataModule"

    path: str | None = None
    label: str = "outcome"
    features: _Names | None = None
    zero_is_missing: _Names = ("glucose", "blood_pressure", "skin_thickness", "insulin", "bmi")
    missing: Literal["keep", "median"] = "keep"
    scaling: Literal["none", "standard", "minmax"] = "none"
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    stratified: bool = False

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that differ: without validation rows of their own, `val` is the test rows."""
        return ("train", "val", "test") if self.val_fraction else ("train", "val")

    def split_sizes(self, n_rows: int) -> tuple[int, int, int]:
        """Return the numbers of train, val and test rows; fractions round up, as in scikit-learn.

        `val` is 0 where validation uses the test rows.
        """
        n_test, n_val = (math.ceil(round(share * n_rows, 9)) for share in (self.test_fraction, self.val_fraction))
        return n_rows - n_val - n_test, n_val, n_test


class _MLPArguments(Section):
    hidden_widths: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=16)]
    initialization: Literal["uniform", "glorot_uniform", "he_normal", "torch_default"]


class ModelSection(Component):
    """The network: the project's MLP, or a module of the user's own."""

    kind = "torch.nn.Module"
    usual = "pima_hp.model.MLP"

    @model_validator(mode="after")
    def _mlp(self) -> Self:
        if self.target == self.usual:
            _MLPArguments.model_validate(self.arguments)
        return self

    @property
    def hidden_widths(self) -> list[int]:
        """Units of each hidden layer of an MLP."""
        return list(self.arguments["hidden_widths"])

    @property
    def initialization(self) -> str:
        """Distribution of the first weights of an MLP."""
        return str(self.arguments["initialization"])


_Positive = Annotated[float, Field(gt=0)]
_NotNegative = Annotated[float, Field(ge=0)]
_Decay = Annotated[float, Field(ge=0, lt=1)]
# Arguments that any optimizer or scheduler may have -> what they must be, and no default.
_HYPERPARAMETERS: dict[str, Any] = {
    **dict.fromkeys(("lr", "gamma"), (_Positive, None)),
    **dict.fromkeys(("momentum", "alpha"), (_Decay, None)),
    **dict.fromkeys(("eps", "weight_decay", "initial_accumulator_value", "momentum_decay"), (_NotNegative, None)),
    **dict.fromkeys(("threshold", "eta_min", "min_lr"), (_NotNegative, None)),
    **dict.fromkeys(("step_size", "T_max"), (Annotated[int, Field(ge=1)], None)),
    **dict.fromkeys(("patience", "cooldown"), (Annotated[int, Field(ge=0)], None)),
    **dict.fromkeys(("capturable", "differentiable"), (Literal[False], None)),  # no gradient, no update without CUDA
    "factor": (Annotated[float, Field(gt=0, lt=1)], None),
    "betas": (Annotated[list[_Decay], Field(min_length=2, max_length=2)], None),
}


class ActivationSection(Component):
    """The hidden activation."""

    kind = "torch.nn.Module"
    bounds: ClassVar[type[Bounds]] = create_model("_ActivationArguments", __base__=Bounds, beta=(_Positive, None))


class OptimizerSection(Component):
    """The update rule and its hyperparameters."""

    kind = "torch.optim.Optimizer"
    bounds: ClassVar[type[Bounds]] = create_model("_Hyperparameters", __base__=Bounds, **_HYPERPARAMETERS)

    lr: float


class SchedulerSection(Component):
    """The learning rate from epoch to epoch; without a target it is constant."""

    kind = "torch.optim.lr_scheduler.LRScheduler"
    bounds: ClassVar[type[Bounds]] = OptimizerSection.bounds
    no_arguments = ("target", "source", "monitor")

    target: str | None = Field(alias="_target_", default=None)  # type: ignore[assignment]
    monitor: Literal["train/loss", "val/loss"] | None = None

    @model_validator(mode="after")
    def _arguments_have_a_class(self) -> Self:
        if self.target is None and (self.arguments or self.monitor):
            raise ValueError("must have a _target_ to take arguments; found none")
        return self


def _rows(size: object) -> object:
    if size != "full" and (type(size) is not int or size < 1):
        raise ValueError(f"must be a whole number from 1 to the number of training rows, or full; found {size!r:.60}")
    return size


class BatchSection(Section):
    """Rows of one update, and whether their order changes from epoch to epoch."""

    size: Annotated[int | str, BeforeValidator(_rows)]
    shuffle: bool

    def n_rows(self, n_train: int) -> int:
        """Return the rows of one update: `full` is all training rows."""
        return n_train if isinstance(self.size, str) else self.size


class EngineSection(Section):
    """Which engine trains the runs, and how many of them together at most."""

    name: Literal["auto", "solo", "stacked", "fused"]
    stack_size: Annotated[int, Field(ge=2, le=65536)]


class DiagnosticsSection(Section):
    """Quantities that say why a network learns, beside its scores; see `pima_hp.model.diagnostics`."""

    name: Literal["none", "initialization", "epochs"] = "none"
    curvature: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _are_recorded(self) -> Self:
        last = {"none": -1, "initialization": 0, "epochs": math.inf}[self.name]
        if late := [epoch for epoch in self.curvature if epoch > last]:
            raise ValueError(f"curvature: epochs must be recorded; found {late[0]} with diagnostics={self.name}")
        return self


_INERT_CALLBACKS = (
    *("ModelCheckpoint", "OnExceptionCheckpoint", "TQDMProgressBar", "RichProgressBar", "ModelSummary"),
    *("RichModelSummary", "LearningRateMonitor", "DeviceStatsMonitor", "ThroughputMonitor"),
)


class CallbackSection(Component):
    """A callback of Lightning."""

    kind = "lightning.Callback"

    @property
    def is_inert(self) -> bool:
        """Whether it only watches: it changes nothing that a run computes."""
        return self.target.startswith("lightning.") and self.target.rpartition(".")[2] in _INERT_CALLBACKS


class LoggerSection(Component):
    """A logger of Lightning."""

    kind = "lightning.pytorch.loggers.Logger"


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
    diagnostics: DiagnosticsSection = DiagnosticsSection()
    data_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def acting_callbacks(self) -> dict[str, CallbackSection]:
        """The callbacks that may change what a run computes."""
        return {name: each for name, each in self.callbacks.items() if not each.is_inert}

    @cached_property
    def content(self) -> dict[str, Any]:
        """What the identity is made of: no seed, no path, no device."""
        exclude: Any = {"data": {"path"}, "trainer": INERT_ARGUMENTS, "callbacks": True, "diagnostics": True}
        content = self.model_dump(by_alias=True, exclude=exclude)
        acting = {name: each.model_dump(by_alias=True) for name, each in self.acting_callbacks.items()}
        content |= {"callbacks": acting} if acting else {}
        return content | ({"callback_order": " ".join(acting)} if len(acting) > 1 else {})  # they act in turn

    @cached_property
    def flat(self) -> dict[str, Setting]:
        """Dotted keys and values of what decides a run, the names of options first, and the path of the data file."""
        names = {section: option_name(section, self.content[section]) for section in NAMED_SECTIONS}
        return {**names, "data.path": self.data.path, **flattened(self.content)}

    @cached_property
    def id(self) -> str:
        """Digest of the content: two spellings of one configuration have one id.

        Numbers that are equal are written equally (1 and 1.0), but for classes to which they may mean different things:
        `limit_train_batches` of the Trainer is a number of batches or a fraction.
        """
        content = {
            key: value
            if key in ("callbacks", "model", "trainer")
            else json.loads(json.dumps(value), parse_float=_number)
            for key, value in self.content.items()
        }
        return _digest(json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":")))

    def run_id(self, seeds: Seeds) -> str:
        """Digest of the configuration and the seeds, as `json.dumps` would write them, at a tenth of the time."""
        seed, init, split, order = seeds
        return _digest(f'{{"config_id":"{self.id}","init":{init},"order":{order},"seed":{seed},"split":{split}}}')


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _number(digits: str) -> float | int:
    value = float(digits)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
