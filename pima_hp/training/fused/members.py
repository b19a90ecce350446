"""Members of a stack: their data, initial weights, learning rates, curves and results."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from pima_hp.config.build import build
from pima_hp.data.prepared import gather, prepare
from pima_hp.data.table import read_table
from pima_hp.model.metrics import FINAL_METRICS, scored
from pima_hp.model.mlp import initial_parameters, layer_shapes
from pima_hp.run import CURVES, Array, Results, Run, RunStatus
from pima_hp.seeds import Role, stream
from pima_hp.training.dispatch import engine_on
from pima_hp.training.fused.schedules import schedule_of

_AT_ONCE = 32  # members that are scored at a time, their hidden units in the cache


class Members(ABC):
    """M runs trained together; a subclass says in `_train_and_score` how epochs are made.

    Args:
        runs: with equal `stack_key`s; filled up to a multiple of `padding` with copies of the first.
        padding: members that the engine works on at a time.

    Attributes:
        configs: the distinct configurations; `of_member`, (M,), says which is that of each member.
        features: (K, D) rows of the table as the members need them; members share them where they can.
        labels: (K,)
        rows: of each part of the data the numbers of these rows, (M, n), in the order of the split.
        vectors: (M, P) parameters in the order of `MLP.parameters()`, the initial ones until `fit` has ended.
        curves: key -> (M, E), filled epoch by epoch.
    """

    engine: ClassVar[str]

    def __init__(self, runs: Sequence[Run], padding: int) -> None:
        self.runs, self.n_runs, self.padding = list(runs), len(runs), padding
        self.members = [*runs, *[runs[0]] * (-len(runs) % padding)]
        places: dict[int, int] = {}
        self.of_member = [places.setdefault(id(run.config), len(places)) for run in self.members]
        self.configs = list({id(run.config): run.config for run in self.members}.values())
        first = self.configs[0]
        self.n_epochs, self.epoch = first.trainer.max_epochs, 0
        dtype, table = getattr(torch, first.trainer.dtype), read_table(first.data, first.data_digest)
        data = prepare(table, [(run.config.data, run.seeds.split) for run in self.members], dtype)
        self.features, self.labels, self.rows, self.parts = data.features, data.labels, data.rows, first.data.splits
        self.batch_size = first.batch.n_rows(self.n_rows("train"))
        self.widths = [len(table.feature_names), *first.model.hidden_widths]
        self.vectors = self._initial_vectors(dtype)
        self.orders = [stream(run.seeds.order, Role.ORDER) for run in self.members] if first.batch.shuffle else []
        self._rates = np.array([config.optimizer.lr for config in self.configs])[self.of_member]
        self._schedule = schedule_of(self._rates, [config.scheduler for config in self.configs], self.of_member)
        self._monitor = first.scheduler.monitor or "val/loss"
        shape = (len(self.members), self.n_epochs)
        self.curves = {key: torch.full(shape, torch.nan, dtype=torch.float64) for key in CURVES}

    def _initial_vectors(self, dtype: torch.dtype) -> Tensor:
        """Draw the initial parameters, (M, P); members with one seed have one draw."""
        drawn: dict[tuple[str, int], int] = {}
        names = [config.model.initialization for config in self.configs]
        of_member = [
            drawn.setdefault((names[of], run.seeds.init), len(drawn))
            for run, of in zip(self.members, self.of_member, strict=True)
        ]
        vectors = [initial_parameters(self.widths, name, stream(seed, Role.INIT), dtype) for name, seed in drawn]
        return gather(torch.stack(vectors), torch.tensor(of_member))

    def n_rows(self, part: str) -> int:
        """Return how many rows each member has in a part of the data."""
        return self.rows[part].shape[1]

    @property
    def n_steps(self) -> int:
        """Optimizer steps of an epoch."""
        return -(-self.n_rows("train") // self.batch_size)

    def to(self, device: torch.device) -> None:
        """Move data and weights."""
        self.vectors, self.features, self.labels = (
            tensor.to(device) for tensor in (self.vectors, self.features, self.labels)
        )
        self.rows = {part: tensor.to(device) for part, tensor in self.rows.items()}

    @abstractmethod
    def fit(self, progress: tqdm | None = None) -> None:
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
        n_rows = self.n_rows("train")
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
            positive_rate=gather(self.labels, self.rows["train"][: self.n_runs]).double().mean(1).cpu().numpy(),
            n_train=self.n_rows("train"),
            duration_s=duration_s / self.n_runs,
            engine=engine_on(self.engine, self.runs[0].config),
        )


@torch.no_grad()
def _final_scores(stack: Members) -> dict[str, Array]:
    """Return the scores of the last weights on each part of the data, key -> (M,).

    Members whose activations have equal arguments are scored together, as multiples of what the engine works on: torch
    computes the last elements of a tensor with other instructions.
    """
    arguments = [repr(config.activation.arguments) for config in stack.configs]
    groups: dict[str, list[int]] = {}
    for place, of in enumerate(stack.of_member):
        groups.setdefault(arguments[of], []).append(place)
    scores = {f"{part}/{name}": np.empty(len(stack.members)) for part in stack.parts for name in FINAL_METRICS}
    for places in groups.values():
        activation = build(stack.members[places[0]].config.activation.node, nn.Module)
        whole = [*places, *places[:1] * (-len(places) % stack.padding)]
        for part in stack.parts:
            rows = stack.rows[part][whole]
            chunks = zip(stack.vectors[whole].split(_AT_ONCE), rows.split(_AT_ONCE), strict=True)
            logits = [
                _logits(stack.widths, activation, vectors, gather(stack.features, some)) for vectors, some in chunks
            ]
            for name, values in scored("{}", FINAL_METRICS, torch.cat(logits), gather(stack.labels, rows)).items():
                scores[f"{part}/{name}"][places] = values[: len(places)].double().cpu().numpy()
    return scores


def _logits(widths: Sequence[int], activation: nn.Module, vectors: Tensor, features: Tensor) -> Tensor:
    """Map features (M, n, D) to logits (M, n) with parameters (M, P): `MLP` without a copy of the parameters."""
    hidden, start = features, 0
    for fan_out, fan_in in layer_shapes(widths):
        inputs, end = activation(hidden) if start else hidden, start + fan_out * fan_in
        weight, bias = vectors[:, start:end].view(-1, fan_out, fan_in), vectors[:, None, end : end + fan_out]
        hidden, start = torch.baddbmm(bias, inputs, weight.mT), end + fan_out  # (M, n, fan_out)
    return hidden.squeeze(-1)
