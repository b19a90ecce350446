"""M runs of one configuration as one tensor program: the module and the Trainer of solo runs with a member axis."""

import inspect
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pima_hp.config import Config
from pima_hp.config.build import class_of
from pima_hp.data.datamodule import Batch, BatchLoader, PimaDataModule
from pima_hp.errors import ConfigurationError
from pima_hp.model.module import MLPClassifier, default_dtype
from pima_hp.run import Results, Run, RunStatus
from pima_hp.training.callbacks import EpochProgress
from pima_hp.training.device import engine_on
from pima_hp.training.progress import Progress
from pima_hp.training.solo import FinalScores, curves_of, datamodule_of, module_of, quiet, trainer_of
from pima_hp.versions import versions

PADDING = 64
"""Stacks are filled up to a multiple of this with copies of their first run.

torch computes the last few elements of a vectorised operation, and a stack of one, with other instructions
than the rest; whole multiples keep each member's bits independent of its neighbours and of the stack's size.
"""

ELEMENTWISE_OPTIMIZERS = (
    *("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD"),
    *("NAdam", "RAdam", "RMSprop", "Rprop", "SGD"),
)
"""Classes of `torch.optim` that update each number by itself, so that a stack is updated as its members are."""

_MIX_OR_DRAW = ("GLU", "LogSoftmax", "MultiheadAttention", "PReLU", "RReLU", "Softmax", "Softmax2d", "Softmin")
"""Activations of torch that are not elementwise, or have parameters or random numbers, which members would share."""


class EpochClassifier(MLPClassifier):
    """`MLPClassifier` of M networks that makes all updates of an epoch in one step of the Trainer.

    What the Trainer does for a step takes as long as an update of 64 networks.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return one tensor of all weights and biases, (M * P,), for the layers to share its memory.

        An optimizer takes as long for one small tensor as for another; the layers have six.
        """
        parameters = list(self.parameters())
        sizes = [parameter.numel() for parameter in parameters]
        flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
        flat.grad = torch.zeros_like(flat)
        for parameter, values, gradient in zip(
            parameters, flat.detach().split(sizes), flat.grad.split(sizes), strict=True
        ):
            parameter.data, parameter.grad = values.view_as(parameter), gradient.view_as(parameter)
        return [flat]

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002 -- torch's signature
        """Fill the gradients with zeros: they share the memory of the one that the optimizer sees."""
        super().zero_grad(set_to_none=False)

    def training_step(self, batch: list[Batch], batch_idx: int) -> None:  # type: ignore[override]
        """Make the updates of an epoch."""
        optimizer = self.trainer.optimizers[0]
        with default_dtype(self._scalar_dtype):
            for one in batch:
                optimizer.zero_grad(set_to_none=False)
                super().training_step(one, batch_idx).backward()
                optimizer.step()

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: a stack has no loggers, and this takes a quarter of its time."""

    def log_dict(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing, as `log`."""

    def on_train_epoch_end(self) -> None:
        """Score the epoch; set the learning rate of the next."""
        data: PimaDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        with torch.no_grad():  # the Trainer's validation loop takes as long as an epoch of 16 networks
            for loader, batches in enumerate(data.val_dataloader()):
                for batch in batches:
                    self.validation_step(batch, 0, loader)
        self.on_validation_epoch_end()
        super().on_train_epoch_end()
        for each in self.trainer.lr_scheduler_configs:
            self.lr_scheduler_step(each.scheduler, None)


class EpochDataModule(PimaDataModule):
    """`PimaDataModule` that gives the batches of an epoch as one list."""

    def train_dataloader(self) -> Any:
        """Return the batches of the training rows, all of an epoch at once."""
        return _Epoch(super().train_dataloader())


class _Epoch:
    def __init__(self, batches: BatchLoader) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[list[Batch]]:
        yield list(self.batches)


def why_not(config: Config) -> str:
    """Return why runs of a configuration cannot be stacked, in words; empty when they can."""
    activation, optimizer, scheduler = config.activation.target, config.optimizer.target, config.scheduler.target
    if config.trainer.target != config.trainer.usual:
        return f"the Trainer is {config.trainer.target}"
    if not config.model.is_mlp:
        return f"the model is {config.model.target}"
    if config.data.target != config.data.usual:
        return f"the datamodule is {config.data.target}"
    if not _is_elementwise(activation):
        return f"{activation} is no elementwise activation of torch without parameters"
    if optimizer not in [f"torch.optim.{name}" for name in ELEMENTWISE_OPTIMIZERS]:
        return f"{optimizer} does not update each weight by itself"
    if scheduler is not None and issubclass(class_of(scheduler, object), ReduceLROnPlateau):
        return "each member would need a learning rate of its own"
    if acting := [callback.target for callback in config.callbacks.values() if not callback.is_inert]:
        return f"the callback {acting[0]}"
    if config.trainer.extra:
        return f"trainer.{next(iter(config.trainer.extra))}"
    if config.trainer.precision not in ("32-true", "64-true"):
        return f"trainer.precision={config.trainer.precision}"
    return ""


def _is_elementwise(target: str) -> bool:
    try:
        found = class_of(target, torch.nn.Module)
    except ConfigurationError:
        return False
    known = inspect.getmodule(found) is torch.nn.modules.activation or found is torch.nn.Identity
    return known and found.__name__ not in _MIX_OR_DRAW


def stack_key(config: Config) -> str:
    """Return a text that is equal for runs that may share a stack: they differ in their seeds alone."""
    return config.model_dump_json(by_alias=True)


def fit_stack(runs: Sequence[Run], progress: Progress | None = None) -> Results:
    """Train runs with equal `stack_key`s together and return their results in the same order."""
    began, config, n_runs = time.perf_counter(), runs[0].config, len(runs)
    members = [run.seeds for run in [*runs, *[runs[0]] * (-n_runs % PADDING)]]
    data = datamodule_of(config, members, EpochDataModule)
    final = FinalScores(config)
    with quiet():
        module = module_of(config, data, [seeds.init for seeds in members], EpochClassifier)
        bars = [EpochProgress(progress, n_runs)] if progress else []
        trainer_of(config, [*bars, final], limit_val_batches=0).fit(module, datamodule=data)
    n_epochs = config.trainer.max_epochs
    curves = curves_of(module.history, n_epochs, module.diverged_in)
    ends = module.diverged_in[:n_runs]
    diverged = ends <= n_epochs
    labels = data.tensors("train")[1]
    n_steps = len(PimaDataModule.train_dataloader(data))
    return Results(
        runs=list(runs),
        status=[RunStatus.DIVERGED if bad else RunStatus.COMPLETED for bad in diverged],
        curves={key: curve[:n_runs] for key, curve in curves.items()},
        scores={key: np.where(diverged, np.nan, score[:n_runs]) for key, score in final.scores.items()},
        n_updates=(np.minimum(ends, n_epochs) * n_steps).astype(np.int64),
        stop_epoch=np.where(diverged, ends, 0).astype(np.int64),
        positive_rate=labels[:n_runs].double().mean(1).cpu().numpy(),
        n_train=labels.shape[1],
        duration_s=(time.perf_counter() - began) / n_runs,
        ended_s=time.time(),
        engine=engine_on("stacked", config),
        versions=versions(),
    )
