"""What every stack of runs has, whichever engine trains it: data, initial weights, curves, records."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pima_hp.data.prepared import DTYPES, PreparedData, batch_size, prepare, table_of
from pima_hp.data.table import Table
from pima_hp.model.mlp import initial_parameters
from pima_hp.model.stacked import StackedMLP
from pima_hp.model.stacked_metrics import stacked_final_scores
from pima_hp.run import CURVE_KEYS, LearningCurves, Run, RunRecord, RunStatus
from pima_hp.seeds import Role, stream
from pima_hp.training.device import engine_on
from pima_hp.training.progress import Progress
from pima_hp.training.schedulers import schedule_of
from pima_hp.versions import versions


class Stack(ABC):
    """M runs trained together; an engine says in `_train_and_score` how an epoch is made.

    Args:
        runs: with equal `stack_key`s; filled up to a multiple of `padding` with copies of the first.
        padding: members that the engine works on at a time.

    Attributes:
        features: of each part of the data, (M, n, D), in the order of the split.
        labels: (M, n).
        engine: its name, as recorded.
        curves: field of `LearningCurves` -> (M, E), filled epoch by epoch.
    """

    engine: ClassVar[str]

    def __init__(self, runs: Sequence[Run], padding: int) -> None:
        self.runs, self.n_runs = list(runs), len(runs)
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
        widths = [len(table.feature_names), *first.model.hidden_widths]
        vectors = [
            initial_parameters(widths, run.config.model.initialization, stream(run.seeds.init, Role.INIT), dtype)
            for run in self.members
        ]
        self.model = StackedMLP(widths, [run.config.activation for run in self.members], torch.stack(vectors))
        self.orders = [stream(run.seeds.order, Role.ORDER) for run in self.members] if first.batch.shuffle else []
        self._rates = np.array([run.config.optimizer.lr for run in self.members])
        self._schedule = schedule_of(self._rates, [run.config.scheduler for run in self.members])
        self._monitor = (first.scheduler.monitor or "val/loss").replace("/", "_")
        shape = (len(self.members), self.n_epochs)
        self.curves = {name: torch.full(shape, torch.nan, dtype=torch.float64) for name in CURVE_KEYS}

    @property
    def n_steps(self) -> int:
        """Optimizer steps of an epoch."""
        return -(-self.labels["train"].shape[1] // self.batch_size)

    def to(self, device: torch.device) -> None:
        """Move data and model."""
        self.model.to(device)
        self.features = {part: tensor.to(device) for part, tensor in self.features.items()}
        self.labels = {part: tensor.to(device) for part, tensor in self.labels.items()}

    @abstractmethod
    def fit(self, progress: Progress | None = None) -> None:
        """Train for all epochs and leave the final weights in `model`."""

    def train_epochs(self, count: int = 1) -> None:
        """Make epochs of updates, score each, and set the learning rates of the next.

        Args:
            count: more than 1 only where the schedule does not look at scores.
        """
        rates = [self._rates]
        while len(rates) < count:
            rates.append(self._schedule(self.epoch + len(rates), np.empty(0)))
        self._train_and_score(np.stack(rates))
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

    def records(self, duration_s: float, engine: str) -> list[RunRecord]:
        """Return the record of each run; `duration_s` of the whole stack is shared out evenly."""
        curves = {name: tensor[: self.n_runs].numpy() for name, tensor in self.curves.items()}
        losses = np.stack([curve for name, curve in curves.items() if "loss" in name])
        lost = ~np.isfinite(losses).all(0)  # (R, E)
        stops = np.where(lost.any(1), lost.argmax(1), self.n_epochs)
        for curve in curves.values():
            curve[np.arange(self.n_epochs) >= stops[:, None]] = np.nan
        finals = {
            f"{part}/{name}": scores[: self.n_runs].tolist()
            for part in self.parts
            for name, scores in stacked_final_scores(self.model.predict(self.features[part]), self.labels[part]).items()
        }
        rates = self.labels["train"].double().mean(1).tolist()
        records = []
        for index, run in enumerate(self.runs):
            diverged = bool(stops[index] < self.n_epochs)
            n_trained = int(stops[index]) + diverged
            records.append(
                RunRecord(
                    config=run.config,
                    seeds=run.seeds,
                    status=RunStatus.DIVERGED if diverged else RunStatus.COMPLETED,
                    curves=LearningCurves(**{name: curve[index] for name, curve in curves.items()}),
                    scores={} if diverged else {key: values[index] for key, values in finals.items()},
                    n_updates=n_trained * self.n_steps,
                    stop_epoch=n_trained if diverged else 0,
                    duration_s=duration_s / self.n_runs,
                    engine=engine_on(engine, run.config),
                    versions=versions(),
                    n_train=self.labels["train"].shape[1],
                    positive_rate=rates[index],
                )
            )
        return records


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
