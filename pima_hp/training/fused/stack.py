"""Runs that are trained together: their data, weights, learning rates and curves in the layout of the kernel."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pima_hp.config.build import build
from pima_hp.data.prepared import gather, prepare
from pima_hp.data.table import read_table
from pima_hp.model.diagnostics import forward
from pima_hp.model.metrics import FINAL_METRICS, scored
from pima_hp.model.mlp import initial_parameters
from pima_hp.run import CURVES, Array, Results, Run
from pima_hp.seeds import Role, stream
from pima_hp.training.diagnostics import Recorder
from pima_hp.training.dispatch import results_of
from pima_hp.training.fused import tables
from pima_hp.training.fused.schedules import planned
from pima_hp.training.fused.tables import ACTIVATIONS, N_SCORES, OPTIMIZERS, Row, numbers_of

# Epochs that a block makes in one call of the kernel, its data still in the cache: as many, but at most as many rows
# of all members, so that progress and interruption do not wait.
MOST_EPOCHS, MOST_ROWS = 10, 10**8

Arguments = dict[str, Tensor | int]


class Stack(ABC):
    """M runs in N blocks of lanes: arrays (N, rows * lanes), member m in lane m % lanes of block m // lanes.

    A subclass runs the kernel in `_launch`.

    Args:
        runs: with equal `stack_key`s; filled up to whole blocks with copies of the first.
        lanes: members of a block.
        device: where the arrays lie.

    Attributes:
        data: the rows of the table as the members need them.
        vectors: (M, P) parameters in the order of `MLP.parameters()`, the initial ones until `fit` has ended.
        curves: key -> (M, E), filled epoch by epoch.
    """

    def __init__(self, runs: Sequence[Run], lanes: int, device: torch.device) -> None:
        self.runs, self.lanes, self.device = list(runs), lanes, device
        self.members = [*runs, *[runs[0]] * (-len(runs) % lanes)]
        self.n_blocks = len(self.members) // lanes
        config = runs[0].config
        self.dtype, table = getattr(torch, config.trainer.dtype), read_table(config.data, config.data_digest)
        splits = [(run.config.data, run.seeds.split) for run in self.members]
        self.data = prepare(table, splits, self.dtype, device)
        self.n_train, self.n_val = (self.data.rows[split].shape[1] for split in ("train", "val"))
        self.batch_size = config.batch.n_rows(self.n_train)
        self.n_steps = -(-self.n_train // self.batch_size)
        self.widths = [len(table.feature_names), *config.model.hidden_widths]
        draws = [(run.config.model.initialization, stream(run.seeds.init, Role.INIT)) for run in self.members]
        self.vectors = torch.stack([initial_parameters(self.widths, *draw, self.dtype) for draw in draws]).to(device)
        self.orders = [stream(run.seeds.order, Role.ORDER) for run in self.members] if config.batch.shuffle else []
        self.n_epochs, self.epoch = config.trainer.max_epochs, 0
        rates, self._schedulers = planned([run.config for run in self.members], self.n_epochs)
        self.curves = {key: np.full_like(rates, np.nan) for key in CURVES[:N_SCORES]} | {"lr": rates}
        self._weights = self.packed(self.vectors)
        self.recorder = Recorder([run.config for run in self.runs], self.data.tensors)
        self._arguments = self._constant_arguments()

    def columns(self, section: str, rows: Mapping[str, Row]) -> Array:
        """Return the numbers of a section of the configurations, (M, k)."""
        configs = {id(run.config): run.config for run in self.members}
        numbers = {key: numbers_of(getattr(config, section), rows) for key, config in configs.items()}
        return np.array([numbers[id(run.config)] for run in self.members], np.float64)

    def _constant_arguments(self) -> Arguments:
        """Return what the kernel is called with each time."""
        config, n_parameters = self.runs[0].config, self.vectors.shape[1]
        rule, hyperparameters = OPTIMIZERS[config.optimizer.target], self.columns("optimizer", OPTIMIZERS)
        unused = tables.N_HYPERPARAMETERS - hyperparameters.shape[1]
        self._argument = self.columns("activation", ACTIVATIONS).sum(1)  # zeros where there is none
        (x, y), (val_x, val_y) = (self._ordered(split) for split in ("train", "val"))
        return {
            "n_layers": len(self.widths), "n_units": sum(self.widths[1:]) + 1, "n_parameters": n_parameters,
            "activation": ACTIVATIONS[config.activation.target].code, "rule": rule.code,
            "flag": int(bool(config.optimizer.arguments.get(rule.flag))), "n_train": self.n_train, "n_val": self.n_val,
            "shuffled": int(bool(self.orders)), "size": self.batch_size,
            "weights": self._weights, "state": self.zeros(tables.N_STATES * n_parameters),
            "argument": self.packed(torch.from_numpy(self._argument), self.dtype),
            "x": x, "y": y, "val_x": val_x, "val_y": val_y,
            "running": self.zeros(tables.N_RUNNING, torch.float64) + 1.0,
            "hyperparameters": self.packed(torch.from_numpy(np.pad(hyperparameters, ((0, 0), (0, unused))))),
            "order": self.zeros(1, torch.int32),
            "widths": torch.tensor([*self.widths, 1], dtype=torch.int32, device=self.device),
        }  # fmt: skip

    def memory(self, n_workers: int) -> Arguments:
        """Return the values of `tables.MEMORY` for blocks that are trained at a time."""
        n_units, n_rows = sum(self.widths[1:]) + 1, max(self.batch_size, tables.SCORED_ROWS)
        n_of = dict.fromkeys(tables.MEMORY, n_units * n_rows)
        n_of |= {"batch": (self.widths[0] + 1) * n_rows, "gradients": self.vectors.shape[1]}
        shapes = {name: (n_workers, n * self.lanes) for name, n in n_of.items()}
        return {name: torch.zeros(shape, dtype=self.dtype, device=self.device) for name, shape in shapes.items()}

    def fit(self, progress: tqdm | None = None) -> None:
        """Train in plain epochs: at this speed Lightning's own loop would cost more than the training."""
        # Diagnostics read the weights of each epoch; schedulers its scores.
        each_epoch = self._schedulers or self.orders or self.recorder.section.name == "epochs"
        longest = 1 if each_epoch else min(MOST_EPOCHS, MOST_ROWS // self.data.rows["train"].numel())
        self.recorder.record(0, self._trained)
        while self.epoch < self.n_epochs:
            count = min(max(longest, 1), self.n_epochs - self.epoch)
            self.train_epochs(count)
            self.recorder.record(self.epoch, self._trained)
            if progress and self.epoch < self.n_epochs:  # the caller counts the rest, without rounding
                progress.update(count * len(self.runs) / self.n_epochs)
        self.vectors = self._trained()

    def _trained(self) -> Tensor:
        """Return the weights at the end of the last epoch, (M, P)."""
        weights = self._weights.view(self.n_blocks, -1, self.lanes)
        return weights.transpose(1, 2).reshape(len(self.members), -1)

    def train_epochs(self, count: int = 1) -> None:
        """Make epochs of updates, score each, and set the learning rates of the next.

        Args:
            count: more than 1 only where the schedule does not look at scores, and rows are not shuffled.
        """
        epochs = slice(self.epoch, self.epoch + count)
        out = self.zeros(count * N_SCORES, torch.float64)
        changing: Arguments = {"n_epochs": count, "step": self.epoch * self.n_steps, "out": out}
        changing["rates"] = self.packed(torch.from_numpy(self.curves["lr"][:, epochs]))
        if self.orders:
            shuffled = [torch.randperm(self.n_train, generator=generator) for generator in self.orders]
            changing["order"] = self.packed(torch.stack(shuffled), torch.int32)
        self._launch(self._arguments | changing)
        of_blocks = out.view(self.n_blocks, count, N_SCORES, self.lanes)
        sums = of_blocks.permute(2, 0, 3, 1).reshape(N_SCORES, -1, count).cpu()
        sums[sums > torch.finfo(self.dtype).max] = torch.inf  # as the sum of solo, which is not in double
        for name, total, n in zip(CURVES[:N_SCORES], sums, (*[self.n_train] * 4, self.n_val, self.n_val), strict=True):
            self.curves[name][:, epochs] = total / n
        self.epoch += count
        if self._schedulers:
            monitored = self.curves[self.runs[0].config.scheduler.monitor or "val/loss"][:, self.epoch - 1].tolist()
            for scheduler, score in zip(self._schedulers, monitored, strict=True):
                scheduler.step(score)
            self.curves["lr"][:, self.epoch :] = [scheduler.get_last_lr() for scheduler in self._schedulers]

    @abstractmethod
    def _launch(self, arguments: Arguments) -> None:
        """Train and score some epochs with the values of `tables.ARGUMENTS`, to which it adds the memory."""

    def results(self) -> Results:
        """Return the results after `fit`."""
        lost = ~np.isfinite(np.max([curve for key, curve in self.curves.items() if "loss" in key], axis=0))  # (M, E)
        diverged_in = np.where(lost.any(1), lost.argmax(1) + 1, np.inf)
        n_updates = np.minimum(diverged_in, self.n_epochs).astype(np.int64) * self.n_steps
        labels, scores = gather(self.data.labels, self.data.rows["train"]), self._final_scores()
        return results_of(self.runs, self.curves, scores, diverged_in, n_updates, labels, self.recorder)

    @torch.no_grad()
    def _final_scores(self) -> dict[str, Array]:
        """Return the scores of the last weights on each split, key -> (M,).

        Members whose activations have equal arguments are scored together, in blocks: torch computes the last elements
        of a tensor with other instructions.
        """
        scores: dict[str, Tensor] = {}
        for split, rows in self.data.rows.items():
            logits = torch.empty(rows.shape, dtype=self.dtype, device=self.device)
            for argument in np.unique(self._argument):
                places = np.flatnonzero(self._argument == argument)
                activation = build(self.members[places[0]].config.activation.node, nn.Module)
                for start in range(0, len(places), self.lanes):
                    block = torch.from_numpy(np.resize(places[start : start + self.lanes], self.lanes)).to(self.device)
                    features = gather(self.data.features, rows[block])
                    _, outputs = forward(self.vectors[block], self.widths, activation, features)
                    logits[block] = outputs[-1].squeeze(-1)
            scores |= scored(f"{split}/{{}}", FINAL_METRICS, logits, gather(self.data.labels, rows))
        return {key: score.double().cpu().numpy() for key, score in scores.items()}

    def zeros(self, n_rows: int, dtype: torch.dtype | None = None) -> Tensor:
        """Return rows of each block, (N, n * lanes)."""
        return torch.zeros(self.n_blocks, n_rows * self.lanes, dtype=dtype or self.dtype, device=self.device)

    def packed(self, numbers: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Turn (M, n) into (N, n * lanes), lanes last."""
        blocks = numbers.to(self.device, dtype or numbers.dtype).reshape(self.n_blocks, self.lanes, -1)
        return blocks.transpose(1, 2).reshape(self.n_blocks, -1).contiguous()

    def _ordered(self, split: str) -> tuple[Tensor, Tensor]:
        """Return features (N, D * n * lanes) and labels (N, n * lanes) of a split: columns, then rows, lanes last."""
        rows = self.packed(self.data.rows[split])  # (N, n * lanes)
        features = self.data.features.T.contiguous().index_select(1, rows.flatten())  # (D, N * n * lanes)
        of_blocks = features.view(-1, *rows.shape).transpose(0, 1)  # (N, D, n * lanes)
        return of_blocks.reshape(self.n_blocks, -1), gather(self.data.labels, rows)
