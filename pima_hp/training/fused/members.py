"""Members of a stack: their data, initial weights, learning rates, curves and results."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pima_hp.config import ActivationSection
from pima_hp.data.prepared import DTYPES, PreparedData, batch_size, prepare, table_of
from pima_hp.data.table import Table
from pima_hp.model.metrics import final_scores
from pima_hp.model.mlp import initial_parameters, mlp_of
from pima_hp.run import CURVES, Array, Results, Run, RunStatus
from pima_hp.seeds import Role, stream
from pima_hp.training.device import engine_on
from pima_hp.training.fused.schedules import schedule_of
from pima_hp.training.progress import Progress
from pima_hp.versions import versions

_AT_ONCE = 128  # members that are scored at a time


class Members(ABC):
    """M runs trained together; a subclass says in `_train_and_score` how epochs are made.

    Args:
        runs: with equal `stack_key`s; filled up to a multiple of `padding` with copies of the first.
        padding: members that the engine works on at a time.

    Attributes:
        features: of each part of the data, (M, n, D), in the order of the split.
        labels: (M, n).
        vectors: (M, P) parameters in the order of `MLP.parameters()`, the initial ones until `fit` has ended.
        curves: key -> (M, E), filled epoch by epoch.
    """

    engine: ClassVar[str]

    def __init__(self, runs: Sequence[Run], padding: int) -> None:
        self.runs, self.n_runs, self.padding = list(runs), len(runs), padding
        self.members = [*runs, *[runs[0]] * (-len(runs) % padding)]
        first = self.members[0].config
        self.n_epochs, self.epoch = first.trainer.max_epochs, 0
        dtype = DTYPES[first.trainer.precision]
        table = table_of(first)
        prepared, of_member = _prepared_once(self.members, table)
        self.features: dict[str, Tensor] = {}
        self.labels: dict[str, Tensor] = {}
        self.parts = ("train", "val", "test") if first.data.val_fraction else ("train", "val")
        for part in self.parts:
            served = [data.part(getattr(data.split, part)) for data in prepared]
            self.features[part] = torch.stack([features for features, _ in served])[of_member]
            self.labels[part] = torch.stack([labels for _, labels in served])[of_member]
        self.batch_size = batch_size(first, self.labels["train"].shape[1])
        self.widths = [len(table.feature_names), *first.model.hidden_widths]
        vectors = [
            initial_parameters(self.widths, run.config.model.initialization, stream(run.seeds.init, Role.INIT), dtype)
            for run in self.members
        ]
        self.vectors = torch.stack(vectors)
        self.orders = [stream(run.seeds.order, Role.ORDER) for run in self.members] if first.batch.shuffle else []
        self._rates = np.array([run.config.optimizer.lr for run in self.members])
        self._schedule = schedule_of(self._rates, [run.config.scheduler for run in self.members])
        self._monitor = first.scheduler.monitor or "val/loss"
        shape = (len(self.members), self.n_epochs)
        self.curves = {key: torch.full(shape, torch.nan, dtype=torch.float64) for key in CURVES}

    @property
    def n_steps(self) -> int:
        """Optimizer steps of an epoch."""
        return -(-self.labels["train"].shape[1] // self.batch_size)

    def to(self, device: torch.device) -> None:
        """Move data and weights."""
        self.vectors = self.vectors.to(device)
        self.features = {part: tensor.to(device) for part, tensor in self.features.items()}
        self.labels = {part: tensor.to(device) for part, tensor in self.labels.items()}

    @abstractmethod
    def fit(self, progress: Progress | None = None) -> None:
        """Train for all epochs and leave the final weights in `vectors`."""

    def train_epochs(self, count: int = 1) -> None:
        """Make epochs of updates, score each, and set the learning rates of the next.

        Args:
            count: more than 1 only where the schedule does not look at scores.
        """
        rates = [self._rates]
        while len(rates) < count:
            rates.append(self._schedule(self.epoch + len(rates), np.empty(0)))
        epochs = np.stack(rates)
        self.curves["lr"][:, self.epoch : self.epoch + count] = torch.from_numpy(epochs.T)
        self._train_and_score(epochs)
        self.epoch += count
        self._rates = self._schedule(self.epoch, self.curves[self._monitor][:, self.epoch - 1].numpy())

    @abstractmethod
    def _train_and_score(self, rates: NDArray[np.float64]) -> None:
        """Train all members for len(rates) epochs and write these columns of every curve, from column `epoch`.

        Args:
            rates: learning rates (epochs, M).
        """

    def shuffled_rows(self) -> Tensor:
        """Return the rows of this epoch, (M, n), drawn from each member's own `order` stream."""
        n_rows = self.labels["train"].shape[1]
        return torch.stack([torch.randperm(n_rows, generator=generator) for generator in self.orders])

    def results(self, duration_s: float) -> Results:
        """Return what was trained; `duration_s` of the whole stack is shared out evenly."""
        curves = {key: tensor[: self.n_runs].numpy() for key, tensor in self.curves.items()}
        lost = np.zeros((self.n_runs, self.n_epochs), np.bool_)
        for key, curve in curves.items():
            if "loss" in key:
                lost |= ~np.isfinite(curve)
        diverged = np.asarray(lost.any(1))
        stops = np.where(diverged, lost.argmax(1), self.n_epochs)
        for curve in curves.values():
            curve[np.arange(self.n_epochs) >= stops[:, None]] = np.nan
        n_trained = stops + diverged
        return Results(
            runs=self.runs,
            status=[RunStatus.DIVERGED if one else RunStatus.COMPLETED for one in diverged.tolist()],
            curves=curves,
            scores={
                key: np.where(diverged, np.nan, score[: self.n_runs]) for key, score in _final_scores(self).items()
            },
            n_updates=n_trained * self.n_steps,
            stop_epoch=np.where(diverged, n_trained, 0),
            positive_rate=self.labels["train"][: self.n_runs].double().mean(1).cpu().numpy(),
            n_train=self.labels["train"].shape[1],
            duration_s=duration_s / self.n_runs,
            ended_s=time.time(),
            engine=engine_on(self.engine, self.runs[0].config),
            versions=versions(),
        )


def _final_scores(stack: Members) -> dict[str, Array]:
    """Return the scores of the last weights on each part of the data, key -> (M,).

    Members whose activations have equal arguments are scored together, as multiples of what the engine works on: torch
    computes the last elements of a tensor with other instructions.
    """
    groups: dict[str, list[int]] = {}
    for place, run in enumerate(stack.members):
        groups.setdefault(repr(run.config.activation.arguments), []).append(place)
    scores: dict[str, Array] = {}
    for places in groups.values():
        whole = slice(None) if len(groups) == 1 else [*places, *places[:1] * (-len(places) % stack.padding)]
        activation = stack.members[places[0]].config.activation
        for part in stack.parts:
            features, labels = stack.features[part][whole], stack.labels[part][whole]
            logits = _logits(stack.widths, activation, stack.vectors[whole], features)
            for name, values in final_scores(logits, labels).items():
                column = scores.setdefault(f"{part}/{name}", np.empty(len(stack.members)))
                column[places] = values[: len(places)].double().cpu().numpy()
    return scores


@torch.no_grad()
def _logits(widths: Sequence[int], activation: ActivationSection, vectors: Tensor, features: Tensor) -> Tensor:
    """Map features (M, n, D) to logits (M, n) with parameters (M, P), some members at a time to stay in the cache."""
    parts = zip(vectors.split(_AT_ONCE), features.split(_AT_ONCE), strict=True)
    return torch.cat([mlp_of(some, widths[1:], widths[0], activation.node)(rows) for some, rows in parts])


def _prepared_once(members: Sequence[Run], table: Table) -> tuple[list[PreparedData], list[int]]:
    """Prepare the data, and say which is each member's; replicates of several configurations share their splits."""
    places: dict[object, int] = {}
    prepared: list[PreparedData] = []
    of_member: list[int] = []
    for run in members:
        data = run.config.data
        key = (run.seeds.split, data.scaling, data.missing, data.stratified, tuple(data.zero_is_missing))
        if key not in places:
            places[key] = len(prepared)
            prepared.append(prepare(table, run.config, run.seeds.split))
        of_member.append(places[key])
    return prepared, of_member
