"""Train many runs as one tensor program, each equal to what solo training gives."""

import time
import warnings
from collections.abc import Iterator, Sequence

import lightning as L
import numpy as np
import torch
from torch import Tensor

from pima_hp.data.datamodule import batch_size
from pima_hp.data.prepared import DTYPES, PreparedData, prepare, table_of
from pima_hp.model.metrics import stacked_epoch_scores, stacked_final_scores
from pima_hp.model.mlp import initial_parameters
from pima_hp.model.stacked import StackedMLP
from pima_hp.record import CURVE_KEYS, LearningCurves, Run, RunRecord, RunStatus
from pima_hp.seeds import Role, stream
from pima_hp.training.optimizers import StackedOptimizer, per_member
from pima_hp.training.progress import Progress
from pima_hp.training.schedulers import schedule_of
from pima_hp.training.solo import quiet_trainer
from pima_hp.versions import versions

PADDING = 64
"""Stacks are filled up to a multiple of this with copies of their first run.

torch computes the last few elements of a vectorised operation, and a stack of one, with other instructions
than the rest; whole multiples keep each member's bits independent of its neighbours and of the stack's size.
"""


def train_stack(runs: Sequence[Run], progress: Progress | None = None) -> list[RunRecord]:
    """Train runs with equal `stack_key`s together and return their records in the same order."""
    began = time.perf_counter()
    stack = Stack(runs)
    trainer = quiet_trainer(runs[0].configuration)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*configure_optimizers.* returned `None`")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        trainer.fit(StackedTraining(stack, progress), train_dataloaders=_OneBatch())
    return stack.records(time.perf_counter() - began)


class StackedTraining(L.LightningModule):
    """Lightning's view of a stack: one training step is one epoch of updates of all its members."""

    def __init__(self, stack: "Stack", progress: Progress | None = None) -> None:
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
        self.stack.train_epoch()
        if self.progress:
            self.progress.advance(self.stack.n_runs / self.stack.n_epochs)


class _OneBatch:
    """A loader of one empty batch: an epoch has one step."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[int]:
        return iter([0])


class Stack:
    """M runs: their data, weights, optimizer states and learning curves.

    Args:
        runs: with equal `stack_key`s; filled up to a multiple of `PADDING`.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs, self.n_runs = list(runs), len(runs)
        self.members = [*runs, *[runs[0]] * (-len(runs) % PADDING)]
        first = self.members[0].configuration
        self.n_epochs, self.epoch = first.trainer.epochs, 0
        dtype = DTYPES[first.trainer.precision]
        table = table_of(first)
        prepared = _prepared_once(self.members, table)
        self.features, self.labels = {}, {}
        for part in ("train", "val", "test"):
            served = [data.part(getattr(data.split, part)) for data in prepared]
            self.features[part] = torch.stack([features for features, _ in served])  # (M, n, D)
            self.labels[part] = torch.stack([labels for _, labels in served])  # (M, n)
        self.batch_size = batch_size(first, self.labels["train"].shape[1])
        widths = [len(table.feature_names), *first.model.hidden_widths]
        vectors = torch.stack(
            [
                initial_parameters(
                    widths, run.configuration.model.initialization, stream(run.seeds.init, Role.INIT), dtype
                )
                for run in self.members
            ]
        )
        self.model = StackedMLP(widths, [run.configuration.activation for run in self.members], vectors)
        self.orders = [stream(run.seeds.order, Role.ORDER) for run in self.members] if first.batch.shuffle else []
        rates = np.array([run.configuration.optimizer.lr for run in self.members])
        self.schedule = schedule_of(rates, [run.configuration.scheduler for run in self.members])
        self.monitor = (first.scheduler.monitor or "val/loss").replace("/", "_")
        shape = (len(self.members), self.n_epochs)
        self.curves = {name: torch.full(shape, torch.nan, dtype=torch.float64) for name in CURVE_KEYS}
        self.optimizer: StackedOptimizer
        self.to(torch.device("cpu"))

    def to(self, device: torch.device) -> None:
        """Move data and model, and make the optimizer's states there."""
        self.model.to(device)
        self.features = {part: tensor.to(device) for part, tensor in self.features.items()}
        self.labels = {part: tensor.to(device) for part, tensor in self.labels.items()}
        self.logits = torch.zeros_like(self.labels["train"])
        sections = [run.configuration.optimizer for run in self.members]
        self.optimizer = StackedOptimizer.of(self.model.vectors, sections)

    def train_epoch(self) -> None:
        """Make one epoch of updates, then score the running, training and watched rows of every member."""
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
        self.epoch += 1
        monitored = self.curves[self.monitor][:, self.epoch - 1].numpy()
        self.optimizer.set_lr(per_member(self.schedule(self.epoch, monitored).tolist()))

    def _served(self) -> tuple[Tensor, Tensor]:
        """Return the training rows (M, n, D) and labels (M, n) in the order of this epoch."""
        features, labels = self.features["train"], self.labels["train"]
        if not self.orders:
            return features, labels
        n_rows = labels.shape[1]
        order = torch.stack([torch.randperm(n_rows, generator=generator) for generator in self.orders])
        order = order.to(labels.device)
        return features.gather(1, order[:, :, None].expand_as(features)), labels.gather(1, order)

    def _keep(self, part: str, suffix: str, logits: Tensor, labels: Tensor) -> None:
        accuracy, loss = stacked_epoch_scores(logits, labels)
        self.curves[f"{part}_accuracy{suffix}"][:, self.epoch] = accuracy.to("cpu")
        self.curves[f"{part}_loss{suffix}"][:, self.epoch] = loss.to("cpu")

    def records(self, duration_s: float) -> list[RunRecord]:
        """Return the record of each run; `duration_s` of the whole stack is shared out evenly."""
        curves = {name: tensor[: self.n_runs].numpy() for name, tensor in self.curves.items()}
        losses = np.stack([curve for name, curve in curves.items() if "loss" in name])
        lost = ~np.isfinite(losses).all(0)  # (R, E)
        stops = np.where(lost.any(1), lost.argmax(1), self.n_epochs)
        for curve in curves.values():
            curve[np.arange(self.n_epochs) >= stops[:, None]] = np.nan
        parts = ("train", "val", "test") if self.runs[0].configuration.data.val_fraction else ("train", "val")
        finals = {
            f"{part}/{name}": scores[: self.n_runs].cpu().tolist()
            for part in parts
            for name, scores in stacked_final_scores(self.model.predict(self.features[part]), self.labels[part]).items()
        }
        n_updates = self.n_epochs * -(-self.labels["train"].shape[1] // self.batch_size)
        records = []
        for index, run in enumerate(self.runs):
            diverged = bool(stops[index] < self.n_epochs)
            records.append(
                RunRecord(
                    configuration=run.configuration,
                    seeds=run.seeds,
                    status=RunStatus.DIVERGED if diverged else RunStatus.COMPLETED,
                    curves=LearningCurves(**{name: curve[index] for name, curve in curves.items()}),
                    scores={} if diverged else {key: values[index] for key, values in finals.items()},
                    n_updates=n_updates,
                    stop_epoch=int(stops[index]) + 1 if diverged else 0,
                    duration_s=duration_s / self.n_runs,
                    versions=versions(),
                )
            )
        return records


def _prepared_once(members: Sequence[Run], table: object) -> list[PreparedData]:
    """Prepare the data of each member; replicates of several configurations share their splits."""
    known: dict[object, PreparedData] = {}
    prepared = []
    for run in members:
        data = run.configuration.data
        key = (run.seeds.split, data.scaling, data.missing, data.stratified, tuple(data.zero_is_missing))
        if key not in known:
            known[key] = prepare(table, run.configuration, run.seeds.split)  # type: ignore[arg-type]
        prepared.append(known[key])
    return prepared
