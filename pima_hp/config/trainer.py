"""The arguments of `lightning.Trainer`: which are supported, and which change what a run computes."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, create_model

from pima_hp.config.component import Bounds, Component

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
"""Arguments that have one value or none: callbacks and loggers have groups of their own, one small network is trained
on one device, and every epoch is scored on all validation rows."""

INERT_ARGUMENTS = frozenset(
    [
        *("accelerator", "benchmark", "detect_anomaly", "enable_autolog_hparams", "fast_dev_run", "inference_mode"),
        *("limit_predict_batches", "limit_test_batches", "log_every_n_steps", "num_sanity_val_steps", "profiler"),
        *_BOUNDS,
    ]
)
"""Arguments of the Trainer that do not change what a run computes, or whose runs are never recorded."""


def _spelled_out(precision: object) -> object:
    return {"32": "32-true", "64": "64-true"}.get(str(precision), precision)


class TrainerSection(Component):
    """Arguments of `lightning.Trainer`: how long and how precisely to train, and where."""

    usual = "lightning.Trainer"
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
