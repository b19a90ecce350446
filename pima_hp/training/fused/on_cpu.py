"""The kernel on the CPU: a block of members in the lanes of a vector register, blocks divided over threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

from pima_hp.run import Run
from pima_hp.training.fused.compiled import Kind, kernel
from pima_hp.training.fused.stack import FusedStack
from pima_hp.training.fused.tables import NARROW, WIDE


@cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="fused")


def kind_of(runs: Sequence[Run]) -> Kind:
    """Return the kind of kernel that trains a stack."""
    return Kind(NARROW if len(runs) <= NARROW else WIDE, runs[0].config.trainer.dtype)


_DTYPES = {
    **dict.fromkeys(("running", "hyperparameters", "rates", "out"), torch.float64),
    **dict.fromkeys(("widths", "order"), torch.int32),
}
"""Of arrays that do not have the type of the weights."""


def _addresses(arrays: dict[str, Tensor]) -> dict[str, int]:
    """Return where the numbers of each array begin; the kernel takes their type and order for granted."""
    for name, tensor in arrays.items():
        dtype = _DTYPES.get(name, arrays["weights"].dtype)
        if not tensor.is_contiguous() or tensor.dtype != dtype:
            raise ValueError(f"{name}: must be contiguous numbers of {dtype}; found {tensor.dtype}, {tensor.stride()}")
    return {name: tensor.data_ptr() for name, tensor in arrays.items()}


class FusedStackOnCPU(FusedStack):
    """A stack of fewer blocks than threads is scored while it trains on.

    Args:
        runs: with equal `stack_key`s.
        n_threads: to use.

    Raises:
        KernelError: there is no kernel for these numbers on this machine.
    """

    def __init__(self, runs: Sequence[Run], n_threads: int) -> None:
        kind = kind_of(runs)
        self._kernel = kernel(kind)
        super().__init__(runs, kind.lanes, torch.device("cpu"))
        self._n_threads, self._n_parts = n_threads, min(n_threads, self.n_blocks)

    def _launch(self, rates: Tensor, order: Tensor, out: Tensor) -> Callable[[], object]:
        n_epochs, network = rates.shape[1] // self.lanes, ("n_layers", "n_units", "n_parameters", "activation")
        arrays = {
            "weights": self.weights, "slots": self.slots, "running": self.running, "argument": self.argument,
            "hyperparameters": self.hyperparameters, "widths": self.shape, "order": order, "rates": rates, "out": out,
            "kept": torch.empty(self.n_blocks, n_epochs * self.weights.shape[1], dtype=self.weights.dtype),
            **dict(zip(("x", "y", "val_x", "val_y"), (*self.served["train"], *self.served["val"]), strict=True)),
        }  # fmt: skip
        numbers = {
            **dict(zip(network, self.network, strict=True)),
            **dict(zip(("rule", "flag"), map(int, self.optimizer), strict=True)),
            "n_train": self.n_rows("train"), "n_val": self.n_rows("val"), "n_epochs": n_epochs,
            "shuffled": int(bool(self.orders)), "size": self.batch_size, "step": self.step,
        }  # fmt: skip
        bounds = [self.n_blocks * part // self._n_parts for part in range(self._n_parts + 1)]

        def run(part: int, *, training: bool, scoring: bool) -> None:
            memory = zip(("pre", "post", "delta", "batch", "gradients"), self.work(1), strict=True)
            mine = {**arrays, **dict(memory)}  # the memory is this call's own, as calls overlap
            what = {"first": bounds[part], "last": bounds[part + 1], "training": training, "scoring": scoring}
            # Momenta of dead units fade below the smallest normal number, where processors are slow: they count as 0.
            torch.set_flush_denormal(True)
            try:
                self._kernel(**numbers, **what, **_addresses(mine))
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
