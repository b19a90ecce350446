"""The readable engine: a stack as one tensor program of torch, inside Lightning's Trainer, on any device."""

import warnings
from collections.abc import Iterator, Sequence

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pima_hp.model.stacked_metrics import stacked_epoch_scores
from pima_hp.run import Run
from pima_hp.training.optimizers import StackedOptimizer, per_member
from pima_hp.training.progress import Progress
from pima_hp.training.solo import quiet_trainer
from pima_hp.training.stack import Stack

PADDING = 64
"""Stacks are filled up to a multiple of this with copies of their first run.

torch computes the last few elements of a vectorised operation, and a stack of one, with other instructions
than the rest; whole multiples keep each member's bits independent of its neighbours and of the stack's size.
"""


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


class TorchStack(Stack):
    """A stack whose every tensor leads with the member axis."""

    engine = "stacked"

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__(runs, PADDING)
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
        self.curves[f"{part}_accuracy{suffix}"][:, self.epoch] = accuracy.to("cpu")
        self.curves[f"{part}_loss{suffix}"][:, self.epoch] = loss.to("cpu")
