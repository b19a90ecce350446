"""The arguments of `lightning.Trainer`: which are supported, and which change what a run computes."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pima_hp.config.component import Component, Section

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
    "default_root_dir": "files go to the study's folder",
    "enable_checkpointing": "write callbacks=none, or callbacks.model_checkpoint=null",
    "enable_model_summary": "name a callback of the kind ModelSummary",
    "enable_progress_bar": "write callbacks=none, or callbacks.progress_bar=null",
}
USUAL_ARGUMENTS = {
    "check_val_every_n_epoch": 1,
    "limit_val_batches": 1.0,
    "num_nodes": 1,
    "strategy": "auto",
    "val_check_interval": 1.0,
}
"""Values of these that are accepted: they are what happens anyway."""


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
        problems = [
            f"{name}: must not be given; {_NOT_SUPPORTED[name]}"
            for name, value in extra.items()
            if name in _NOT_SUPPORTED and (name not in USUAL_ARGUMENTS or value != USUAL_ARGUMENTS[name])
        ]
        if extra.get("devices", 1) not in (1, "1", "auto", [0]):
            problems.append(
                f"devices: must be 1, as one small network is trained on one device; found {extra['devices']!r:.60}"
            )
        limit = extra.get("limit_train_batches", 1.0)
        if isinstance(limit, bool | str) or not limit > 0:
            problems.append(f"limit_train_batches: must be a number above 0; found {limit!r:.60}")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """What the Trainer is called with, besides callbacks and loggers."""
        own = {"max_epochs": self.max_epochs, "precision": self.precision, "accelerator": self.accelerator}
        return {**own, **{name: value for name, value in super().arguments.items() if name not in USUAL_ARGUMENTS}}

    @property
    def extra(self) -> dict[str, Any]:
        """The arguments beyond epochs and precision that change what a run computes, such as `gradient_clip_val`."""
        return {
            name: value
            for name, value in super().arguments.items()
            if name not in INERT_ARGUMENTS and name not in USUAL_ARGUMENTS
        }

    @property
    def dtype(self) -> str:
        """Name of the floating-point type that weights and data are made in; Lightning converts to lower precisions."""
        return "float64" if self.precision == "64-true" else "float32"


class EngineSection(Section):
    """Which engine trains the runs, and how many of them together at most."""

    name: Literal["auto", "solo", "stacked", "fused"]
    stack_size: Annotated[int, Field(ge=2, le=65536)]
