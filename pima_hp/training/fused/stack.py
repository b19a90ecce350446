"""The stack of the kernel: members packed into blocks of lanes, whole epochs of them trained at a time."""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from pima_hp.data.prepared import gather
from pima_hp.run import CURVES, Run
from pima_hp.training.fused.hyperparameters import arguments_of, flag_of
from pima_hp.training.fused.members import Members
from pima_hp.training.fused.tables import (
    N_HYPERPARAMETERS,
    N_RUNNING,
    N_SCORES,
    N_SLOTS,
    RULES,
    SCORED_ROWS,
    activation_row,
)

MOST_EPOCHS, MOST_ROWS, MOST_KEPT = 10, 10**8, 2**26
"""Epochs that a block makes in one call of the kernel, its data still in the cache: as many, but at most as many rows
of all members, so that progress and interruption do not wait, and as many weights kept to be scored."""


class FusedStack(Members):
    """Members in the kernel's layout: (blocks, rows * lanes), member m in lane m % lanes of block m // lanes.

    A subclass says where the kernel runs, and runs it in `_launch`.

    Args:
        runs: with equal `stack_key`s.
        lanes: members of a block.
        device: where the arrays lie.
    """

    engine = "fused"

    def __init__(self, runs: Sequence[Run], lanes: int, device: torch.device) -> None:
        super().__init__(runs, lanes)
        self.lanes, self.device = lanes, device
        self.to(device)
        first = self.configs[0]
        self.weights = self._packed(self.vectors)
        row = activation_row(first.activation)
        rule = RULES[first.optimizer.target]
        assert row is not None  # noqa: S101 -- `why_not` was asked
        given = [config.activation.arguments.get(row.argument, 0.0) for config in self.configs]
        self.argument = (
            torch.tensor(given, dtype=torch.float64)[self.of_member].to(self.weights).reshape(self.n_blocks, lanes)
        )
        arguments = [arguments_of(config.optimizer) or {} for config in self.configs]
        hyperparameters = np.zeros((N_HYPERPARAMETERS, len(self.members)))
        for place, name in enumerate(rule.names):
            hyperparameters[place] = np.array([float(each[name]) for each in arguments])[self.of_member]
        self.hyperparameters = self._by_block(hyperparameters)
        self.optimizer = (rule.code, flag_of(first.optimizer))
        n_parameters = self.vectors.shape[1]
        self.slots = self._zeros(N_SLOTS * n_parameters)
        self.running = self._zeros(N_RUNNING, torch.float64) + 1.0
        n_layers, n_units = len(self.widths), sum(self.widths[1:]) + 1
        self.shape = torch.tensor([*self.widths, 1], dtype=torch.int32, device=device)
        self.network = (n_layers, n_units, n_parameters, row.code)
        self.served = {part: self._served(part) for part in ("train", "val")}
        self.step = 0
        self._unread: list[tuple[Callable[[], object], Tensor]] = []

    @property
    def n_blocks(self) -> int:
        """Blocks of members."""
        return len(self.members) // self.lanes

    @property
    def looks_at_scores(self) -> bool:
        """Whether the learning rates of an epoch depend on the scores of the one before."""
        return str(self.runs[0].config.scheduler.target).endswith("ReduceLROnPlateau")

    def work(self, n_workers: int) -> tuple[Tensor, ...]:
        """Return the memory of so many workers, each the rows that `kernel` names, of a batch and of gradients."""
        tile = max(self.batch_size, SCORED_ROWS)
        _, n_units, n_parameters, _ = self.network
        n_rows = (*[n_units * tile] * 3, (self.widths[0] + 1) * tile, n_parameters)
        return tuple(
            torch.zeros(n_workers, n * self.lanes, dtype=self.weights.dtype, device=self.device) for n in n_rows
        )

    def fit(self, progress: tqdm | None = None) -> None:
        """Train in plain epochs: at this speed Lightning's own loop would cost more than the training."""
        rows_of_an_epoch, numbers_of_an_epoch = self.rows["train"].numel(), self.weights.numel()
        longest = min(MOST_EPOCHS, MOST_ROWS // rows_of_an_epoch, MOST_KEPT // numbers_of_an_epoch)
        if self.looks_at_scores or self.orders:
            longest = 1
        while self.epoch < self.n_epochs:
            count = min(max(longest, 1), self.n_epochs - self.epoch)
            self.train_epochs(count)
            if progress:
                progress.update(count * self.n_runs / self.n_epochs)
        self._read_scores()
        vectors = self.weights.reshape(self.n_blocks, -1, self.lanes).transpose(1, 2)
        self.vectors = vectors.reshape(len(self.members), -1)

    def _train_and_score(self, rates: NDArray[np.float64]) -> None:
        if self.orders:
            order = self._packed(self.shuffled_rows().to(self.device, torch.int32))
        else:
            order = self._zeros(1, torch.int32)
        out = self._zeros(len(rates) * N_SCORES, torch.float64)
        self._unread.append((self._launch(self._by_block(rates), order, out), out))
        self.step += len(rates) * self.n_steps
        if self.looks_at_scores:
            self._read_scores(len(rates))

    def _read_scores(self, ahead: int = 0) -> None:
        """Write the columns of the curves that are not yet written, up to `ahead` epochs after this one."""
        if not self._unread:
            return
        for scored, _ in self._unread:
            scored()
        sums = torch.cat([out for _, out in self._unread], dim=1).reshape(self.n_blocks, -1, N_SCORES, self.lanes)
        self._unread.clear()
        sums = sums.permute(2, 0, 3, 1).reshape(N_SCORES, len(self.members), -1).cpu()  # (scores, M, epochs)
        sums[sums > torch.finfo(self.weights.dtype).max] = torch.inf  # as the sum of solo, which is not in double
        n_train, n_val = self.n_rows("train"), self.n_rows("val")
        stop = self.epoch + ahead
        for name, total, count in zip(CURVES[:N_SCORES], sums, (*[n_train] * 4, n_val, n_val), strict=True):
            self.curves[name][:, stop - total.shape[1] : stop] = total / count

    @abstractmethod
    def _launch(self, rates: Tensor, order: Tensor, out: Tensor) -> Callable[[], object]:
        """Train and score some epochs.

        Args:
            rates: (N, epochs * lanes), in double precision.
            order: rows in the order of the epoch (N, n * lanes), whole numbers; anything when nothing is shuffled.
            out: (N, epochs * N_SCORES * lanes), zeros.

        Returns:
            What waits until `out` is complete.
        """

    def _zeros(self, n_rows: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.zeros(self.n_blocks, n_rows * self.lanes, dtype=dtype or self.weights.dtype, device=self.device)

    def _by_block(self, rows: NDArray[np.float64]) -> Tensor:
        """Turn (rows, M) into (N, rows * lanes)."""
        blocks = torch.from_numpy(rows).reshape(len(rows), self.n_blocks, self.lanes).transpose(0, 1)
        return blocks.reshape(self.n_blocks, -1).contiguous().to(self.device)

    def _served(self, part: str) -> tuple[Tensor, Tensor]:
        """Return features (N, D * n * lanes) and labels (N, n * lanes) of a part: columns, then rows, lanes last."""
        rows = self._packed(self.rows[part])  # (N, n * lanes)
        features = self.features.T.contiguous().index_select(1, rows.flatten())  # (D, N * n * lanes)
        of_blocks = features.view(-1, *rows.shape).transpose(0, 1)  # (N, D, n * lanes)
        return of_blocks.reshape(self.n_blocks, -1), gather(self.labels, rows)

    def _packed(self, rows: Tensor) -> Tensor:
        """Turn (M, n) into (N, n * lanes), lanes last."""
        members = rows.reshape(self.n_blocks, self.lanes, -1)
        return members.transpose(1, 2).reshape(self.n_blocks, -1)
