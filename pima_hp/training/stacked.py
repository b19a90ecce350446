"""Train M runs of one configuration as one tensor program: the network of a solo run with a member axis."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from pima_hp.config import Config
from pima_hp.config.build import class_of
from pima_hp.model.mlp import default_dtype, is_elementwise
from pima_hp.model.module import MLPClassifier
from pima_hp.run import Results, Run
from pima_hp.training.diagnostics import Recorder, vectors_of
from pima_hp.training.dispatch import results_of
from pima_hp.training.solo import columns_of, datamodule_of, module_of

# Stacks are filled up to a multiple of this with copies of their first run.
#
# torch computes the last few elements of a vectorized operation, and a stack of one, with other instructions
# than the rest; whole multiples keep each member's bits independent of its neighbors and of the stack's size.
PADDING = 64

# Classes of `torch.optim` that update each number by itself, so that a stack is updated as its members are.
ELEMENTWISE_OPTIMIZERS = (
    *("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD"),
    *("NAdam", "RAdam", "RMSprop", "Rprop", "SGD"),
)


class StackedClassifier(MLPClassifier):
    """`MLPClassifier` of M networks, trained by a loop of its own.

    The work of Lightning's Trainer for a step takes as long as an update of 64 networks.
    """

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return one tensor of all weights and biases, (M * P,), whose memory the layers share from now on.

        An optimizer takes as long for one small tensor as for another; the layers have six.
        """
        parameters = list(self.parameters())
        sizes = [parameter.numel() for parameter in parameters]
        flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
        flat.grad = torch.zeros_like(flat)
        pieces = zip(parameters, flat.detach().split(sizes), flat.grad.split(sizes), strict=True)
        for parameter, values, gradient in pieces:
            parameter.data, parameter.grad = values.view_as(parameter), gradient.view_as(parameter)
        return [flat]

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: a stack has no loggers."""

    def log_dict(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing, as `log`."""


def why_not(config: Config) -> str:
    """Return why runs of a configuration cannot be stacked; empty when they can."""
    activation, optimizer, scheduler = config.activation.target, config.optimizer.target, config.scheduler.target
    if not is_elementwise(activation):
        return f"{activation} is no elementwise activation of torch without parameters"
    if optimizer not in [f"torch.optim.{name}" for name in ELEMENTWISE_OPTIMIZERS]:
        return f"{optimizer} does not update each weight by itself"
    if scheduler is not None and issubclass(class_of(scheduler, object), ReduceLROnPlateau):
        return "each member would need a learning rate of its own"
    return ""


def stack_key(config: Config) -> str:
    """Return a text that is equal for runs that may share a stack: they differ in their seeds alone."""
    return config.model_dump_json(by_alias=True)


def fit_stack(runs: Sequence[Run], progress: tqdm | None = None) -> Results:
    """Train runs with equal `stack_key`s together and return their results in the same order."""
    config, n_epochs = runs[0].config, runs[0].config.trainer.max_epochs
    members = [run.seeds for run in [*runs, *[runs[0]] * (-len(runs) % PADDING)]]
    data = datamodule_of(config, members)
    splits, batches = {name: data.tensors(name) for name in config.data.splits}, data.train_dataloader()
    module = module_of(config, data.n_features, [seeds.init for seeds in members], StackedClassifier).to(data.device)
    recorder = Recorder([config] * len(runs), splits.__getitem__)
    recorder.record(0, lambda: vectors_of(module.model, len(members)))
    with default_dtype(data.dtype):
        (optimizer,), schedulers = module.configure_optimizers()
        for epoch in range(1, n_epochs + 1):
            module.lr = optimizer.param_groups[0]["lr"]
            for batch in batches:
                optimizer.zero_grad(set_to_none=False)
                module.training_step(batch, 0).backward()
                optimizer.step()
            with torch.no_grad():
                for loader, split in enumerate(("val", "train")):
                    module.validation_step(splits[split], 0, loader)
            module.on_validation_epoch_end()
            recorder.record(epoch, lambda: vectors_of(module.model, len(members)))
            if progress and epoch < n_epochs:  # the caller counts the rest, without the rounding of fractions
                progress.update(len(runs) / n_epochs)
            if module.score_epoch(epoch):
                break
            for scheduler in schedulers:
                scheduler["scheduler"].step()
    n_updates = np.minimum(module.diverged_in, n_epochs).astype(np.int64) * len(batches)
    module.score_splits(splits)
    return results_of(runs, *columns_of(module, n_epochs), n_updates, splits["train"][1], recorder)
