"""The LightningModule: one network, one optimizer, the scores of every epoch."""

import math
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pima_hp.config import OptimizerSection, SchedulerSection
from pima_hp.config.build import build
from pima_hp.data.datamodule import Batch
from pima_hp.model.metrics import epoch_scores
from pima_hp.model.mlp import MLP

_VAL_KEYS = (("val/accuracy", "val/loss"), ("train/accuracy_end", "train/loss_end"))


class MLPClassifier(L.LightningModule):
    """Train an `MLP` on binary cross entropy and score every epoch.

    Logged once an epoch, against the epoch (from 1): `train/accuracy` and `train/loss` (running values, as Keras
    reports them: each row scored just before the update that uses it), `train/accuracy_end` and
    `train/loss_end` (all training rows with the weights at the end of the epoch), `val/accuracy`, `val/loss`, `lr`.

    Optimization is manual and the running scores are computed once an epoch from kept logits: at batch
    size 5 that halves the time of a run against automatic optimization with `self.log` in every step.

    Args:
        model: the network, with its initial weights.
        optimizer: update rule and hyperparameters.
        scheduler: of the learning rate; its steps are epochs.
    """

    def __init__(self, model: MLP, optimizer: OptimizerSection, scheduler: SchedulerSection) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.optimizer_section, self.scheduler_section = optimizer, scheduler
        self.history: list[dict[str, float]] = []
        self._running: list[tuple[Tensor, Tensor]] = []
        self._scores: dict[str, float] = {}
        self._optimizer: LightningOptimizer

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, D) features to (B,) logits."""
        logits: Tensor = self.model(features)
        return logits

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and the scheduler when there is one."""
        optimizer = build(self.optimizer_section.node, torch.optim.Optimizer, self.parameters())
        if self.scheduler_section.target is None:
            return optimizer
        return [optimizer], [build(self.scheduler_section.node, LRScheduler, optimizer)]

    def on_train_start(self) -> None:
        """Keep the optimizer: Lightning's look-up costs as much as a layer."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)  # noqa: S101 -- there is one
        self._optimizer = optimizer

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 -- Lightning's signature
        """Make one update from (B, D) features and (B,) labels."""
        features, labels = batch
        logits = self.model(features)
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        self._optimizer.zero_grad()
        self.manual_backward(loss)
        self._optimizer.step()
        self._running.append((logits.detach(), labels))

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        """Score the watched rows (loader 0) and the training rows (loader 1)."""
        features, labels = batch
        scores = epoch_scores(self.model(features), labels)
        accuracy, loss = _VAL_KEYS[dataloader_idx]
        self._keep({accuracy: scores["accuracy"], loss: scores["loss"]}, add_dataloader_idx=False, batch_size=1)

    def on_validation_epoch_end(self) -> None:
        """Put what validation has logged at its epoch."""
        self.log("step", float(self.current_epoch + 1))  # the logger's x-axis: epochs, not updates

    def on_train_epoch_end(self) -> None:
        """Score the epoch, stop a diverged run, step the scheduler."""
        if not self._running:  # stopped before the first batch
            return
        logits, labels = (torch.cat(parts) for parts in zip(*self._running, strict=True))
        self._running.clear()
        running = epoch_scores(logits, labels)
        self._keep({"train/accuracy": running["accuracy"], "train/loss": running["loss"]})
        self._keep({"lr": torch.tensor(self._optimizer.param_groups[0]["lr"], dtype=torch.float64)})
        self.log("step", float(self.current_epoch + 1))
        self.history.append(self._scores)
        self._scores = {}
        if self.diverged:
            self.trainer.should_stop = True
            return
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            watched = self.scheduler_section.monitor or "val/loss"
            if watched in self.history[-1]:  # not where the epoch was cut short
                scheduler.step(self.history[-1][watched])
        elif isinstance(scheduler, LRScheduler):
            scheduler.step()

    def _keep(self, scores: dict[str, Tensor], **options: Any) -> None:
        """Log scores, and keep them unrounded: Lightning stores what it logs in single precision."""
        self.log_dict(scores, **options)
        self._scores |= {key: float(score) for key, score in scores.items()}

    @property
    def diverged(self) -> bool:
        """Whether a loss of the last epoch is infinite or not a number."""
        last = self.history[-1] if self.history else {}
        losses = [value for key, value in last.items() if key.partition("/")[2].startswith("loss")]
        return not all(math.isfinite(loss) for loss in losses)
