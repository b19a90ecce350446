"""The arguments of `lightning.Trainer`: which are supported, and which change what a run computes."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from pima_hp.config.component import Bounds, Component

INERT_ARGUMENTS = frozenset(
    [
        *("accelerator", "benchmark", "default_root_dir", "detect_anomaly", "devices", "enable_autolog_hparams"),
        *("enable_checkpointing", "enable_model_summary", "enable_progress_bar", "fast_dev_run", "inference_mode"),
        *("limit_predict_batches", "limit_test_batches", "log_every_n_steps", "num_sanity_val_steps", "profiler"),
    ]
)
"""Arguments of the Trainer that do not change what a run computes, or whose runs are never recorded."""

_ALLOWED: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("callbacks", "logger", "default_root_dir", "enable_checkpointing", "enable_model_summary"), ()),
    **dict.fromkeys(("enable_progress_bar", "plugins", "sync_batchnorm", "use_distributed_sampler", "barebones"), ()),
    **dict.fromkeys(("model_registry", "reload_dataloaders_every_n_epochs"), ()),
    **dict.fromkeys(("check_val_every_n_epoch", "num_nodes", "limit_val_batches", "val_check_interval"), (1,)),
    "strategy": ("auto",),
    "devices": (1, "1", "auto"),
}
"""Values of the arguments that are not free: callbacks and loggers have groups of their own, one small network is
trained on one device, and every epoch is scored on all validation rows."""


def _spelled_out(precision: object) -> object:
    return {"32": "32-true", "64": "64-true"}.get(str(precision), precision)


class _Bounds(Bounds):
    limit_train_batches: Annotated[int | float, Field(gt=0)] | None = None


class TrainerSection(Component):
    """Arguments of `lightning.Trainer`: how long and how precisely to train, and where."""

    usual = "lightning.Trainer"
    bounds: ClassVar[type[Bounds]] = _Bounds

    max_epochs: Annotated[int, Field(ge=1, le=1_000_000)]
    precision: Annotated[
        Literal["32-true", "64-true", "16-mixed", "bf16-mixed", "bf16-true", "16-true"], BeforeValidator(_spelled_out)
    ] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _drop_what_happens_anyway(cls, settings: Any) -> Any:
        if not isinstance(settings, Mapping):
            return settings
        for name, allowed in _ALLOWED.items():
            if (value := settings.get(name)) is not None and value not in allowed:
                rule = f"must be {' or '.join(map(repr, allowed))}" if allowed else "must be left out"
                raise ValueError(f"{name}: {rule}; found {value!r:.60}")
        return {name: value for name, value in settings.items() if name not in _ALLOWED}

    @property
    def extra(self) -> dict[str, Any]:
        """The arguments beyond epochs and precision that change what a run computes, such as `gradient_clip_val`."""
        others = INERT_ARGUMENTS | {"max_epochs", "precision"}
        return {name: value for name, value in self.arguments.items() if name not in others}

    @property
    def dtype(self) -> str:
        """Name of the floating-point type that weights and data are made in; Lightning converts to lower precisions."""
        return "float64" if self.precision == "64-true" else "float32"
