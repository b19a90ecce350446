"""Runs that are trained together: their data, weights, learning rates and curves in the layout of the kernel."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from pima_hp.data.prepared import gather, prepare
from pima_hp.data.table import read_table
from pima_hp.model.mlp import initial_parameters
from pima_hp.run import CURVES, Run
from pima_hp.seeds import Role, stream
from pima_hp.training.fused import tables
from pima_hp.training.fused.arguments import numbers_of
from pima_hp.training.fused.schedules import SCHEDULES
from pima_hp.training.fused.tables import ACTIVATIONS, N_SCORES, OPTIMIZERS, Row

MOST_EPOCHS, MOST_ROWS, MOST_KEPT = 10, 10**8, 2**26
"""Epochs that a block makes in one call of the kernel, its data still in the cache: as many, but at most as many rows
of all members, so that progress and interruption do not wait, and as many weights kept to be scored."""

Arguments = dict[str, Tensor | int]


class Stack(ABC):
    """M runs in N blocks of lanes: arrays (N, rows * lanes), member m in lane m % lanes of block m // lanes.

    A subclass runs the kernel in `_launch`.

    Args:
        runs: with equal `stack_key`s; filled up to whole blocks with copies of the first.
        lanes: members of a block.
        device: where the arrays lie.

    Attributes:
        features: (K, D) rows of the table as the members need them; members share them where they can.
        labels: (K,)
        rows: of each split the numbers of these rows, (M, n), in order.
        vectors: (M, P) parameters in the order of `MLP.parameters()`, the initial ones until `fit` has ended.
        curves: key -> (M, E), filled epoch by epoch.
    """

    def __init__(self, runs: Sequence[Run], lanes: int, device: torch.device) -> None:
        self.runs, self.lanes, self.device = list(runs), lanes, device
        self.members = [*runs, *[runs[0]] * (-len(runs) % lanes)]
        self.n_blocks = len(self.members) // lanes
        config = runs[0].config
        self.dtype, table = getattr(torch, config.trainer.dtype), read_table(config.data, config.data_digest)
        data = prepare(table, [(run.config.data, run.seeds.split) for run in self.members], self.dtype)
        self.features, self.labels = data.features.to(device), data.labels.to(device)
        self.rows = {split: rows.to(device) for split, rows in data.rows.items()}
        self.n_train, self.n_val = (self.rows[split].shape[1] for split in ("train", "val"))
        self.batch_size = config.batch.n_rows(self.n_train)
        self.n_steps = -(-self.n_train // self.batch_size)
        self.widths = [len(table.feature_names), *config.model.hidden_widths]
        draws = [(run.config.model.initialization, stream(run.seeds.init, Role.INIT)) for run in self.members]
        self.vectors = torch.stack([initial_parameters(self.widths, *draw, self.dtype) for draw in draws])
        self.orders = [stream(run.seeds.order, Role.ORDER) for run in self.members] if config.batch.shuffle else []
        self.n_epochs, self.epoch = config.trainer.max_epochs, 0
        self._monitor = config.scheduler.monitor or "val/loss"
        self.looks_at_scores = str(config.scheduler.target).endswith("ReduceLROnPlateau")
        schedule = SCHEDULES[config.scheduler.target].code
        initial = np.array([run.config.optimizer.lr for run in self.members])
        self._schedule = schedule(initial, *self.columns("scheduler", SCHEDULES))
        self._rates = next(self._schedule)
        shape = (len(self.members), self.n_epochs)
        self.curves = {key: torch.full(shape, torch.nan, dtype=torch.float64) for key in CURVES}
        self._unread: list[tuple[Callable[[], object], Tensor]] = []
        self._step = 0
        self._arguments = self._constant_arguments()

    def columns(self, section: str, rows: Mapping[str | None, Row]) -> NDArray[np.float64]:
        """Return the numbers of a section of the configurations, (k, M)."""
        configs = {id(run.config): run.config for run in self.members}
        numbers = {key: numbers_of(getattr(config, section), rows) or () for key, config in configs.items()}
        return np.array([numbers[id(run.config)] for run in self.members], np.float64).T

    def _constant_arguments(self) -> Arguments:
        """Return what the kernel is called with each time."""
        config, (_, n_parameters) = self.runs[0].config, self.vectors.shape
        hyperparameters = np.zeros((tables.N_HYPERPARAMETERS, len(self.members)))
        given = self.columns("optimizer", OPTIMIZERS)
        hyperparameters[: len(given)] = given
        argument = self.columns("activation", ACTIVATIONS).sum(0, keepdims=True)  # zeros where there is none
        rule = OPTIMIZERS[config.optimizer.target]
        (x, y), (val_x, val_y) = (self._ordered(split) for split in ("train", "val"))
        numbers = {
            "n_layers": len(self.widths), "n_units": sum(self.widths[1:]) + 1, "n_parameters": n_parameters,
            "activation": ACTIVATIONS[config.activation.target].code, "rule": rule.code,
            "flag": int(bool(config.optimizer.arguments.get(rule.flag))), "n_train": self.n_train, "n_val": self.n_val,
            "shuffled": int(bool(self.orders)), "size": self.batch_size,
        }  # fmt: skip
        arrays = {
            "weights": self.packed(self.vectors.to(self.device)), "state": self.zeros(tables.N_STATES * n_parameters),
            "argument": self.packed(torch.from_numpy(argument.T), self.dtype),
            "x": x, "y": y, "val_x": val_x, "val_y": val_y,
            "running": self.zeros(tables.N_RUNNING, torch.float64) + 1.0,
            "hyperparameters": self.packed(torch.from_numpy(hyperparameters.T)),
            "order": self.zeros(1, torch.int32),
            "widths": torch.tensor([*self.widths, 1], dtype=torch.int32, device=self.device),
        }  # fmt: skip
        return {**numbers, **arrays}

    def memory(self, n_workers: int) -> dict[str, Tensor]:
        """Return the memory of so many workers: the rows that `kernel` names, of a batch and of gradients."""
        n_hidden = (sum(self.widths[1:]) + 1) * max(self.batch_size, tables.SCORED_ROWS)
        n_rows = {
            **dict.fromkeys(("pre", "post", "delta"), n_hidden),
            "batch": (self.widths[0] + 1) * max(self.batch_size, tables.SCORED_ROWS),
            "gradients": self.vectors.shape[1],
        }
        like = {"dtype": self.dtype, "device": self.device}
        return {name: torch.zeros(n_workers, n * self.lanes, **like) for name, n in n_rows.items()}

    def fit(self, progress: tqdm | None = None) -> None:
        """Train in plain epochs: at this speed Lightning's own loop would cost more than the training."""
        longest = min(MOST_EPOCHS, MOST_ROWS // self.rows["train"].numel(), MOST_KEPT // self.vectors.numel())
        if self.looks_at_scores or self.orders:
            longest = 1
        while self.epoch < self.n_epochs:
            count = min(max(longest, 1), self.n_epochs - self.epoch)
            self.train_epochs(count)
            if progress and self.epoch < self.n_epochs:  # the caller counts the rest, without rounding
                progress.update(count * len(self.runs) / self.n_epochs)
        if self._unread:
            self._read_scores()
        weights = self._arguments["weights"]
        assert isinstance(weights, Tensor)  # noqa: S101 -- for mypy
        self.vectors = weights.reshape(self.n_blocks, -1, self.lanes).transpose(1, 2).reshape(len(self.members), -1)

    def train_epochs(self, count: int = 1) -> None:
        """Make epochs of updates, score each, and set the learning rates of the next.

        Args:
            count: more than 1 only where the schedule does not look at scores, and rows are not shuffled.
        """
        rates = [self._rates]
        while len(rates) < count:
            rates.append(self._schedule.send(rates[0]))
        epochs = torch.from_numpy(np.stack(rates, axis=1))  # (M, count)
        self.curves["lr"][:, self.epoch : self.epoch + count] = epochs
        changing: Arguments = {
            "n_epochs": count,
            "step": self._step,
            "kept": self.zeros(count * self.vectors.shape[1]),
            "rates": self.packed(epochs),
            "out": (out := self.zeros(count * N_SCORES, torch.float64)),
        }
        if self.orders:
            changing["order"] = self.packed(self.shuffled_rows(), torch.int32)
        self._unread.append((self._launch({**self._arguments, **changing}), out))
        self.epoch += count
        self._step += count * self.n_steps
        if self.looks_at_scores:
            self._read_scores()
        self._rates = self._schedule.send(self.curves[self._monitor][:, self.epoch - 1].numpy())

    def shuffled_rows(self) -> Tensor:
        """Return the rows of this epoch, (M, n), drawn from each member's own `order` stream."""
        return torch.stack([torch.randperm(self.n_train, generator=generator) for generator in self.orders])

    @abstractmethod
    def _launch(self, arguments: Arguments) -> Callable[[], object]:
        """Train and score some epochs.

        Args:
            arguments: those of `tables.ARGUMENTS` but `training`, `scoring` and the memory of workers.

        Returns:
            What waits until `out` is complete.
        """

    def _read_scores(self) -> None:
        """Write the columns of the curves that are not yet written."""
        for wait, _ in self._unread:
            wait()
        sums = torch.cat([out for _, out in self._unread], dim=1).reshape(self.n_blocks, -1, N_SCORES, self.lanes)
        self._unread.clear()
        sums = sums.permute(2, 0, 3, 1).reshape(N_SCORES, len(self.members), -1).cpu()  # (scores, M, epochs)
        sums[sums > torch.finfo(self.dtype).max] = torch.inf  # as the sum of solo, which is not in double
        for name, total, n in zip(CURVES[:N_SCORES], sums, (*[self.n_train] * 4, self.n_val, self.n_val), strict=True):
            self.curves[name][:, self.epoch - total.shape[1] : self.epoch] = total / n

    def zeros(self, n_rows: int, dtype: torch.dtype | None = None) -> Tensor:
        """Return rows of each block, (N, n * lanes)."""
        return torch.zeros(self.n_blocks, n_rows * self.lanes, dtype=dtype or self.dtype, device=self.device)

    def packed(self, numbers: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Turn (M, n) into (N, n * lanes), lanes last."""
        blocks = numbers.to(self.device, dtype or numbers.dtype).reshape(self.n_blocks, self.lanes, -1)
        return blocks.transpose(1, 2).reshape(self.n_blocks, -1).contiguous()

    def _ordered(self, split: str) -> tuple[Tensor, Tensor]:
        """Return features (N, D * n * lanes) and labels (N, n * lanes) of a split: columns, then rows, lanes last."""
        rows = self.packed(self.rows[split])  # (N, n * lanes)
        features = self.features.T.contiguous().index_select(1, rows.flatten())  # (D, N * n * lanes)
        of_blocks = features.view(-1, *rows.shape).transpose(0, 1)  # (N, D, n * lanes)
        return of_blocks.reshape(self.n_blocks, -1), gather(self.labels, rows)
