"""The readable engine: a stack as one tensor program of torch, inside Lightning's Trainer, on any device."""

import json
import time
import warnings
from collections.abc import Iterator, Sequence

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pima_hp.config import Component, Config
from pima_hp.model.stacked import PER_MEMBER_ACTIVATIONS, StackedMLP
from pima_hp.model.stacked_metrics import stacked_epoch_scores
from pima_hp.run import Results, Run
from pima_hp.training.fused.members import Members
from pima_hp.training.fused.schedules import schedule_arguments
from pima_hp.training.optimizers import UPDATE_RULES, StackedOptimizer, per_member, rule_arguments
from pima_hp.training.progress import Progress
from pima_hp.training.solo import quiet_trainer

PADDING = 64
"""Stacks are filled up to a multiple of this with copies of their first run.

torch computes the last few elements of a vectorised operation, and a stack of one, with other instructions
than the rest; whole multiples keep each member's bits independent of its neighbours and of the stack's size.
"""


def why_not(config: Config) -> str:
    """Return why no stack can train a configuration, in words; empty when one can."""
    plain = config.model.is_mlp and not config.trainer.extra and all(one.is_inert for one in config.callbacks.values())
    if not plain or config.trainer.precision not in ("32-true", "64-true"):
        return "an option that Lightning alone knows"
    if rule_arguments(config.optimizer) is None:
        return f"no update rule for {_described(config.optimizer)}"
    if schedule_arguments(config.scheduler) is None:
        return f"no schedule for {_described(config.scheduler)}"
    return ""


def _described(component: Component) -> str:
    arguments = ", ".join(f"{name}={value}" for name, value in component.arguments.items())
    return f"{component.target}({arguments})"


def stack_key(config: Config) -> str:
    """Return a text that is equal for configurations whose runs may be members of one stack."""
    data, activation = config.data, config.activation
    arguments = activation.arguments
    numbers_alone = all(isinstance(value, float) for value in arguments.values())
    may_differ = numbers_alone and activation.target in PER_MEMBER_ACTIVATIONS
    given = rule_arguments(config.optimizer) or {}
    rule = UPDATE_RULES.get(str(config.optimizer.target))
    used = {name: bool(given.get(name)) for name in ("momentum", "weight_decay")}  # else the formula is shorter
    shared = {
        "data": [config.data_digest, data.label, data.features, data.test_fraction, data.val_fraction],
        "widths": config.model.hidden_widths,
        "activation": [activation.target, sorted(arguments) if may_differ else arguments],
        "optimizer": [
            config.optimizer.target,
            {**used, **{name: given.get(name) for name in (rule.flags if rule else ())}},
        ],
        "scheduler": [config.scheduler.target, config.scheduler.monitor],
        "batch": config.batch.model_dump(),
        "trainer": config.trainer.model_dump(),
    }
    return json.dumps(shared, sort_keys=True)


def fit_stack(runs: Sequence[Run], progress: Progress | None = None) -> Results:
    """Train runs with equal `stack_key`s."""
    began = time.perf_counter()
    stack = TorchStack(runs)
    stack.fit(progress)
    return stack.results(time.perf_counter() - began)


class StackedTraining(L.LightningModule):
    """Lightning's view of a stack: one training step is one epoch of updates of all its members."""

    def __init__(self, stack: "TorchStack", progress: Progress | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.stack, self.progress = stack.model, stack, progress

    def configure_optimizers(self) -> None:
        """Return nothing: the stack holds its own optimizer, with a member axis."""

    def on_fit_start(self) -> None:
        """Follow the model to the device."""
        self.stack.to(self.device)

    def training_step(self, batch: int, batch_idx: int) -> None:  # noqa: ARG002 -- Lightning's signature
        """Train one epoch."""
        self.stack.train_epochs()
        if self.progress:
            self.progress.advance(self.stack.n_runs / self.stack.n_epochs)


class _OneBatch:
    """A loader of one empty batch: an epoch has one step."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[int]:
        return iter([0])


class TorchStack(Members):
    """A stack whose every tensor leads with the member axis."""

    engine = "stacked"

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__(runs, PADDING)
        self.model = StackedMLP(self.widths, [run.config.activation for run in self.members], self.vectors)
        self.logits = torch.zeros_like(self.labels["train"])
        self.optimizer: StackedOptimizer | None = None

    def fit(self, progress: Progress | None = None) -> None:
        """Train in Lightning's Trainer, which brings device, precision and interruption."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*configure_optimizers.* returned `None`")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            trainer = quiet_trainer(self.runs[0].config)
            trainer.fit(StackedTraining(self, progress), train_dataloaders=_OneBatch())
        self.to(torch.device("cpu"))

    def to(self, device: torch.device) -> None:
        """Move data and model; the optimizer is made where the weights are when training begins."""
        super().to(device)
        self.model.to(device)
        self.vectors = self.model.vectors
        self.logits = self.logits.to(device)

    def _train_and_score(self, rates: NDArray[np.float64]) -> None:
        (rates_now,) = rates  # Lightning's loop goes epoch by epoch
        if self.optimizer is None:
            sections = [run.config.optimizer for run in self.members]
            self.optimizer = StackedOptimizer.of(self.model.vectors, sections)
        self.optimizer.set_lr(per_member(rates_now.tolist()))
        features, labels = self._served()
        n_rows = labels.shape[1]
        for start in range(0, n_rows, self.batch_size):
            stop = min(start + self.batch_size, n_rows)
            logits = self.model(features[:, start:stop])
            self.logits[:, start:stop] = logits.detach()
            # The slope of the mean binary cross entropy in the logits: no graph for the loss.
            slope = (logits.detach().sigmoid() - labels[:, start:stop]) / (stop - start)
            self.optimizer.update(self.model.gradient(logits, slope))
        self._keep("train", "", self.logits, labels)
        for part, suffix in (("train", "_end"), ("val", "")):
            self._keep(part, suffix, self.model.predict(self.features[part]), self.labels[part])

    def _served(self) -> tuple[Tensor, Tensor]:
        """Return the training rows (M, n, D) and labels (M, n) in the order of this epoch."""
        features, labels = self.features["train"], self.labels["train"]
        if not self.orders:
            return features, labels
        order = self.shuffled_rows().to(labels.device)
        return features.gather(1, order[:, :, None].expand_as(features)), labels.gather(1, order)

    def _keep(self, part: str, suffix: str, logits: Tensor, labels: Tensor) -> None:
        accuracy, loss = stacked_epoch_scores(logits, labels)
        self.curves[f"{part}/accuracy{suffix}"][:, self.epoch] = accuracy.to("cpu")
        self.curves[f"{part}/loss{suffix}"][:, self.epoch] = loss.to("cpu")
