"""The kernel on the CPU: compiled by numba, a block of members in the lanes of a vector register."""

import hashlib
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import Timer
from typing import Any

import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from pima_hp.record import Run
from pima_hp.training.fused.engine import FusedStack
from pima_hp.training.fused.kernel import score_block, train_block
from pima_hp.training.fused.simd import NARROW, WIDE, as_rows, load
from pima_hp.training.progress import Progress


def _compiled(sources: str) -> Any:
    """Return the kernel, compiled once for a machine and a state of these sources.

    numba notices a change of this file alone; the digest of all files here is a part of what it caches by.
    """

    @njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
    def run_epochs(blocks, what, state, network, optimizer, rates, train, val, size, step, work, out, kept):
        """Train, or score, or both, blocks first .. last for some epochs; arrays are of rows, see `simd.as_rows`.

        Args:
            blocks: (first, last).
            what: whether to train, whether to score the weights that were kept.
            state: (N, ..) each of: weights, slots, running, hyperparameters, activation's argument.
            network: see `kernel`.
            optimizer: see `kernel`.
            rates: learning rates in double, a row an epoch (N, epochs).
            train: x (N, D * n), y (N, n), order (N, n), whether to follow it.
            val: x (N, D * n), y (N, n).
            size: rows of a batch.
            step: optimizer steps made before.
            work: this thread's own memory, all overwritten: that of `kernel`, a shuffled batch, and gradients.
            out: (N, epochs * N_SCORES), zero at first.
            kept: (N, epochs * P) weights at the end of each epoch.
        """
        _ = sources
        first, last = blocks
        training, scoring = what
        w, slots, running, hyperparameters, argument = state
        x, y, order, shuffled = train
        val_x, val_y = val
        pre, post, delta, batch, g = work
        n_epochs = rates.shape[1]
        for b in range(first, last):
            a = load(argument[b], 0)
            rows = (x[b], y[b], y.shape[1])
            val_rows = (val_x[b], val_y[b], val_y.shape[1])
            space = (pre, post, delta)
            if training:
                own = (w[b], g, slots[b], running[b], hyperparameters[b], a)
                steps = (rates[b], n_epochs, rows, (shuffled, order[b], batch), size, step)
                train_block(own, network, optimizer, *steps, (pre, post, delta), out[b], kept[b])
            if scoring:
                score_block(kept[b], n_epochs, network, a, rows, val_rows, space, out[b])

    return run_epochs


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


run_epochs = _compiled(_digest_of_sources())
_compiled_kinds: set[tuple[int, torch.dtype]] = set()  # lanes and numbers that this process has trained with


@cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="fused")


class FusedStackOnCPU(FusedStack):
    """Blocks divided over threads; a stack of fewer blocks than threads is scored while it trains on.

    Args:
        runs: with equal `stack_key`s.
        n_threads: to use.
    """

    def __init__(self, runs: Sequence[Run], n_threads: int) -> None:
        super().__init__(runs, NARROW if len(runs) <= NARROW else WIDE, torch.device("cpu"))
        self._n_threads, self._n_parts = n_threads, min(n_threads, self.n_blocks)
        state = (self.weights, self.slots, self.running, self.hyperparameters, self.argument)
        self._state = tuple(map(self._in_rows, state))

    def fit(self, progress: Progress | None = None) -> None:
        """Train; say so when the kernel must be compiled first."""
        kind = (self.lanes, self.weights.dtype)
        if kind in _compiled_kinds:
            super().fit(progress)
            return
        _compiled_kinds.add(kind)
        # From numba's cache the kernel is there in half a second.
        slow_start = Timer(1.5, _say_that_it_compiles, [len(run_epochs.signatures)])
        slow_start.daemon = True
        slow_start.start()
        try:
            super().fit(progress)
        finally:
            slow_start.cancel()

    def _launch(self, rates: Tensor, order: Tensor, out: Tensor) -> Callable[[], object]:
        (x, y), val = (tuple(map(self._in_rows, self.rows[part])) for part in ("train", "val"))
        network = (self.widths.numpy(), *self.network)
        train = (x, y, self._in_rows(order), bool(self.orders))
        n_epochs = rates.shape[1] // self.lanes
        kept = torch.empty(self.n_blocks, n_epochs * self.weights.shape[1], dtype=self.weights.dtype)
        bounds = [self.n_blocks * part // self._n_parts for part in range(self._n_parts + 1)]
        step, results = self.step, (self._in_rows(out), self._in_rows(kept))

        def run(part: int, *, training: bool, scoring: bool) -> None:
            blocks = (bounds[part], bounds[part + 1])
            work = tuple(self._in_rows(array)[0] for array in self.work(1))  # this call's own: calls overlap
            # Momenta of dead units fade below the smallest normal number, where processors are slow: they count as 0.
            torch.set_flush_denormal(True)
            try:
                what, state, optimizer = (training, scoring), self._state, self.optimizer
                settings = (blocks, what, state, network, optimizer, self._in_rows(rates))
                run_epochs(*settings, train, val, self.batch_size, step, work, *results)
            finally:
                torch.set_flush_denormal(False)

        pool, parts = _threads(self._n_threads), range(self._n_parts)
        apart = self._n_parts < self._n_threads and not self.looks_at_scores
        if self._n_parts == 1:
            run(0, training=True, scoring=not apart)
        else:
            list(pool.map(lambda part: run(part, training=True, scoring=not apart), parts))
        scores = [pool.submit(run, part, training=False, scoring=True) for part in parts] if apart else []
        return lambda: [score.result() for score in scores]

    def _in_rows(self, tensor: Tensor) -> NDArray[Any]:
        return as_rows(tensor.numpy(), self.lanes)


def _say_that_it_compiles(n_compiled: int) -> None:
    if len(run_epochs.signatures) == n_compiled:
        sys.stderr.write("compiling the training kernel, once for this machine (about 10 s)\n")
