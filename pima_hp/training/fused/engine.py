"""The fast engine's stack: members packed into blocks of lanes, blocks divided over threads."""

import itertools
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Timer
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pima_hp.configuration import Configuration
from pima_hp.record import Run
from pima_hp.training.fused import activations, rules
from pima_hp.training.fused.kernel import SCORED_ROWS, run_epochs
from pima_hp.training.fused.simd import LANES
from pima_hp.training.optimizers import UPDATE_RULES, rule_arguments
from pima_hp.training.progress import Progress
from pima_hp.training.stack import Stack

MOST_NUMBERS = 2**20
"""Units times rows of a batch, and weights, of one member: a block of 16 beyond that is better left to torch."""

MOST_EPOCHS, MOST_ROWS = 10, 10**8
"""Epochs that a block makes in one call of the kernel, its data still in the cache: as many, but at most as many rows
of all members, so that progress and interruption do not wait."""

_SCORES = ("train_accuracy", "train_loss", "train_accuracy_end", "train_loss_end", "val_accuracy", "val_loss")


def why_not_fused(configuration: Configuration, n_train: int) -> str:
    """Return why the kernel does not know a configuration, in words; empty when it does."""
    if activations.row_of(configuration.activation) is None:
        return f"no row for the activation {configuration.activation.target} with its arguments"
    if str(configuration.optimizer.target) not in rules.ROWS:
        return f"no row for the optimizer {configuration.optimizer.target}"
    size = configuration.batch.size
    rows = max(n_train if isinstance(size, str) else size, SCORED_ROWS)
    widths = configuration.model.hidden_widths
    n_weights = sum(before * after for before, after in itertools.pairwise(widths))
    if max(rows * (sum(widths) + 1), n_weights) > MOST_NUMBERS:
        return "its network is too large for the caches"
    return ""


@cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="fused")


class FusedStack(Stack):
    """A stack in the kernel's layout: (blocks, rows * LANES), member m in lane m % LANES of block m // LANES."""

    def __init__(self, runs: Sequence[Run], n_threads: int) -> None:
        super().__init__(runs, LANES)
        first = self.members[0].configuration
        n_blocks = len(self.members) // LANES
        self._weights = _packed(self.model.vectors)
        dtype = self._weights.dtype
        row = activations.row_of(first.activation)
        rule = rules.ROWS[str(first.optimizer.target)]
        assert row is not None  # noqa: S101 -- `why_not_fused` was asked
        argument = [run.configuration.activation.arguments.get(row.argument, 0.0) for run in self.members]
        self._network = (
            self._weights,
            np.array([*self.model.widths, 1]),
            row.code,
            _aligned(np.array(argument, dtype).reshape(n_blocks, LANES)),
        )
        arguments = [rule_arguments(run.configuration.optimizer) or {} for run in self.members]
        for each in arguments:
            if not each.get("momentum"):
                each["dampening"] = 0.0  # torch ignores it without momentum
            if "momentum_decay" in each:
                each["schedule_decay"] = 0.96 ** each["momentum_decay"]
        self._hyperparameters = _aligned(np.zeros((n_blocks, rules.N_HYPERPARAMETERS, LANES)))
        for index, name in enumerate(rule.names):
            self._hyperparameters[:, index] = np.array([each[name] for each in arguments]).reshape(n_blocks, LANES)
        flags = [bool(arguments[0][name]) for name in UPDATE_RULES[str(first.optimizer.target)].flags]
        slots = _aligned(np.zeros((n_blocks, rules.N_SLOTS * self._weights.shape[1]), dtype))
        running = _aligned(np.ones((n_blocks, rules.N_RUNNING * LANES)))
        self._optimizer = (rule.code, any(flags), slots, running, self._hyperparameters.reshape(n_blocks, -1))
        self._x = _packed(self.features["train"].flatten(1), self.features["train"].shape[2])
        self._y = _packed(self.labels["train"])
        self._order = np.zeros((n_blocks, 1), np.int32)
        self._val = (
            _packed(self.features["val"].flatten(1), self.features["val"].shape[2]),
            _packed(self.labels["val"]),
        )
        self._n_parts = min(n_threads, n_blocks)
        tile = max(self.batch_size, SCORED_ROWS)
        n_hidden = (sum(self.model.widths[1:]) + 1) * tile * LANES
        n_batch = (self.model.widths[0] + 1) * tile * LANES
        self._work = tuple(
            _aligned(np.zeros((self._n_parts, n), dtype))
            for n in (n_hidden, n_hidden, n_hidden, n_batch, self._weights.shape[1])
        )
        self._step = 0

    def fit(self, progress: Progress | None = None) -> None:
        """Train in plain epochs: at this speed Lightning's own loop would cost more than the training."""
        if run_epochs.signatures:
            self._fit(progress)
            return
        slow_start = Timer(1.5, _say_that_it_compiles)  # from numba's cache the kernel is there in half a second
        slow_start.daemon = True
        slow_start.start()
        try:
            self._fit(progress)
        finally:
            slow_start.cancel()

    def _fit(self, progress: Progress | None) -> None:
        work_of_an_epoch = self.labels["train"].numel()
        looks_at_scores = str(self.runs[0].configuration.scheduler.target).endswith("ReduceLROnPlateau")
        longest = 1 if looks_at_scores or self.orders else max(1, min(MOST_EPOCHS, MOST_ROWS // work_of_an_epoch))
        while self.epoch < self.n_epochs:
            count = min(longest, self.n_epochs - self.epoch)
            self.train_epochs(count)
            if progress:
                progress.advance(count * self.n_runs / self.n_epochs)
        n_blocks, n_members = len(self._weights), len(self.members)
        vectors = self._weights.reshape(n_blocks, -1, LANES).transpose(0, 2, 1).reshape(n_members, -1)
        self.model.vectors.copy_(torch.from_numpy(vectors))

    def _train_and_score(self, rates: NDArray[np.float64]) -> None:
        if self.orders:
            self._order = _packed(self.shuffled_rows().to(torch.int32))
        train = (self._x, self._y, self._order, bool(self.orders))
        n_blocks, n_epochs = len(self._weights), len(rates)
        lanes = _aligned(rates.reshape(n_epochs, n_blocks, LANES).transpose(1, 0, 2).reshape(n_blocks, -1))
        out = _aligned(np.zeros((n_blocks, n_epochs * len(_SCORES) * LANES)))
        n_parts = self._n_parts
        bounds = [n_blocks * part // n_parts for part in range(n_parts + 1)]

        def work(part: int) -> None:
            blocks = (bounds[part], bounds[part + 1])
            space = tuple(array[part] for array in self._work)
            # Momenta of dead units fade below the smallest normal number, where processors are slow: they count as 0.
            torch.set_flush_denormal(True)
            try:
                run_epochs(
                    blocks,
                    self._network,
                    self._optimizer,
                    lanes,
                    train,
                    self._val,
                    self.batch_size,
                    self._step,
                    space,
                    out,
                )
            finally:
                torch.set_flush_denormal(False)

        if n_parts == 1:
            work(0)
        else:
            list(_threads(n_parts).map(work, range(n_parts)))
        n_train, n_val = self.labels["train"].shape[1], self.labels["val"].shape[1]
        self._step += n_epochs * -(-n_train // self.batch_size)
        by_score = out.reshape(n_blocks, n_epochs, len(_SCORES), LANES).transpose(2, 0, 3, 1)
        sums = by_score.reshape(len(_SCORES), -1, n_epochs)  # (scores, M, epochs)
        for name, total, count in zip(_SCORES, sums, (*[n_train] * 4, n_val, n_val), strict=True):
            self.curves[name][:, self.epoch : self.epoch + n_epochs] = torch.from_numpy(total / count)


def _say_that_it_compiles() -> None:
    if not run_epochs.signatures:
        sys.stderr.write("compiling the training kernel, once for this machine (about 10 s)\n")


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    """Copy an array to where torch would put it: at the beginning of a cache line, which numpy does not promise.

    A row of lanes is one line; rows that lie across two make an epoch take twice as long.
    """
    copied: NDArray[Any] = torch.from_numpy(array).clone().numpy()
    return copied


def _packed(rows: Tensor, n_columns: int = 1) -> NDArray[Any]:
    """Turn (M, n * n_columns) into (blocks, n_columns * n * LANES): lanes last, then rows, then columns."""
    members = rows.reshape(-1, LANES, rows.shape[1] // n_columns, n_columns)  # (N, LANES, n, columns)
    packed: NDArray[Any] = members.permute(0, 3, 2, 1).reshape(len(members), -1).contiguous().numpy()
    return packed
